"""Several processes of one training, started by ``torchrun``: who this one is, and what all agree on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from ..device import choose_device
from ..errors import InputError

_PATIENCE = timedelta(
    hours=12
)  # the others wait while rank 0 validates; a process that dies ends torchrun's others at once


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
def joined_processes(device: str = "auto") -> Iterator[tuple[Processes, torch.device]]:
    """Joins the processes of ``torchrun``, if it started this one; gives them and the device of this process.

    :param device: see :func:`~..device.choose_device`. Under ``torchrun`` each process has the CUDA device of its local rank
        (NCCL connects them), or all compute on the CPU (Gloo).
    :raises InputError: a device that is not usable, or not by several processes.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield Processes(), choose_device(device)
        return
    own = _own_device(device, int(os.environ.get("LOCAL_RANK", 0)))
    if own.type == "cuda":
        dist.init_process_group("nccl", timeout=_PATIENCE, device_id=own)
    else:
        dist.init_process_group("gloo", timeout=_PATIENCE)
    yield Processes(dist.get_rank(), dist.get_world_size()), own
    dist.destroy_process_group()  # not after an error: it would wait for processes that wait for this one


def _own_device(name: str, local: int) -> torch.device:
    """The device of process ``local`` of this machine."""
    kind = str(name).split(":")[0]
    if str(name) not in ("auto", "cpu", "cuda"):
        reason = "all processes would share it" if kind == "cuda" else "only CUDA and the CPU serve several processes"
        raise InputError(
            f"device is {name!r}, but torchrun started several processes and {reason}; use cuda, cpu or auto"
        )
    count = torch.cuda.device_count() if kind != "cpu" else 0
    if count:
        if local >= count:
            raise InputError(
                f"torchrun started process {local + 1} on this machine, but it has {count} CUDA devices; "
                "set --nproc-per-node to their number"
            )
        torch.cuda.set_device(
            local
        )  # first of all: whatever touches CUDA before takes memory of device 0 in every process
    chosen = choose_device(kind)
    if chosen.type == "cuda":
        return torch.device("cuda", local)
    return torch.device("cpu")


def _device_of_backend() -> str:
    return "cuda" if dist.get_backend() == "nccl" else "cpu"
