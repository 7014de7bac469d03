"""k-means clustering of voxel features, seeded and in canonical order; and what becomes of clusters: labels of regions, joined ones."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ...common.progress import Step, Steps

BLUR = 0.01  # standard deviation of the smoothing before clustering, as a share of the longest side
_RESTARTS, _ITERATIONS = 2, 15


def kmeans(features: np.ndarray, count: int, rng: np.random.Generator, *, samples: int = 2500) -> np.ndarray:
    """Cluster centres ``[count, C]`` of ``features`` ``[N, C]`` (float32), ordered by their first channel.

    Lloyd's algorithm from k-means++ starts on a random sample, the best of :data:`_RESTARTS` runs. With fewer distinct
    values than ``count`` some centres coincide.
    """
    if len(features) > samples:
        features = features[np.sort(rng.choice(len(features), samples, replace=False))]
    features = np.asarray(features, dtype=np.float64)
    columns = np.ascontiguousarray(features.T)
    best, best_error = np.empty((0, features.shape[1])), np.inf
    for _ in range(_RESTARTS):
        centres = _plus_plus(features, count, rng)
        for _ in range(_ITERATIONS):
            nearest = _relative_distances(columns, centres).argmin(0)
            sizes = np.bincount(nearest, minlength=count)
            sums = np.stack([np.bincount(nearest, weights=c, minlength=count) for c in columns], 1)
            moved = np.where(sizes[:, None] > 0, sums / np.maximum(sizes, 1)[:, None], centres)
            done = np.abs(moved - centres).max() < 1e-4
            centres = moved
            if done:
                break
        error = _relative_distances(columns, centres).min(0).mean()
        if error < best_error:
            best, best_error = centres, error
    return best[np.lexsort(best.T[::-1])].astype(np.float32)


def nearest_centre(features: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Index of the nearest of ``centres`` ``[K, C]`` for each of ``features`` ``[..., C]``; uint8 ``[...]``."""
    if centres.shape[1] == 1:  # on a line, borders halfway between neighbours do it in one pass
        order = np.argsort(centres[:, 0], kind="stable")
        line = centres[order, 0]
        return order[np.searchsorted((line[1:] + line[:-1]) / 2, features[..., 0])].astype(np.uint8)
    # |x - c|^2 without |x|^2, which is the same for all centres
    scores = features.reshape(-1, features.shape[-1]) @ (2 * centres.T) - (centres**2).sum(1)
    return scores.argmax(1).astype(np.uint8).reshape(features.shape[:-1])


def _relative_distances(columns: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """|x - c|^2 - |x|^2 of samples ``[C, N]`` from ``centres`` ``[K, C]``, ``[K, N]``."""
    return (centres**2).sum(1)[:, None] - 2 * centres @ columns


def _plus_plus(features: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """k-means++ starts (Arthur and Vassilvitskii 2007): each next centre drawn by squared distance to the chosen ones."""
    centres = [features[rng.integers(len(features))]]
    distance = ((features - centres[0]) ** 2).sum(1)
    for _ in range(count - 1):
        total = distance.sum()
        pick = rng.choice(len(features), p=distance / total) if total > 0 else rng.integers(len(features))
        centres.append(features[pick])
        distance = np.minimum(distance, ((features - centres[-1]) ** 2).sum(1))
    return np.stack(centres)


def merge_clusters(means: np.ndarray, sizes: np.ndarray, counts: tuple[int, ...]) -> dict[int, np.ndarray]:
    """Joins clusters by Ward's criterion (the pair whose union adds least to the squared error) until few are left.

    :param means: ``[R, C]`` mean feature of each cluster. ``sizes``: ``[R]``, may be fractional; empty ones join first.
    :return: for each of ``counts`` the group (0 .. count-1) of each cluster, ``[R]``; with fewer clusters than groups
        the last groups stay empty.
    """
    means, sizes = means.astype(np.float64).copy(), np.maximum(sizes.astype(np.float64), 1e-9)
    owner = np.arange(len(means))
    alive = list(range(len(means)))
    groups = {}
    for count in sorted(counts, reverse=True):
        while len(alive) > count:
            m, s = means[alive], sizes[alive]
            cost = ((m[:, None] - m[None]) ** 2).sum(2) * (s[:, None] * s[None]) / (s[:, None] + s[None])
            np.fill_diagonal(cost, np.inf)
            a, b = (alive[i] for i in sorted(np.unravel_index(cost.argmin(), cost.shape)))
            means[a] = (means[a] * sizes[a] + means[b] * sizes[b]) / (sizes[a] + sizes[b])
            sizes[a] += sizes[b]
            owner[owner == b] = a
            alive.remove(b)
        groups[count] = np.searchsorted(alive, owner)
    return groups


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
        standard = (features - self._mean) / self._deviation
        self._smooth = ndimage.gaussian_filter(standard, (*self._sigma, 0)) if any(self._sigma) else standard
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


def _random_view(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """A rotation by any angle and a scaling of 0.85 to 1.15 about the centre of a slice: matrix and offset."""
    angle, scale = rng.uniform(0, 2 * np.pi), np.exp(rng.uniform(-0.16, 0.16))
    matrix = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = (np.array(shape) - 1) / 2
    return matrix, centre - matrix @ centre
