"""Long work as a generator of progress steps.

A function that takes long returns ``Steps[T]``: a generator that yields :class:`Step` and returns its result. Who calls
decides how to run it: the panel advances it from a timer and drops it on Cancel, the command line draws a bar, tests
run it to the end silently. Nothing of a dropped generator reaches the scene or the disk, since only its return value is written.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True)
class Step:
    """One step of progress: ``fraction`` of the whole work done (0 to 1) and what is being done now."""

    fraction: float
    message: str


Steps = Generator[Step, None, T]


def run_to_end(steps: Generator[S, None, T], on_step: Callable[[S], None] | None = None) -> T:
    """Runs ``steps``, or any generator, to the end and returns its result; ``on_step`` is called with what it yields."""
    while True:
        try:
            step = next(steps)
        except StopIteration as stop:
            return stop.value
        if on_step is not None:
            on_step(step)


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
