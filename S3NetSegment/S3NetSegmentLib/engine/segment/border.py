"""The border of an object found on a coarser working grid, decided anew at the image's own resolution."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from ..common.tuples import two
from ..images.resample import axis_weights

_BAND = 1.5  # samples of the working grid on each side of the border that are decided anew
_REACH = 2.5  # standard deviation of the neighbourhood that says what is inside and what outside, in the same samples
_SOFTNESS = 0.7
_TRUST = 0.8  # how much the image counts beside the smooth outline


def refined(
    mask: np.ndarray,
    features: np.ndarray,
    native: tuple[int, ...],
    native_features: Callable[[tuple[slice, slice]], np.ndarray],
) -> np.ndarray:
    """``mask`` (bool ``[h, w]``) on the image's own samples, bool ``[H, W]``: a smooth outline, moved to where the image
    changes from what is inside nearby to what is outside nearby.

    :param features: float ``[h, w, C]`` on the working grid. ``native_features``: rows and columns of the image -> the same
        of these samples.
    """
    out = np.zeros(native, bool)
    if not mask.any():
        return out
    rows, columns = (_range(np.any(mask, 1 - axis), mask.shape[axis]) for axis in (0, 1))
    own = mask[rows, columns]
    maps = _soft_maps(own, features[rows, columns])
    part, weights = [], []
    for axis, place in enumerate((rows, columns)):
        ratio = native[axis] / mask.shape[axis]
        first, last = int(np.floor(place.start * ratio)), min(native[axis], int(np.ceil(place.stop * ratio)))
        whole = axis_weights(mask.shape[axis], native[axis], first, last)[:, place]
        weights.append(whole / np.maximum(whole.sum(1, keepdims=True), 1e-6))
        part.append(slice(first, last))
    maps = np.einsum("ab,bcm->acm", weights[0], maps, optimize=True)
    maps = np.einsum("dc,acm->adm", weights[1], maps, optimize=True)
    channels = features.shape[2]
    soft, trust, threshold, direction = maps[..., 0], maps[..., 1], maps[..., 2], maps[..., 3 : 3 + channels]
    found = soft > 0.5
    band = (soft > 0.02) & (soft < 0.98)
    values = native_features(two(part))
    likeness = (values[band] * direction[band]).sum(1) - threshold[band]
    found[band] = soft[band] - 0.5 + _TRUST * trust[band] * np.clip(likeness, -0.5, 0.5) > 0
    out[tuple(part)] = found
    return out


def _range(there: np.ndarray, size: int) -> slice:
    filled = np.flatnonzero(there)
    return slice(max(0, int(filled[0]) - 6), min(size, int(filled[-1]) + 7))


def _soft_maps(mask: np.ndarray, features: np.ndarray) -> np.ndarray:
    """For each sample, float32 ``[h, w, 3 + C]``: how far inside (0 to 1), how far inside and outside differ nearby (0 to
    1), and the plane between both in the space of the features, so that ``f . direction - threshold`` is 0.5 where f is as
    inside and -0.5 where it is as outside."""
    inside = mask.astype(np.float32)
    means = []
    for side in (inside, 1 - inside):
        core = ndimage.binary_erosion(side > 0.5, border_value=1)
        weight = (core if core.any() else side > 0.5).astype(np.float32)
        total = ndimage.gaussian_filter(weight, _REACH) + 1e-4
        means.append([ndimage.gaussian_filter(c * weight, _REACH) / total for c in np.moveaxis(features, 2, 0)])
        if side is inside:
            spread = ndimage.gaussian_filter(((features - np.stack(means[0], -1)) ** 2).sum(2) * weight, _REACH) / total
    within, without = (np.stack(m, -1) for m in means)
    difference = within - without
    squared = (difference**2).sum(2)
    direction = difference / (squared + 1e-6)[..., None]
    threshold = (direction * (within + without) / 2).sum(2)
    soft = ndimage.gaussian_filter(inside, _SOFTNESS)
    trust = squared / (squared + 2 * spread + 1e-5)
    return np.concatenate((np.stack((soft, trust, threshold), -1), direction), 2).astype(np.float32)
