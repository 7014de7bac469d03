"""The exponential moving average of a network's weights: a calmer copy of it, for keys, pseudo-labels and evaluation."""

from __future__ import annotations

import copy

import torch
from torch import nn


def averaged_copy(network: nn.Module) -> nn.Module:
    """A copy of ``network`` to be kept up to date with :func:`update_average`; it never learns by gradient."""
    return copy.deepcopy(network).requires_grad_(False)


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Moves ``average`` by (1 - ``decay``) towards ``network``; statistics of normalisation layers are copied."""
    old, new = list(average.parameters()), [p.detach() for p in network.parameters()]
    torch._foreach_lerp_(old, new, 1.0 - decay)
    for kept, current in zip(average.buffers(), network.buffers(), strict=True):
        kept.copy_(current)
