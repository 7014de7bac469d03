"""Deformation of one volume onto another one on the same grid: demons in 3D.

Thirion, "Image matching as a diffusion process", 1998; symmetric forces: Vercauteren et al., "Diffeomorphic demons", 2009.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F

from ...common.progress import Step, Steps

LEVELS = ((4, 40), (2, 30), (1, 15))  # (shrink factor, iterations), coarse to fine
ROUGH = LEVELS[:2]  # enough to compare places by, in half the time
_KNOTS = 25  # of the intensity map between both volumes
_BLUR = 0.7  # voxels, of the images before they are compared
_UPDATE_BLUR, _FIELD_BLUR = 1.0, 1.0  # voxels: fluid and elastic smoothness
_SMALLEST = 6  # voxels that a side keeps when it is shrunk
MATCHING = "Matching the volumes"


def same_intensities(image: np.ndarray, like: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """``image`` with the intensities of ``like``: equal percentiles inside."""
    q = np.linspace(1, 99, _KNOTS)
    own, other = np.percentile(image[inside], q), np.percentile(like[inside], q)
    return np.interp(image, np.maximum.accumulate(own + np.arange(_KNOTS) * 1e-6), other).astype(np.float32)


def is_flat(spacing: Sequence[float]) -> bool:
    """Whether slices (mm between slices, rows, columns) are so thick that they are matched in their plane alone."""
    return spacing[0] > 2 * max(spacing[1:])


def deformed(
    moving: torch.Tensor, fixed: torch.Tensor, spacing: Sequence[float], levels: Sequence[tuple[int, int]] = LEVELS
) -> Steps[torch.Tensor]:
    """Displacements ``u`` ``[3, Z, H, W]`` in voxels (z, y, x) such that :func:`warped` ``(moving, u)`` looks like
    ``fixed``.

    :param moving, fixed: ``[Z, H, W]`` on one grid, about 0 to 1.
    :param spacing: mm between slices, rows, columns. Slices much thicker than their pixels are matched in their plane.
    """
    flat = is_flat(spacing)
    images = torch.stack((_channels(moving, flat), _channels(fixed, flat)))  # [2, channels, Z, H, W]
    field = fixed.new_zeros(1, 3, 1, 1, 1)
    total, done = sum(n for _, n in levels), 0
    for shrink, iterations in levels:
        shape = [n if flat and d == 0 else max(min(n, _SMALLEST), n // shrink) for d, n in enumerate(fixed.shape)]
        small = F.interpolate(images, shape, mode="area") if shape != list(fixed.shape) else images
        field = _resized(field, shape)
        for _ in range(iterations):
            yield Step(done / total, MATCHING)
            field = _demons_step(small[:1], small[1:], field, flat)
            done += 1
    return _resized(field, list(fixed.shape))[0]


def _resized(field: torch.Tensor, shape: list[int]) -> torch.Tensor:
    """Displacements ``[1, 3, Z, H, W]`` on a grid of another ``shape``."""
    factor = field.new_tensor([a / b for a, b in zip(shape, field.shape[2:], strict=True)]).view(1, 3, 1, 1, 1)
    return F.interpolate(field, shape, mode="trilinear", align_corners=False) * factor


def warped(images: torch.Tensor, field: torch.Tensor) -> torch.Tensor:
    """``images`` ``[C, Z, H, W]`` moved by ``field`` ``[3, Z, H, W]``."""
    return _sample(images[None], field[None])[0]


def _channels(image: torch.Tensor, flat: bool) -> torch.Tensor:
    smooth = _blurred(image[None, None], _BLUR, flat)
    slopes = [_difference(smooth, axis) for axis in ((-1, -2) if flat else (-1, -2, -3))]
    return torch.cat((smooth, 2 * torch.stack(slopes).square().sum(0).sqrt()), 1)[0]


def _demons_step(moving: torch.Tensor, fixed: torch.Tensor, field: torch.Tensor, flat: bool) -> torch.Tensor:
    moved = _sample(moving, field)
    error = fixed - moved
    force, strength = [], 1e-4 + (error * error * 0.25).sum(1, keepdim=True)
    for axis in (-3, -2, -1):
        if flat and axis == -3:
            force.append(torch.zeros_like(strength))
            continue
        slope = (_difference(moved, axis) + _difference(fixed, axis)) / 2
        force.append((error * slope).sum(1, keepdim=True))
        strength = strength + (slope * slope).sum(1, keepdim=True)
    update = _blurred(torch.cat(force, 1) / strength, _UPDATE_BLUR, flat)
    return _blurred(field + update, _FIELD_BLUR, flat)


def _sample(images: torch.Tensor, field: torch.Tensor) -> torch.Tensor:
    shape = images.shape[2:]
    axes = [torch.arange(n, dtype=images.dtype) for n in shape]
    place = torch.stack(torch.meshgrid(*axes, indexing="ij"))[None] + field
    scale = images.new_tensor([2 / n for n in shape]).view(1, 3, 1, 1, 1)
    grid = ((place + 0.5) * scale - 1).flip(1).permute(0, 2, 3, 4, 1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _difference(images: torch.Tensor, axis: int) -> torch.Tensor:
    size = images.shape[axis]
    if size < 2:
        return torch.zeros_like(images)
    first, last = images.narrow(axis, 0, 1), images.narrow(axis, size - 1, 1)
    padded = torch.cat((first, images, last), axis)
    return (padded.narrow(axis, 2, size) - padded.narrow(axis, 0, size)) / 2


def _blurred(images: torch.Tensor, sigma: float, flat: bool) -> torch.Tensor:
    kernel = _kernel(sigma)
    radius = len(kernel) // 2
    for axis in (-2, -1) if flat else (-3, -2, -1):
        size = images.shape[axis]
        if size < 2:
            continue
        edges = [images.narrow(axis, 0, 1)] * radius, [images.narrow(axis, size - 1, 1)] * radius
        shifted = torch.cat((*edges[0], images, *edges[1]), axis).unfold(axis, len(kernel), 1).unbind(-1)
        images = shifted[radius] * kernel[radius]
        for n in range(radius):  # both of a pair at once: mirrored images have mirrored results
            images.add_(shifted[n] + shifted[-1 - n], alpha=kernel[n])
    return images


@cache
def _kernel(sigma: float) -> list[float]:
    """Shares of a pixel and its neighbours in a Gaussian blur."""
    radius = max(1, int(2.5 * sigma + 0.5))
    place = torch.arange(-radius, radius + 1, dtype=torch.float32)
    shares = torch.exp(-0.5 * (place / sigma) ** 2)
    return (shares / shares.sum()).tolist()
