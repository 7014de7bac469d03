"""Modulated deformable convolution (DCN v2) on torch alone, with offsets predicted from the input.

Source: Zhu et al., "Deformable ConvNets v2", CVPR 2019.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from ..common.errors import InputError

_CHUNK_VALUES = 1 << 21  # sampled values held at once: 8 MB in float32


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
