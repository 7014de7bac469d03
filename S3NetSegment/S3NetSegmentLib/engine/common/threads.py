"""How many threads torch uses for small work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

from .progress import Steps

T = TypeVar("T")
P = ParamSpec("P")


@contextmanager
def one_thread_if(small: bool) -> Iterator[None]:
    """One torch thread inside, if ``small``: on small maps several threads wait for each other longer than they compute,
    above all on a busy machine. The user's number of threads is back afterwards."""
    threads = torch.get_num_threads()
    if small:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if small:
            torch.set_num_threads(threads)


def one_threaded(work: Callable[P, Steps[T]]) -> Callable[P, Steps[T]]:
    """A generator of progress steps of which each is computed in one torch thread; between them the user's number stands.

    For long work of many small operations: after each that torch shares among threads the others keep a processor busy for
    milliseconds, waiting for the next. One such operation between two others is enough to double the time of both.
    """

    @wraps(work)
    def steps(*arguments: P.args, **named: P.kwargs) -> Steps[T]:
        running = work(*arguments, **named)
        while True:
            with one_thread_if(True):
                try:
                    step = next(running)
                except StopIteration as end:
                    return end.value
            yield step

    return steps
