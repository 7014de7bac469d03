"""Several processes of one training, started by ``torchrun``: who this one is, and what all agree on."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module

import torch
import torch.distributed as dist

from ...common.device import choose_device
from ...common.errors import InputError

# The others wait while rank 0 validates; a process that dies ends torchrun's others at once.
_PATIENCE = timedelta(hours=12)


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

    :param device: see :func:`~...common.device.choose_device`. Under ``torchrun`` each process has the CUDA device of its local rank
        (NCCL connects them), or all compute on the CPU (Gloo).
    The group is destroyed at the end, and with it the threads of Gloo: one that gives back a tensor while Python is being torn
    down aborts the process. So nothing outside the block may keep the network that was trained there in several processes.
    After an error the group stays, see :func:`end_at_once_if_joined`.

    :raises InputError: a device that is not usable, or not by several processes.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield Processes(), choose_device(device)
        return
    # Before there is a group: its functions keep the one that exists at their import as a default value, so that it would never
    # be destroyed. DistributedDataParallel imports it later.
    import_module("torch.distributed.nn.functional")
    own = _own_device(device, int(os.environ.get("LOCAL_RANK", 0)))
    if own.type == "cuda":
        dist.init_process_group("nccl", timeout=_PATIENCE, device_id=own)
    else:
        dist.init_process_group("gloo", timeout=_PATIENCE)
    yield Processes(dist.get_rank(), dist.get_world_size()), own
    gc.collect()  # the distributed network is part of cycles, and keeps the group
    dist.destroy_process_group()


def end_at_once_if_joined(code: int) -> None:
    """Ends this process with the exit code ``code`` if it is still joined with others, as after an error.

    Then an exchange may be under way in a thread. To wait for it could take for ever (the others may be waiting for this
    process), and a tidy end of Python would abort where the exchange ends meanwhile.
    """
    if dist.is_available() and dist.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


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
        # First of all: whatever touches CUDA before takes memory of device 0 in every process.
        torch.cuda.set_device(local)
    chosen = choose_device(kind)
    if chosen.type == "cuda":
        return torch.device("cuda", local)
    return torch.device("cpu")


def _device_of_backend() -> str:
    return "cuda" if dist.get_backend() == "nccl" else "cpu"
