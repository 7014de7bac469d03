"""What an affine map leaves over between two volumes: small displacements in 3D (demons), kept only if they help.

Thirion, "Image matching as a diffusion process", 1998; symmetric forces: Vercauteren et al., "Diffeomorphic demons", 2009.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ...common.progress import Step, Steps

_LEVELS = ((4, 40), (2, 30), (1, 15))  # (shrink factor, iterations), coarse to fine
_BLUR = 0.7  # voxels, of the images before they are compared
_UPDATE_BLUR, _FIELD_BLUR = 1.0, 1.0  # voxels: fluid and elastic smoothness
_SMALLEST = 6  # voxels that a side keeps when it is shrunk
_AT_ONCE = 2  # iterations between two steps of progress


def deformed(moving: torch.Tensor, fixed: torch.Tensor, spacing: Sequence[float]) -> Steps[torch.Tensor]:
    """Displacements ``u`` ``[3, Z, H, W]`` in voxels (z, y, x) such that :func:`warped` ``(moving, u)`` looks like
    ``fixed``.

    :param moving, fixed: ``[Z, H, W]`` on one grid, about 0 to 1.
    :param spacing: mm between slices, rows, columns. Slices much thicker than their pixels are matched in their plane.
    """
    flat = spacing[0] > 2 * max(spacing[1:])
    images = torch.stack((_channels(moving, flat), _channels(fixed, flat)))  # [2, channels, Z, H, W]
    field = fixed.new_zeros(1, 3, 1, 1, 1)
    total, done = sum(n for _, n in _LEVELS), 0
    for shrink, iterations in _LEVELS:
        shape = [n if flat and d == 0 else max(min(n, _SMALLEST), n // shrink) for d, n in enumerate(fixed.shape)]
        small = F.interpolate(images, shape, mode="area") if shape != list(fixed.shape) else images
        factor = [a / b for a, b in zip(shape, field.shape[2:], strict=True)] if done else [1, 1, 1]
        field = F.interpolate(field, shape, mode="trilinear", align_corners=False)
        field = field * field.new_tensor(factor).view(1, 3, 1, 1, 1)
        for iteration in range(iterations):
            if iteration % _AT_ONCE == 0:
                yield Step(done / total, "Matching the volumes")
            field = _demons_step(small[:1], small[1:], field, flat)
            done += 1
    return field[0]


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
    radius = max(1, int(2.5 * sigma + 0.5))
    place = torch.arange(-radius, radius + 1, dtype=images.dtype)
    shares = torch.exp(-0.5 * (place / sigma) ** 2)
    kernel = (shares / shares.sum()).tolist()
    for axis in (-2, -1) if flat else (-3, -2, -1):
        size = images.shape[axis]
        if size < 2:
            continue
        edges = [images.narrow(axis, 0, 1)] * radius, [images.narrow(axis, size - 1, 1)] * radius
        padded = torch.cat((*edges[0], images, *edges[1]), axis)
        total = padded.narrow(axis, radius, size) * kernel[radius]
        for n in range(radius):
            pair = padded.narrow(axis, n, size) + padded.narrow(axis, 2 * radius - n, size)
            total.add_(pair, alpha=kernel[n])
        images = total
    return images
