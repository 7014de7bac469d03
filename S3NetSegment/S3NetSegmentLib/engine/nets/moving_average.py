"""The exponential moving average of a network's weights: a calmer copy of it, for keys, pseudo-labels and evaluation."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

from .unet import TwoStreamUNet

N = TypeVar("N", bound=nn.Module)


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
