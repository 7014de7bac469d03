"""Gaussian, gradient and guided filters on torch tensors, so that they run where the network runs."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from ...common.tensors import summed

_GROUP_VALUES = 1 << 18


def gaussian(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """``x`` ``[N, C, H, W]`` blurred by ``sigma`` pixels; the border is continued with its own values."""
    if sigma <= 0:
        return x
    weights = _samples(sigma)
    return _along_columns(_along_rows(x, weights), weights)


def gradient_magnitude(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """Length of the gradient of ``x`` ``[N, C, H, W]`` at scale ``sigma`` pixels, per pixel."""
    smooth = _samples(sigma)
    offsets = torch.arange(len(smooth), dtype=smooth.dtype) - len(smooth) // 2
    slope = smooth * offsets
    slope = slope / (slope * offsets).sum()  # a ramp of 1 per pixel has the slope 1
    down = _along_columns(_along_rows(x, slope), smooth)
    right = _along_columns(_along_rows(x, smooth), slope)
    return torch.sqrt(down * down + right * right)


def guided_filter(x: torch.Tensor, guide: torch.Tensor, radius: int, smoothness: float) -> torch.Tensor:
    """``x`` ``[N, C, H, W]`` smoothed over windows of 2 ``radius`` + 1 pixels along the edges of ``guide``
    ``[N, 1, H, W]``; contrasts of the guide below sqrt(``smoothness``) count as flat.

    Windows end at the border of the image. Source: He, Sun and Tang, "Guided image filtering", TPAMI 2013.
    """
    if radius == 0:
        return x
    guide = guide.contiguous()
    mean_guide = _window_mean(guide, radius)
    variance = _window_mean(guide * guide, radius) - mean_guide**2
    group = max(1, _GROUP_VALUES // guide.numel())  # a few channels at a time stay in the processor's cache
    parts = [_guided(part.contiguous(), guide, mean_guide, variance, radius, smoothness) for part in x.split(group, 1)]
    return torch.cat(parts, 1)


def _guided(x, guide, mean_guide, variance, radius: int, smoothness: float) -> torch.Tensor:
    mean = _window_mean(x, radius)
    covariance = _window_mean(guide * x, radius) - mean_guide * mean
    slope = covariance / (variance + smoothness)
    offset = mean - slope * mean_guide
    return _window_mean(slope, radius) * guide + _window_mean(offset, radius)


def _window_mean(x: torch.Tensor, radius: int) -> torch.Tensor:
    """Mean over the part of the window inside the image, ``[N, C, H, W]``."""
    for dim in (2, 3):
        counts = _window_sum(torch.ones_like(x.narrow(0, 0, 1).narrow(1, 0, 1)), radius, dim)
        x = _window_sum(x, radius, dim) / counts
    return x


def _window_sum(x: torch.Tensor, radius: int, dim: int) -> torch.Tensor:
    """Sum of 2 ``radius`` + 1 neighbours along ``dim``, from sums of 1, 2, 4, ... of them: a few additions in all."""
    size = 2 * radius + 1
    padding = (0, 0, radius, radius) if dim == 2 else (radius, radius)
    part, length = F.pad(x, padding), 1  # part[i] = sum of ``length`` values from i on
    pieces, done = [], 0
    while length <= size:
        if size & length:
            pieces.append(part.narrow(dim, done, x.shape[dim]))
            done += length
        if 2 * length <= size:
            part = part.narrow(dim, 0, part.shape[dim] - length) + part.narrow(dim, length, part.shape[dim] - length)
        length *= 2
    return summed(pieces)


def _samples(sigma: float) -> torch.Tensor:
    radius = max(1, math.ceil(3.5 * sigma))
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weights = torch.exp(-offsets.square() / (2 * sigma * sigma))
    return weights / weights.sum()


def _along_rows(x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Correlation along H, i.e. down the rows."""
    return _correlate(x, weights[:, None])


def _along_columns(x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return _correlate(x, weights[None, :])


def _correlate(x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    count, channels, height, width = x.shape
    rows, columns = kernel.shape[0] // 2, kernel.shape[1] // 2
    x = F.pad(x.reshape(-1, 1, height, width), (columns, columns, rows, rows), mode="replicate")
    return F.conv2d(x, kernel[None, None].to(x)).view(count, channels, height, width)
