"""Low-rank adapters: a few trained weights beside the frozen ones of a transformer.

Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", arXiv 2106.09685. As in the published few-shot
method: on every linear layer of the blocks, y = W x + B A x (factor 1), A ~ N(0, 1 / rank), B = 0, so that nothing
changes before training.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from ..common.errors import InputError


class AdaptedLinear(nn.Module):
    """A frozen linear layer with a low-rank addition in float32."""

    def __init__(self, base: nn.Linear, rank: int, generator: torch.Generator):
        super().__init__()
        self.base = base.requires_grad_(False)
        device = base.weight.device
        down = torch.empty(rank, base.in_features).normal_(0, 1 / rank, generator=generator)
        self.down = nn.Parameter(down.to(device))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank, device=device))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        added = (x.to(self.down.dtype) @ self.down.T) @ self.up.T
        return self.base(x) + added.to(x.dtype)


def add_lora(encoder: nn.Module, rank: int, generator: torch.Generator) -> list[nn.Parameter]:
    """Freezes ``encoder`` and puts an adapter on every linear layer of its blocks; returns the adapters' parameters.

    Raises InputError if it has adapters already, has no blocks with linear layers, or the rank is not 1 to 256.
    """
    if not 1 <= int(rank) <= 256:
        raise InputError(f"LoRA rank is {rank}; it must be a whole number from 1 to 256")
    if _adapters(encoder):
        raise InputError("the encoder has LoRA adapters already; merge or remove them first")
    places = [
        (parent, name, child)
        for path, parent in encoder.named_modules()
        if "blocks" in path.split(".")
        for name, child in parent.named_children()
        if isinstance(child, nn.Linear)
    ]
    if not places:
        raise InputError("this encoder has no transformer blocks, so LoRA cannot be put on it; train it as a whole")
    encoder.requires_grad_(False)
    for parent, name, child in places:
        setattr(parent, name, AdaptedLinear(child, int(rank), generator))
    return [p for adapter in _adapters(encoder).values() for p in (adapter.down, adapter.up)]


def remove_lora(encoder: nn.Module, *, merge: bool = False) -> None:
    """Takes the adapters away; with ``merge`` what they add is put into the weights first."""
    for path, adapter in _adapters(encoder).items():
        if merge:
            with torch.no_grad():
                weight = adapter.base.weight
                weight.copy_((weight.float() + adapter.up @ adapter.down).to(weight.dtype))
        parent, _, name = path.rpartition(".")
        setattr(encoder.get_submodule(parent), name, adapter.base)


def lora_state(encoder: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of the adapters' tensors (on the CPU); empty without adapters."""
    return {
        f"{path}.{part}": getattr(adapter, part).detach().to("cpu", copy=True)
        for path, adapter in _adapters(encoder).items()
        for part in ("down", "up")
    }


def load_lora_state(encoder: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Puts adapters with the tensors ``state`` on ``encoder``, in place of any that it has.

    Raises InputError if they belong to another encoder; ``encoder`` is then as before.
    """
    ranks = {tensor.shape[0] for name, tensor in state.items() if name.endswith(".down") and tensor.ndim == 2}
    if len(ranks) != 1:
        raise InputError(
            "the file holds no LoRA adapters (or of several ranks); choose a file that this software wrote"
        )
    linear = {}
    for path, module in encoder.named_modules():
        path = path.removesuffix(".base")
        if isinstance(module, nn.Linear) and "blocks" in path.split("."):
            linear[path] = module
    (rank,) = ranks
    expected = {f"{p}.down": (rank, m.in_features) for p, m in linear.items()}
    expected |= {f"{p}.up": (m.out_features, rank) for p, m in linear.items()}
    if expected != {name: tuple(tensor.shape) for name, tensor in state.items()}:
        raise InputError(
            f"these LoRA adapters ({len(state)} tensors) do not belong to this encoder (which needs {len(expected)}); "
            "choose the encoder that they were trained on"
        )
    remove_lora(encoder)
    add_lora(encoder, rank, torch.Generator())
    with torch.no_grad():
        for path, adapter in _adapters(encoder).items():
            adapter.down.copy_(state[f"{path}.down"])
            adapter.up.copy_(state[f"{path}.up"])


def _adapters(encoder: nn.Module) -> dict[str, AdaptedLinear]:
    return {path: module for path, module in encoder.named_modules() if isinstance(module, AdaptedLinear)}
