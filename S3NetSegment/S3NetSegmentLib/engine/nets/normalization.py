"""Batch normalisation whose statistics can be frozen once, for all slices of a volume alike."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class FrozenBatchNorm2d(nn.Module):
    """Batch normalisation that uses the statistics of its batch until :func:`freeze_statistics` fixes them.

    Normalising each slice with its own statistics would shift the decision from slice to slice, and running averages of
    a fit of a dozen steps still hold the untrained network. So fitting uses the statistics of the batch, and afterwards
    one pass of slices from the whole volume fixes them for good.
    """

    mean: torch.Tensor
    variance: torch.Tensor
    frozen: torch.Tensor

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))
        self.register_buffer("frozen", torch.tensor(False))
        self._is_frozen = False  # the buffer's value, read without waiting for the device
        self._is_measuring = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self._is_measuring:
            self.variance, self.mean = torch.var_mean(x, (0, 2, 3), correction=0)
        if self._is_measuring or self._is_frozen:
            return F.batch_norm(x, self.mean, self.variance, self.weight, self.bias, training=False)
        return F.batch_norm(x, None, None, self.weight, self.bias, training=True)

    def _load_from_state_dict(self, *args, **kwargs):
        super()._load_from_state_dict(*args, **kwargs)
        self._is_frozen = bool(self.frozen)


def freeze_statistics(network: nn.Module, batch: torch.Tensor) -> None:
    """Fixes the statistics of every :class:`FrozenBatchNorm2d` of ``network`` to those of ``batch`` ``[N, C, H, W]``.

    Layer by layer in one forward pass, so each layer sees what the already fixed layers before it give.
    """
    layers = [m for m in network.modules() if isinstance(m, FrozenBatchNorm2d)]
    for layer in layers:
        layer._is_measuring = True
    try:
        with torch.no_grad():
            network(batch)
    finally:
        for layer in layers:
            layer._is_measuring = False
    for layer in layers:
        layer._is_frozen = True
        layer.frozen.fill_(True)
