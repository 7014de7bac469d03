"""Several processes of one training, started by ``torchrun``: who this one is, and what all agree on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

from ..errors import InputError


@dataclass(frozen=True)
class Processes:
    """The processes of one training; a single one without ``torchrun``.

    :param rank: number of this process; rank 0 alone writes files and speaks.
    :param count: number of processes.
    """

    rank: int = 0
    count: int = 1

    @property
    def writes(self) -> bool:
        return self.rank == 0

    def agreed(self, wish: int) -> int:
        """The largest ``wish`` (a small whole number) of all processes, so that all stop or save at the same step."""
        if self.count == 1:
            return wish
        value = torch.tensor(wish, device=_device_of_backend())
        dist.all_reduce(value, dist.ReduceOp.MAX)
        return int(value)

    def shared(self, value):
        """``value`` of rank 0, in every process; plain values and small objects."""
        if self.count == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, 0)
        return box[0]

    def means(self, values: dict[str, float]) -> dict[str, float]:
        """The mean of each of ``values`` over the processes."""
        if self.count == 1 or not values:
            return values
        row = torch.tensor(list(values.values()), dtype=torch.float64, device=_device_of_backend())
        dist.all_reduce(row)
        return dict(zip(values, (row / self.count).tolist(), strict=True))


@contextmanager
def joined_processes(device: torch.device) -> Iterator[tuple[Processes, torch.device]]:
    """Joins the processes of ``torchrun``, if it started this one; gives them and the device of this process (each has a
    CUDA device of its own, if there are enough)."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield Processes(), device
        return
    if device.type == "cuda":
        local = int(os.environ.get("LOCAL_RANK", 0))
        if local >= torch.cuda.device_count():
            raise InputError(
                f"torchrun started process {local + 1} on this machine, but it has {torch.cuda.device_count()} CUDA devices; "
                "set --nproc-per-node to their number"
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), dist.get_world_size()), device
    finally:
        dist.destroy_process_group()


def _device_of_backend() -> str:
    return "cuda" if dist.get_backend() == "nccl" else "cpu"
