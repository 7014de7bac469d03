"""k-means clustering of voxel features, seeded and in canonical order."""

from __future__ import annotations

import numpy as np


def kmeans(
    features: np.ndarray,
    count: int,
    rng: np.random.Generator,
    *,
    samples: int = 2500,
    iterations: int = 15,
    restarts: int = 2,
) -> np.ndarray:
    """Cluster centres ``[count, C]`` of ``features`` ``[N, C]`` (float32), ordered by their first channel.

    Lloyd's algorithm from k-means++ starts on a random sample, the best of ``restarts`` runs. With fewer distinct
    values than ``count`` some centres coincide.
    """
    if len(features) > samples:
        features = features[np.sort(rng.choice(len(features), samples, replace=False))]
    features = np.asarray(features, dtype=np.float64)
    columns = np.ascontiguousarray(features.T)
    best, best_error = np.empty((0, features.shape[1])), np.inf
    for _ in range(restarts):
        centres = _plus_plus(features, count, rng)
        for _ in range(iterations):
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
