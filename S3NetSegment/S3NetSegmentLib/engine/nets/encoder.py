"""What every encoder is: an image in, feature maps at one or more resolutions out; lists of parts of one kind; and low-rank
adapters (LoRA), a few trained weights beside the frozen ones of a transformer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import torch
from torch import nn

from ..common.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator


M = TypeVar("M", bound=nn.Module)


class ModuleListOf(nn.ModuleList, Generic[M]):
    """An ``nn.ModuleList`` of parts of one kind."""

    if TYPE_CHECKING:

        def __iter__(self) -> Iterator[M]: ...
        def __getitem__(self, index: int) -> M: ...  # type: ignore[override]  # slices are not needed


class Encoder(nn.Module):
    """``forward(image)`` takes ``[N, in_channels, H, W]`` and returns one map per level, finest first.

    Attributes: ``in_channels``; ``channels``, the channel count of each level; ``strides``, the image pixels per feature
    pixel of each level (a map of stride s has ceil(H / s) rows and ceil(W / s) columns).
    """

    in_channels: int
    channels: tuple[int, ...]
    strides: tuple[int, ...]


class AdaptedLinear(nn.Module):
    """A frozen linear layer with a low-rank addition in float32: y = W x + B A x, A ~ N(0, 1 / rank), B = 0.

    Source: Hu et al., "LoRA", arXiv 2106.09685; the factor 1 as in the published few-shot method (arXiv 2403.03273).
    """

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


def _adapters(encoder: nn.Module) -> dict[str, AdaptedLinear]:
    return {path: module for path, module in encoder.named_modules() if isinstance(module, AdaptedLinear)}
