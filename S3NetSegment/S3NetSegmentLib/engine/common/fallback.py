"""Work in batches that may run out of memory: smaller batches first, then the CPU, and a sentence that says so."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import torch

from .device import is_out_of_memory
from .errors import ResourceError

T = TypeVar("T")


class BatchFallback:
    """The batch size and the device of a piece of work, which shrink as far as its memory demands.

    :param device: where to begin.
    :param batch: the largest batch size.
    :param notes: sentences for the user are appended here.
    :param what: what is computed, for these sentences.
    """

    def __init__(self, device: torch.device, batch: int, notes: list[str], what: str):
        self.device = device
        self.batch = max(1, int(batch))
        self._notes = notes
        self._what = what

    def run(self, work: Callable[[torch.device, int], T]) -> T:
        """``work(device, batch)``, again with less after each failure for lack of memory (or for an operation that the
        device lacks). Raises ResourceError when one item is too much for the CPU."""
        while True:
            try:
                return work(self.device, self.batch)
            except (RuntimeError, MemoryError) as error:
                problem = error
            # outside the handler, so that the failed work's tensors are free before the next try
            self._reduce(problem)
            del problem

    def _reduce(self, error: BaseException) -> None:
        full = is_out_of_memory(error)
        on_cpu = self.device.type == "cpu"
        if not full and (on_cpu or not _is_missing_operation(error)):
            raise error
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if full and self.batch > 1:
            self.batch = math.ceil(self.batch / 2)
            self._note(f"The memory of {self._place()} was full; {self._what} continued in smaller parts.")
        elif not on_cpu:
            reason = "was full" if full else "cannot do every operation"
            name = f"The memory of {self._place()}" if full else self._place().capitalize()
            self._note(f"{name} {reason}; {self._what} continued on the CPU, which takes longer.")
            self.device = torch.device("cpu")
        else:
            raise ResourceError(
                f"The memory of this machine is full: {self._what} failed even one slice at a time. Close other programs, "
                "choose fewer slices or set a smaller work_size, fit_size or channels"
            ) from error

    def _place(self) -> str:
        return "this machine" if self.device.type == "cpu" else f"the graphics device ({self.device.type})"

    def _note(self, sentence: str) -> None:
        if sentence not in self._notes:
            self._notes.append(sentence)


def _is_missing_operation(error: BaseException) -> bool:
    return isinstance(error, NotImplementedError) or "not implemented for" in str(error) or "MPS: " in str(error)
