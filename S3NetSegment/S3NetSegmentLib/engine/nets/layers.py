"""Layers of the networks: those of a U-Net, for slices (2D) and for stacks of slices (3D), and deformable convolution.

In 3D what lies across the slices is treated apart, as in nnU-Net (Isensee et al., arXiv 1809.10486): as long as slices lie much further
apart than pixels, neither convolution nor pooling mixes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from ..common.errors import InputError

_SLOPE = 0.01
_GROUPS = 8
_CHUNK_VALUES = 1 << 21  # sampled values held at once: 8 MB in float32

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


def deformable_conv2d(
    x: torch.Tensor,
    offsets: torch.Tensor,
    mask: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    dilation: int = 1,
    chunk_values: int = _CHUNK_VALUES,
) -> torch.Tensor:
    """Convolution whose taps are moved by ``offsets`` and scaled by ``mask``; stride 1, "same" size, zeros outside.

    :param x: ``[N, C, H, W]``.
    :param offsets: ``[N, 2 k k, H, W]`` in pixels: row and column shift of tap 0, of tap 1, ... (taps row by row).
    :param mask: ``[N, k k, H, W]``, the weight of each tap.
    :param weight: ``[O, C, k, k]``, k odd. ``bias``: ``[O]``.
    :param chunk_values: the rows of the output are computed in groups that sample at most about this many values (at
        least one row); between groups only the output is kept, and the backward pass samples each group again. So the
        memory does not grow with k k C H W.
    :return: ``[N, O, H, W]``; equal to ``conv2d`` at zero offsets and unit mask. Sampling is bilinear.
    """
    size = weight.shape[-1]
    taps = size * size
    count, channels, height, width = x.shape
    expected = ((count, 2 * taps, height, width), (count, taps, height, width))
    if size % 2 == 0 or weight.shape[1:] != (channels, size, size) or (offsets.shape, mask.shape) != expected:
        raise InputError(
            f"a deformable convolution of {tuple(x.shape)} with weights {tuple(weight.shape)} (odd size) needs offsets "
            f"{expected[0]} and mask {expected[1]}; got {tuple(offsets.shape)} and {tuple(mask.shape)}"
        )
    rows = max(1, min(height, chunk_values // max(1, count * channels * taps * width)))
    kernel = weight.reshape(weight.shape[0], channels * taps)
    x = x.contiguous()  # samples of one channel then lie close together
    parts = []
    for first in range(0, height, rows):
        part = slice(first, min(first + rows, height))
        arguments = (x, offsets[:, :, part], mask[:, :, part], kernel, first, dilation)
        if rows < height and torch.is_grad_enabled():
            parts.append(checkpoint(_rows_of_output, *arguments, use_reentrant=False, preserve_rng_state=False))
        else:
            parts.append(_rows_of_output(*arguments))
    out = torch.cat(parts, 2) if len(parts) > 1 else parts[0]
    return out if bias is None else out + bias[:, None, None]


def _rows_of_output(x, offsets, mask, kernel, first: int, dilation: int) -> torch.Tensor:
    """Rows ``first`` ... of the output, ``[N, O, R, W]``, for the offsets and mask of these rows."""
    count, channels, height, width = x.shape
    rows = offsets.shape[2]
    taps = mask.shape[1]
    size = round(taps**0.5)
    place = (torch.arange(size, device=x.device, dtype=x.dtype) - size // 2) * dilation
    moved = offsets.view(count, taps, 2, rows, width)
    y = torch.arange(first, first + rows, device=x.device, dtype=x.dtype)[:, None]
    y = moved[:, :, 0] + place.repeat_interleave(size)[:, None, None] + y
    z = torch.arange(width, device=x.device, dtype=x.dtype)
    z = moved[:, :, 1] + place.repeat(size)[:, None, None] + z
    # to grid_sample's coordinates; align_corners=False so that images of one row or column work too
    grid = torch.stack(((2 * z + 1) / width - 1, (2 * y + 1) / height - 1), -1).view(count, taps * rows, width, 2)
    sampled = F.grid_sample(x, grid, padding_mode="zeros", align_corners=False)
    sampled = sampled.view(count, channels, taps, rows * width) * mask.reshape(count, 1, taps, rows * width)
    sampled = sampled.view(count, channels * taps, rows * width)
    return torch.bmm(kernel.expand(count, *kernel.shape), sampled).view(count, -1, rows, width)


class DeformableConv2d(nn.Module):
    """Deformable 3x3 convolution that predicts its offsets and mask from its input.

    The predictor starts at zero, so training starts from an ordinary convolution. Offsets are bounded smoothly to
    ``reach`` pixels, the mask is 2 sigmoid (1 at the start). Works for images of any size.
    """

    def __init__(self, in_channels: int, out_channels: int, *, reach: float = 4.0, bias: bool = True):
        super().__init__()
        self.reach = reach
        ordinary = nn.Conv2d(in_channels, out_channels, 3, bias=bias)
        self.weight, self.bias = ordinary.weight, ordinary.bias
        self.predict = nn.Conv2d(in_channels, 27, 3, padding=1)
        for start in self.predict.parameters():
            nn.init.zeros_(start)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        predicted = self.predict(x)
        offsets = self.reach * torch.tanh(predicted[:, :18] / self.reach)
        mask = 2 * torch.sigmoid(predicted[:, 18:])
        return deformable_conv2d(x, offsets, mask, self.weight, self.bias)
