"""The layers of a U-Net, for slices (2D) and for stacks of slices (3D).

In 3D what lies across the slices is treated apart, as in nnU-Net (Isensee et al., arXiv 1809.10486): as long as slices lie much further
apart than pixels, neither convolution nor pooling mixes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import nn

from ..common.errors import InputError

_SLOPE = 0.01
_GROUPS = 8

N = TypeVar("N", bound=nn.Module)


class Block(nn.Sequential):
    """Convolution, normalisation, LeakyReLU, dropout, convolution, normalisation, LeakyReLU.

    :param reach: see :func:`convolution`.
    """

    def __init__(self, before: int, after: int, normalization: str, dropout: float, reach: int | None = None):
        super().__init__(
            convolution(before, after, reach),
            _normalization(normalization, after, reach is not None),
            nn.LeakyReLU(_SLOPE),
            nn.Dropout(dropout) if dropout else nn.Identity(),
            convolution(after, after, reach),
            _normalization(normalization, after, reach is not None),
            nn.LeakyReLU(_SLOPE),
        )


def convolution(before: int, after: int, reach: int | None = None) -> nn.Module:
    """3x3 convolution of slices or, over ``reach`` slices (1 or 3), of stacks of them."""
    if reach is None:
        return nn.Conv2d(before, after, 3, padding=1)
    return nn.Conv3d(before, after, (reach, 3, 3), padding=(reach // 2, 1, 1))


def checked_across(across: Sequence[int], levels: int) -> tuple[int, ...]:
    """``across`` itself. Raises InputError if it does not suit a network of that many ``levels``."""
    if across and (len(across) != levels - 1 or any(factor not in (1, 2) for factor in across)):
        raise InputError(f"across is {list(across)}; it must be empty, or {levels - 1} numbers 1 or 2")
    return tuple(across)


def reaches(across: Sequence[int], levels: int) -> tuple[int | None, ...]:
    """Over how many slices each level's convolutions reach; None for all levels of a 2D network."""
    if not across:
        return (None,) * levels
    return tuple(3 if 2 in across[: n + 1] or n == levels - 1 else 1 for n in range(levels))


def enlarging(coarse: int, fine: int, transposed: bool, across: int | None) -> nn.Module:
    """The weights that carry maps to the next finer level: a transposed convolution, or a 1x1 convolution to go before
    :func:`linearly_enlarged`. ``across``: as in :func:`shrunk`."""
    if across is None:
        return nn.ConvTranspose2d(coarse, fine, 2, stride=2) if transposed else nn.Conv2d(coarse, fine, 1)
    factors = (across, 2, 2)
    return nn.ConvTranspose3d(coarse, fine, factors, stride=factors) if transposed else nn.Conv3d(coarse, fine, 1)


def linearly_enlarged(maps: torch.Tensor, across: int | None) -> torch.Tensor:
    """``maps`` of twice the size, and of ``across`` times as many slices."""
    height, width = maps.shape[-2:]
    size, mode = [2 * height, 2 * width], "bilinear"
    if across is not None:
        size, mode = [across * maps.shape[2], *size], "trilinear"
    return F.interpolate(maps, size, mode=mode, align_corners=False)


def shrunk(maps: torch.Tensor, across: int | None) -> torch.Tensor:
    """``maps`` at the next coarser level: maximum pooling by 2, and by ``across`` across the slices of 3D ones."""
    if across is None:
        return F.max_pool2d(maps, 2, ceil_mode=True)
    return F.max_pool3d(maps, (across, 2, 2), ceil_mode=True)


def in_channels_last(network: N) -> N:
    """``network`` itself, with its weights in the order that convolutions on a CPU like."""
    is_3d = any(p.ndim == 5 for p in network.parameters())
    order = torch.channels_last_3d if is_3d else torch.channels_last
    return network.to(memory_format=order)  # type: ignore[call-overload]  # missing in torch's own types


def _normalization(name: str, channels: int, is_3d: bool) -> nn.Module:
    if name == "batch":
        return nn.BatchNorm3d(channels) if is_3d else nn.BatchNorm2d(channels)
    if name == "group":
        return nn.GroupNorm(min(_GROUPS, channels), channels)
    raise InputError(f"normalization is {name!r}; it must be batch or group")
