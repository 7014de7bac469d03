"""Regions of a picture or volume by k-means, with the margin and the stability of each voxel's assignment."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ...common.progress import Step, Steps
from .clustering import kmeans, nearest_centre

BLUR = 0.01  # standard deviation of the smoothing before clustering, as a share of the longest side


class ClusterLabels:
    """k-means regions for several region counts on a working grid.

    :param features: float32 ``[h, w, C]`` or ``[k, j, i, C]``, see ``IntensityScale.apply``.
    :param spacing: sample distance along each axis of the grid, mm.
    :param counts: numbers of regions.
    """

    def __init__(self, features: np.ndarray, spacing: tuple[float, ...], counts: tuple[int, ...], rng):
        self.counts = counts
        self._features = features
        length = max(n * s for n, s in zip(features.shape[:-1], spacing, strict=True))
        self._sigma = [
            min(BLUR * length / s, 4.0) if n > 1 else 0.0 for n, s in zip(features.shape, spacing, strict=False)
        ]
        mean = features.reshape(-1, features.shape[-1]).mean(0, dtype=np.float64).astype(np.float32)
        deviation = features.reshape(-1, features.shape[-1]).std(0, dtype=np.float64).astype(np.float32)
        self._mean, self._deviation = mean, deviation + 0.04
        self._smooth = self._standardised(features)
        flat = self._smooth.reshape(-1, self._smooth.shape[-1])
        self._centres = {count: kmeans(flat, count, rng) for count in counts}
        self._ordered: set[int] = set()

    def labels(self, count: int) -> np.ndarray:
        """Region of each voxel, uint8 0 to ``count`` - 1, by the mean of their first channel (darkest first)."""
        labels = nearest_centre(self._smooth, self._centres[count])
        if count not in self._ordered:
            # The centres are in the order of smoothed intensities; a thin region between two others can differ.
            sizes = np.bincount(labels.ravel(), minlength=count)
            sums = np.bincount(labels.ravel(), weights=self._features[..., 0].ravel(), minlength=count)
            means = np.where(sizes > 0, sums / np.maximum(sizes, 1), np.inf)
            order = np.argsort(means, kind="stable")
            self._centres[count] = self._centres[count][order]
            self._ordered.add(count)
            labels = np.argsort(order).astype(np.uint8)[labels]
        return labels

    def margin(self, count: int) -> np.ndarray:
        """How clearly each voxel belongs to its region, float32 0 to 1: (d2 - d1) / (d2 + d1) of the distances to the
        nearest and the second nearest cluster centre."""
        nearest = np.full(self._smooth.shape[:-1], np.inf, np.float32)
        second = nearest.copy()
        for centre in self._centres[count]:
            distance = np.sqrt(((self._smooth - centre) ** 2).sum(-1))
            closer = distance < nearest
            second = np.where(closer, nearest, np.minimum(second, distance))
            nearest = np.where(closer, distance, nearest)
        return ((second - nearest) / np.maximum(second + nearest, 1e-6)).astype(np.float32)

    def stability(self, count: int, rng: np.random.Generator, views: int = 4) -> Steps[np.ndarray]:
        """Share of ``views`` random affine views (in the last two axes) in which a voxel keeps its region, 0 to 1."""
        labels = self.labels(count)  # first, since it may put the centres in order
        kept = np.ones(labels.shape, np.float32)
        # Views are smoothed anew, within the slice; what the smoothing took from other slices stays as it is.
        features = (self._features - self._mean) / self._deviation
        across, within = (*self._sigma[:-2], 0, 0, 0), (*self._sigma[-2:], 0)
        if any(across):
            features = ndimage.gaussian_filter(features, across)
        slices = [()] if labels.ndim == 2 else [(k,) for k in range(len(labels))]
        for view in range(views):
            matrix, offset = _random_view(rng, labels.shape[-2:])
            back = np.linalg.inv(matrix)
            for number, k in enumerate(slices):
                yield Step((view + number / len(slices)) / views, "Weighing the confidence")
                channels = np.moveaxis(features[k], -1, 0)
                seen = [ndimage.affine_transform(c, matrix, offset, order=1, mode="mirror") for c in channels]
                seen = ndimage.gaussian_filter(np.stack(seen, -1), within)
                there = nearest_centre(seen, self._centres[count])
                there = ndimage.affine_transform(there, back, -back @ offset, order=0, mode="constant", cval=255)
                # Voxels that the view did not show (255) cannot disagree.
                kept[k] += (there == labels[k]) | (there == 255)
        return kept / (views + 1)

    def _standardised(self, features: np.ndarray) -> np.ndarray:
        standard = (features - self._mean) / self._deviation
        return ndimage.gaussian_filter(standard, (*self._sigma, 0)) if any(self._sigma) else standard


def _random_view(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """A rotation by any angle and a scaling of 0.85 to 1.15 about the centre of a slice: matrix and offset."""
    angle, scale = rng.uniform(0, 2 * np.pi), np.exp(rng.uniform(-0.16, 0.16))
    matrix = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = (np.array(shape) - 1) / 2
    return matrix, centre - matrix @ centre
