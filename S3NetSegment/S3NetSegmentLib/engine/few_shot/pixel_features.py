"""What a pixel and its surroundings look like: 25 numbers for each, that know no position."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage

from ..common.progress import Step, Steps

_SCALES = (1.0, 2.0, 4.0, 8.0)  # pixels
_CONTEXT = (6, 14)  # pixels to the samples of context
_FEATURES = 25
_LOOKING = "Looking at the image"
_HALO = 3.0  # standard deviations that a Gaussian reaches


def pixel_features(image: np.ndarray, spacing: Sequence[float]) -> Steps[torch.Tensor]:
    """Features ``[Z, h, w, 25]`` of ``image`` (float32 ``[Z, h, w]``, about 0 to 1).

    Gaussians in the slice and, equal in mm, in 3D; gradient, Laplacian, local deviation; samples of the surroundings.

    :param spacing: mm between slices, rows, columns.
    """
    depth_ratio = spacing[1] / spacing[0]
    features, smooth = _Features(image.shape), {}
    features.add(image)
    for sigma in _SCALES:
        smooth[sigma] = yield from _gauss(image, 0.0, sigma, features.done)
        yield features.add(smooth[sigma])
        deep = sigma * depth_ratio
        yield features.add(
            (yield from _gauss(smooth[sigma], deep, 0.0, features.done)) if deep > 0.15 else smooth[sigma]
        )
    for sigma in _SCALES[:3]:
        down, right = (_slope(smooth[sigma], axis) for axis in (1, 2))
        yield features.add(np.hypot(down, right) * (2 * sigma))
        yield features.add(ndimage.laplace(smooth[sigma], mode="nearest") * np.float32(sigma * sigma))
    for sigma in (2.0, 5.0):
        mean = smooth[sigma] if sigma in smooth else (yield from _gauss(image, 0.0, sigma, features.done))
        spread = (yield from _gauss(image * image, 0.0, sigma, features.done)) - mean * mean
        yield features.add(2 * np.sqrt(np.clip(spread, 0, None)))
    for reach in _CONTEXT:
        for axis in (1, 2):
            features.add(_shifted(smooth[2.0], axis, reach))
            yield features.add(_shifted(smooth[2.0], axis, -reach))
    return torch.from_numpy(features.values)


class _Features:
    """Features that are filled in one after the other; each gives a step of progress."""

    def __init__(self, shape: tuple[int, ...]):
        self.values, self._filled = np.empty((*shape, _FEATURES), np.float32), 0

    @property
    def done(self) -> float:
        return self._filled / _FEATURES

    def add(self, plane: np.ndarray) -> Step:
        self.values[..., self._filled] = plane
        self._filled += 1
        return Step(self.done, _LOOKING)


def _gauss(image: np.ndarray, across: float, within: float, done: float) -> Steps[np.ndarray]:
    """``image`` blurred across and within its slices; ``done`` is the share of the whole work at which it begins."""
    out = image
    for axis, sigma in enumerate((across, within, within)):
        if sigma > 0.05 and out.shape[axis] > 1:
            yield Step(done, _LOOKING)
            out = ndimage.gaussian_filter1d(out, sigma, axis, mode="nearest", truncate=_HALO)
    return out


def _slope(image: np.ndarray, axis: int) -> np.ndarray:
    return np.gradient(image, axis=axis).astype(np.float32) if image.shape[axis] > 1 else np.zeros_like(image)


def _shifted(image: np.ndarray, axis: int, by: int) -> np.ndarray:
    """``image`` moved ``by`` pixels along ``axis``; the edge is repeated."""
    index = np.clip(np.arange(image.shape[axis]) - by, 0, image.shape[axis] - 1)
    return np.take(image, index, axis)
