"""Appearance: what a pixel of each class looks like, learned in a second from the drawn pixels. Knows no position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from ...common.progress import Step, Steps
from ...common.randomness import torch_generator
from ...common.threads import one_threaded
from .one_cycle import OneCycleAdamW

_SCALES = (1.0, 2.0, 4.0, 8.0)  # pixels
_CONTEXT = (6, 14)  # pixels to the samples of context
_HIDDEN, _BATCH = 48, 2048
_STEPS_AT_ONCE = 20  # training steps between two steps of progress, about 0.05 s
_JITTER, _NOISE = 0.06, 0.1  # of the intensity, and of each standardised feature
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
        smooth[sigma] = _gauss(image, 0.0, sigma)
        yield features.add(smooth[sigma])
        deep = sigma * depth_ratio
        yield features.add(_gauss(smooth[sigma], deep, 0.0) if deep > 0.15 else smooth[sigma])
    for sigma in _SCALES[:3]:
        down, right = (_slope(smooth[sigma], axis) for axis in (1, 2))
        yield features.add(np.hypot(down, right) * (2 * sigma))
        yield features.add(ndimage.laplace(smooth[sigma], mode="nearest") * np.float32(sigma * sigma))
    for sigma in (2.0, 5.0):
        mean = smooth[sigma] if sigma in smooth else _gauss(image, 0.0, sigma)
        yield Step(features.done, _LOOKING)
        spread = _gauss(image * image, 0.0, sigma) - mean * mean
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


@dataclass(frozen=True, eq=False)
class PixelClassifier:
    """A small network from pixel features to classes; made by :func:`fit_pixels`.

    :param frequency: ``[C]``, share of each class among the drawn pixels.
    """

    frequency: torch.Tensor
    mean: torch.Tensor
    scale: torch.Tensor
    layers: tuple
    correction: torch.Tensor

    def log_probabilities(self, features: torch.Tensor) -> torch.Tensor:
        """``[..., C]`` for features ``[..., F]``."""
        with torch.no_grad():
            flat = ((features - self.mean) / self.scale).reshape(-1, features.shape[-1])
            out = F.log_softmax(_network(self.layers, flat) + self.correction, 1)
        return out.view(*features.shape[:-1], -1)


@one_threaded
def fit_pixels(features: torch.Tensor, targets: torch.Tensor, seed: int, steps: int) -> Steps[PixelClassifier]:
    """A classifier fitted to drawn pixels.

    :param features: ``[n, F]``.
    :param targets: ``[n, C]``, soft class memberships (rows sum to 1).
    :param steps: training steps.
    """
    generator = torch_generator(seed, 41)
    mean, scale = features.mean(0), features.std(0, correction=0) + 1e-3
    x = (features - mean) / scale
    sizes = (features.shape[1], _HIDDEN, _HIDDEN, targets.shape[1])
    layers = tuple(_linear(a, b, generator) for a, b in pairwise(sizes))
    count = targets.sum(0)
    share = count.sqrt() / count.sqrt().sum()
    weights = (targets * (share / count.clamp(min=1e-6))).sum(1)
    picked = _weighted_picks(weights, min(steps * _BATCH, 2**20), generator)
    parameters = [p.requires_grad_() for layer in layers for p in layer]
    optimizer = OneCycleAdamW(parameters, 6e-3, 1e-2, steps)
    for start in range(0, steps, _STEPS_AT_ONCE):
        yield Step(start / steps, "Learning what the segments look like")
        for step in range(start, min(start + _STEPS_AT_ONCE, steps)):
            place = (step * _BATCH) % max(1, len(picked) - _BATCH + 1)
            index = picked[place : place + _BATCH]
            batch = x[index] + torch.randn(len(index), 1, generator=generator) * _JITTER / scale
            batch = batch + torch.randn(batch.shape, generator=generator) * _NOISE
            loss = -(targets[index] * F.log_softmax(_network(layers, batch), 1)).sum(1).mean()
            loss.backward()
            optimizer.step()
    for parameter in parameters:
        parameter.requires_grad_(False)
    # Drawn with frequency^0.5, so half the correction of the prior is owed afterwards.
    correction = 0.5 * (torch.log((count / count.sum()).clamp(min=1e-6)) - torch.log(share.clamp(min=1e-6)))
    return PixelClassifier((count / count.sum()).clamp(min=1e-4), mean, scale, layers, correction)


def _network(layers, x: torch.Tensor) -> torch.Tensor:
    (w1, b1), (w2, b2), (w3, b3) = layers
    return F.linear(F.relu(F.linear(F.relu(F.linear(x, w1, b1)), w2, b2)), w3, b3)


def _weighted_picks(weights: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """``count`` indices drawn with ``weights``; by inversion, since torch.multinomial is limited to 2^24 entries."""
    edges = torch.cumsum(weights.double(), 0)
    draws = torch.rand(count, generator=generator, dtype=torch.float64) * edges[-1]
    return torch.searchsorted(edges, draws).clamp(max=len(weights) - 1)


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    limit = inputs**-0.5
    draw = lambda *shape: (torch.rand(*shape, generator=generator) * 2 - 1) * limit  # noqa: E731
    return draw(outputs, inputs), draw(outputs)


def _gauss(image: np.ndarray, across: float, within: float) -> np.ndarray:
    out = image
    for axis, sigma in enumerate((across, within, within)):
        if sigma > 0.05 and out.shape[axis] > 1:
            out = ndimage.gaussian_filter1d(out, sigma, axis, mode="nearest", truncate=_HALO)
    return out


def _slope(image: np.ndarray, axis: int) -> np.ndarray:
    return np.gradient(image, axis=axis).astype(np.float32) if image.shape[axis] > 1 else np.zeros_like(image)


def _shifted(image: np.ndarray, axis: int, by: int) -> np.ndarray:
    """``image`` moved ``by`` pixels along ``axis``; the edge is repeated."""
    index = np.clip(np.arange(image.shape[axis]) - by, 0, image.shape[axis] - 1)
    return np.take(image, index, axis)
