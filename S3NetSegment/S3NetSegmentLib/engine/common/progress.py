"""Long work as a generator of progress steps.

A function that takes long returns ``Steps[T]``: a generator that yields :class:`Step` and returns its result. Who calls
decides how to run it: the panel advances it from a timer and drops it on Cancel, the command line draws a bar, tests
run it to the end silently. Nothing of a dropped generator reaches the scene or the disk, since only its return value is written.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Step:
    """One step of progress: ``fraction`` of the whole work done (0 to 1) and what is being done now."""

    fraction: float
    message: str


Steps = Generator[Step, None, T]
_WAIT = 0.03  # seconds between two steps of what a thread computes


def run_to_end(steps: Steps[T], on_step: Callable[[Step], None] | None = None) -> T:
    """Runs ``steps`` to the end and returns its result; ``on_step`` is called with each step."""
    while True:
        try:
            step = next(steps)
        except StopIteration as stop:
            return stop.value
        if on_step is not None:
            on_step(step)


def in_thread(work: Callable[[], T], step: Step, *, abandoned: bool = False) -> Steps[T]:
    """``work()`` in a thread of its own, beside which a window stays alive as far as it holds no lock of Python; ``step`` is told
    again and again meanwhile.

    :param abandoned: whether work whose steps are dropped ends by itself, unseen, in place of being waited for.
    """
    pool = ThreadPoolExecutor(1)
    try:
        running = pool.submit(work)
        while not wait([running], _WAIT).done:
            yield step
        return running.result()
    finally:
        pool.shutdown(wait=not abandoned)


def as_part_of(steps: Steps[T], start: float, stop: float, title: str = "") -> Steps[T]:
    """Passes ``steps`` on with their fractions mapped from 0..1 to ``start``..``stop`` of a larger work, and ``title`` before
    their messages."""
    return _changed(steps, lambda s: Step(start + (stop - start) * s.fraction, f"{title}{s.message}"))


def monotonic(steps: Steps[T]) -> Steps[T]:
    """Passes ``steps`` on so that their fraction never falls: for work whose parts do not know how long they take."""
    reached = 0.0

    def change(step: Step) -> Step:
        nonlocal reached
        reached = max(reached, step.fraction)
        return Step(reached, step.message)

    return _changed(steps, change)


def _changed(steps: Steps[T], change: Callable[[Step], Step]) -> Steps[T]:
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return end.value
        yield change(step)
