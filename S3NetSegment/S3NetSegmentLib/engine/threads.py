"""How many threads torch uses for small work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


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
