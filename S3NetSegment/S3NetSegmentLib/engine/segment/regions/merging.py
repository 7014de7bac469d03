"""Merging many clusters into few regions, nested: every coarser answer joins regions of the finer one."""

from __future__ import annotations

import numpy as np


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
