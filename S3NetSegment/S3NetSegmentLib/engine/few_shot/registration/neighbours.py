"""Registration of neighbouring slices: where each pixel of one slice lies in the next (demons, in 2D, many at once).

Thirion, "Image matching as a diffusion process", 1998, with the symmetric gradient of Vercauteren et al.,
"Diffeomorphic demons", 2009; channels are the intensity and its gradient magnitude.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ...common.progress import Step, Steps

LEVELS = ((4, 25), (2, 15), (1, 8))  # (shrink factor, iterations), coarse to fine
_BLUR = 0.7  # pixels, of the image before it is registered
_UPDATE_BLUR, _FIELD_BLUR = 1.0, 1.3  # pixels: fluid and elastic smoothness
PIXELS_AT_ONCE = 40_000  # of all slices of a batch: fits the cache of a processor
_ITERATIONS_AT_ONCE = 8  # between two steps of progress, about 0.03 s
_REGISTERING = "Registering slices"


def registration_channels(image: torch.Tensor) -> torch.Tensor:
    """``[Z, 2, h, w]``: blurred intensity and twice its gradient magnitude, of ``image`` ``[Z, h, w]``."""
    smooth = blurred(image[:, None], _BLUR)
    gradient = torch.hypot(_difference(smooth, -1), _difference(smooth, -2))
    return torch.cat((smooth, 2 * gradient), 1)


def registering(moving: torch.Tensor, fixed: torch.Tensor) -> Steps[torch.Tensor]:
    """Displacements ``u`` ``[N, h, w, 2]`` such that :func:`carried` ``(moving, u)`` looks like ``fixed``.

    :param moving, fixed: ``[N, C, h, w]``, channels of comparable scale, about 0 to 1.
    """
    count, _, height, width = fixed.shape
    field = fixed.new_zeros(count, 2, 1, 1)
    for shrink, iterations in LEVELS:
        shape = tuple(max(min(4, n), n // shrink) for n in (height, width))
        smaller = [F.interpolate(x, shape, mode="area") if shrink > 1 else x for x in (moving, fixed)]
        field = F.interpolate(field, shape, mode="bilinear", align_corners=False)
        field = yield from _demons(smaller[0], smaller[1], field, iterations)
    return field.permute(0, 2, 3, 1)


def carried(masks: torch.Tensor, field: torch.Tensor) -> torch.Tensor:
    """``masks`` ``[N, C, h, w]`` moved by ``field`` ``[N, h, w, 2]``."""
    grid = _base_grid(masks.shape[-2], masks.shape[-1], masks) + field
    return F.grid_sample(masks, grid, mode="bilinear", padding_mode="border", align_corners=False)


def blurred(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """``[N, C, h, w]`` after an in-plane Gaussian of ``sigma`` pixels; edges are repeated."""
    if sigma < 0.05:
        return images
    radius = max(1, int(2.5 * sigma + 0.5))
    place = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-0.5 * (place / sigma) ** 2)
    kernel = kernel / kernel.sum()
    channels = images.shape[1]
    rows, columns = kernel.view(1, 1, -1, 1), kernel.view(1, 1, 1, -1)
    out = F.pad(images, (radius, radius, 0, 0), mode="replicate")
    out = F.conv2d(out, columns.expand(channels, 1, 1, -1), groups=channels)
    out = F.pad(out, (0, 0, radius, radius), mode="replicate")
    return F.conv2d(out, rows.expand(channels, 1, -1, 1), groups=channels)


def _demons(moving, fixed, field, iterations: int) -> Steps[torch.Tensor]:
    height, width = fixed.shape[-2:]
    base = _base_grid(height, width, fixed)
    scale = fixed.new_tensor((2.0 / width, 2.0 / height)).view(1, 2, 1, 1)  # pixels to normalised coordinates
    fixed_x, fixed_y = _difference(fixed, -1), _difference(fixed, -2)
    for iteration in range(iterations):
        if iteration % _ITERATIONS_AT_ONCE == 0:
            yield Step(0.0, _REGISTERING)  # how far it is, the caller knows
        warped = F.grid_sample(
            moving, base + field.permute(0, 2, 3, 1), mode="bilinear", padding_mode="border", align_corners=False
        )
        error = fixed - warped
        x = (_difference(warped, -1) + fixed_x) / 2
        y = (_difference(warped, -2) + fixed_y) / 2
        strength = (x * x + y * y + error * error * 0.25).sum(1, keepdim=True) + 1e-4
        force = torch.cat(((error * x).sum(1, keepdim=True), (error * y).sum(1, keepdim=True)), 1) / strength
        field = blurred(field + blurred(force * scale, _UPDATE_BLUR), _FIELD_BLUR)
    return field


def _difference(images: torch.Tensor, axis: int) -> torch.Tensor:
    """Central differences along an image axis; edges are repeated."""
    pad = (1, 1, 0, 0) if axis == -1 else (0, 0, 1, 1)
    padded = F.pad(images, pad, mode="replicate")
    size = images.shape[axis]
    return (padded.narrow(axis, 2, size) - padded.narrow(axis, 0, size)) / 2


def _base_grid(height: int, width: int, like: torch.Tensor) -> torch.Tensor:
    x = (torch.arange(width, dtype=like.dtype, device=like.device) * 2 + 1) / width - 1
    y = (torch.arange(height, dtype=like.dtype, device=like.device) * 2 + 1) / height - 1
    return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1)[None]
