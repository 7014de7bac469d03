"""One optimisation step of any task: precision, learning rate, several processes, batches that do not fit into memory;
and the exponential moving average of a network's weights, a calmer copy of it for keys, pseudo-labels and evaluation."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ...common.device import is_out_of_memory, one_thread_if
from ...common.errors import InputError, ResourceError
from ...common.tensors import summed, torch_generator
from ...nets.unet import TwoStreamUNet
from ...nets.vit import is_native_bfloat16
from ..settings import SGD_MOMENTUM, TrainerSettings, rate_factor
from .processes import Processes

_SMALL_BATCH = 2**18  # numbers; 64 slices of 64 x 64 pixels. Measured in Testing/benchmarks/training/busy_machine.py
N = TypeVar("N", bound=nn.Module)


class Optimisation:
    """The optimiser of a task and all that a step needs. Small batches are computed in one thread of the CPU: more of them gain
    hardly anything on a quiet machine, and beside other programs they wait for each other ten times as long as they compute.

    :param task: see :class:`TrainingTask`; on ``device``.
    :param note: called with a sentence for the user.
    :raises InputError: nothing to train, or a precision that the device lacks.
    """

    def __init__(
        self,
        task: TrainingTask,
        settings: TrainerSettings,
        device: torch.device,
        processes: Processes,
        note: Callable[[str], None],
    ):
        self._task, self._settings, self._device, self._processes, self._note = task, settings, device, processes, note
        self._dtype = chosen_precision(settings, device, is_3d=any(p.ndim == 5 for p in task.parameters()))
        self._optimizer = make_optimizer(task, settings)
        self._scaler = torch.amp.GradScaler("cuda", enabled=self._dtype == torch.float16)
        self._parts = 1  # into which a batch is divided
        self._model: torch.nn.Module = task if processes.count == 1 else _distributed(task, device)

    @property
    def rate(self) -> float:
        """The learning rate of the last step."""
        return self._optimizer.param_groups[0]["lr"]

    def step(self, batch: dict, step: int, steps: int) -> dict[str, torch.Tensor]:
        """Changes the weights by ``batch`` of ``step`` (from 0) of ``steps``; returns the losses and measures by name, and
        "loss", what was minimised, detached. With too little memory the batch is divided.

        :raises ResourceError: one sample is too much.
        """
        with one_thread_if(self._device.type == "cpu" and _numbers(batch) <= _SMALL_BATCH):
            return self._step(batch, step, steps)

    def _step(self, batch: dict, step: int, steps: int) -> dict[str, torch.Tensor]:
        for group in self._optimizer.param_groups:
            group["lr"] = self._settings.learning_rate * group["rate"] * rate_factor(self._settings, step, steps)
        while True:
            self._optimizer.zero_grad(set_to_none=True)
            try:
                losses = self._gradients(batch, step / steps)
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                problem = error
            # outside the handler, so that the failed step's tensors are free before the next try
            self._divide(problem, _samples(batch))
            del problem
        if self._settings.clip > 0:
            self._scaler.unscale_(self._optimizer)
            weights = [p for group in self._optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(weights, self._settings.clip)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._task.after_step((step + 1) / steps)
        return losses

    def state(self) -> dict:
        return {
            "optimizer": self._optimizer.state_dict(), "scaler": self._scaler.state_dict(), "parts": self._parts
        }  # fmt: skip

    def load_state(self, state: dict) -> None:
        self._optimizer.load_state_dict(state["optimizer"])
        if state["scaler"] and self._scaler.is_enabled():  # the precision may be another now
            self._scaler.load_state_dict(state["scaler"])
        self._parts = state["parts"]

    def _gradients(self, batch: dict, progress: float) -> dict[str, torch.Tensor]:
        sums: dict[str, torch.Tensor] = {}
        parts = _divided(batch, self._parts)
        for number, (part, share) in enumerate(parts):
            is_last = number == len(parts) - 1
            # several processes add up their gradients once, with the last part
            with nullcontext() if is_last else self._apart():
                # without its cache, which in some versions keeps weights cast under no_grad, whose gradient is lost
                with torch.autocast(
                    self._device.type, self._dtype, enabled=self._dtype is not None, cache_enabled=False
                ):
                    losses = self._model(part, progress)
                total = losses.get("loss")
                if total is None:
                    total = summed(value for name, value in losses.items() if not name.startswith("_"))
                self._scaler.scale(total.float() * share).backward()
            for name, value in {**losses, "loss": total}.items():
                sums[name] = sums.get(name, 0) + value.detach().float() * share
        return sums

    def _apart(self) -> AbstractContextManager:
        """A block after which the gradients of several processes are not added up."""
        return self._model.no_sync() if isinstance(self._model, DistributedDataParallel) else nullcontext()

    def _divide(self, error: BaseException, samples: int) -> None:
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        if self._processes.count > 1 or self._parts >= samples:
            what = "one sample" if self._parts >= samples else "the batch of a process"
            raise ResourceError(
                f"the memory of the device ({self._device.type}) is not enough for {what}: choose a smaller batch, side or network"
            ) from error
        self._parts = min(samples, 2 * self._parts)
        self._note(
            f"The memory was not enough for a batch of {samples}: it is computed in {self._parts} parts whose gradients are "
            "added up. Batch normalisation then sees smaller batches."
        )


def make_optimizer(task: TrainingTask, settings: TrainerSettings) -> torch.optim.Optimizer:
    """The optimiser over what is trained of ``task``. Each group keeps the factor of its learning rate as "rate"."""
    groups = [
        {"rate": 1.0, **g, "params": [p for p in g["params"] if p.requires_grad]} for g in task.parameter_groups()
    ]
    groups = [g for g in groups if g["params"]]
    if not groups:
        raise InputError("no weight of the network is to be trained; thaw it or put LoRA adapters on it")
    if settings.optimizer == "sgd":
        kind = _without_compiler(torch.optim.SGD)
        return kind(groups, settings.learning_rate, momentum=SGD_MOMENTUM, weight_decay=settings.weight_decay)
    return _without_compiler(torch.optim.AdamW)(groups, settings.learning_rate, weight_decay=settings.weight_decay)


def _without_compiler(kind: type[torch.optim.Optimizer]) -> type:
    """torch's optimiser without the wrappers of its methods. They load torch's compiler, which makes each start of a training a
    second longer, and only tell it what it must not compile; nothing is compiled here."""
    names = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")
    bare = {name: inspect.unwrap(getattr(kind, name)) for name in names}
    return type(kind.__name__, (kind,), {**bare, "step": torch.no_grad()(inspect.unwrap(kind.step))})


def chosen_precision(settings: TrainerSettings, device: torch.device, *, is_3d: bool = False) -> torch.dtype | None:
    """The type that the network computes in, None for float32. Raises InputError for what the device cannot do.

    :param is_3d: whether the network has convolutions in 3D. On a CPU these are not computed in bfloat16: where maps are two
        slices deep, torch's gradients of a 3x3x3 convolution are wrong by any factor, without a word (oneDNN's kernel for
        avx512_bf16; measured with torch 2.13).
    """
    name, is_cpu = settings.precision, device.type == "cpu"
    if name == "auto":
        name = "bf16" if is_native_bfloat16(device) and not (is_cpu and is_3d) else "fp32"
    if name == "fp16" and device.type != "cuda":
        raise InputError(
            f"setting precision is 'fp16', which needs a CUDA device; this is {device.type}: use fp32 or bf16"
        )
    if name == "bf16" and is_cpu and is_3d:
        raise InputError(
            "setting precision is 'bf16', in which a CPU computes wrong gradients of 3D networks (dimensions=3): use auto or fp32"
        )
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[name]


def _distributed(task: TrainingTask, device: torch.device) -> DistributedDataParallel:
    is_cuda = device.type == "cuda"
    model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(task) if is_cuda else task
    ids = [device.index] if is_cuda else None
    return DistributedDataParallel(model, device_ids=ids, find_unused_parameters=task.has_unused_parameters)


def _samples(batch: dict) -> int:
    return max(len(v) for v in batch.values() if isinstance(v, torch.Tensor))


def _numbers(batch: dict) -> int:
    return sum(v.numel() for v in batch.values() if isinstance(v, torch.Tensor))


def _divided(batch: dict, parts: int) -> list[tuple[dict, float]]:
    """``batch`` in ``parts`` along the samples, each with its share of them and a rank of its own."""
    if parts == 1:
        return [(batch, 1.0)]
    tensors = {n: torch.tensor_split(v, parts) for n, v in batch.items() if isinstance(v, torch.Tensor)}
    first = next(iter(tensors.values()))
    divided = []
    for number in range(parts):
        part = {n: tensors[n][number] if n in tensors else v for n, v in batch.items()}
        if "rank" in batch:
            part |= {"rank": batch["rank"] * parts + number, "processes": batch.get("processes", 1) * parts}
        share = len(first[number]) / sum(map(len, first))
        if share > 0:
            divided.append((part, share))
    return divided


class TrainingTask(nn.Module):
    """A network with its losses.

    ``forward(batch, progress)`` takes a batch (a dictionary of tensors, whose first axis is that of the samples, and whole
    numbers) and how much of the training is done (0 to 1), and returns scalar tensors by name. Their sum is minimised, or the
    entry "loss" alone where there is one; entries whose names begin with "_" are only logged.

    Random numbers of a task follow from the batch's "seed", "step" and "rank" alone. A batch may arrive in several parts, each
    with a "rank" of its own.

    Attribute ``has_unused_parameters``: whether some parameters have no part in the losses (asked where several processes
    train).
    """

    has_unused_parameters: bool = False

    def random_numbers(self, batch: Mapping, stream: int) -> torch.Generator:
        """Those of ``batch``, or of a part of it; ``stream`` tells them from others of the same seed."""
        numbers = stream + (int(batch["step"]) << 16) + int(batch.get("rank", 0))
        return torch_generator(int(batch["seed"]), numbers)

    @property
    def unchanging(self) -> Iterable[str]:
        """Names of entries of the state that training never changes (a frozen backbone) and that need not be kept."""
        return ()

    def after_step(self, progress: float) -> None:
        """Called after each change of the weights (moving averages)."""

    def parameter_groups(self) -> list[dict]:
        """``{"params": [...], "rate": factor of the learning rate}``; of the parameters those that require a gradient are
        trained."""
        return [{"params": list(self.parameters())}]


def averaged_copy(network: N) -> N:
    """A copy of ``network`` to be kept up to date with :func:`update_average`; it never learns by gradient."""
    return copy.deepcopy(network).requires_grad_(False)


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float, *, statistics: bool = True) -> None:
    """Moves ``average`` by (1 - ``decay``) towards ``network``.

    :param statistics: whether those of normalisation layers are copied; else see :func:`measure_statistics`.
    """
    old: list[torch.Tensor] = list(average.parameters())
    torch._foreach_lerp_(old, [p.detach() for p in network.parameters()], 1.0 - decay)
    if statistics:
        for kept, current in zip(average.buffers(), network.buffers(), strict=True):
            kept.copy_(current)


@torch.no_grad()
def measure_statistics(network: TwoStreamUNet, images: torch.Tensor, share: float) -> tuple[torch.Tensor, torch.Tensor]:
    """What ``network.streams`` answers to ``images`` normalised by their own statistics, without dropout; by ``share`` the
    running statistics of its batch normalisation move towards these."""
    layers = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    training = network.training
    network.eval()
    for layer in layers:
        layer.train()
        layer.momentum = share
    answers = network.streams(images)
    network.train(training)
    return answers
