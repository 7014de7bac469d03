"""Merging the regions of a volume pair by pair into a tree, under several ideas of which border is the least.

In each round all pairs that are each other's best partner merge at once. For costs that a merge cannot lower this gives
the tree of merging one by one (mutual nearest neighbours, F. Murtagh, Computer Journal 26(4), 1983), in far fewer steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...common.progress import Step, Steps
from .graph import mark_first

# border, edge: strength of the border (edge: squared) and difference of the means, weighted by the size of the smaller
#   region and by how little of its surface is shared. gradient: strength of the border alone, weakly weighted by size. piecewise: what a
#   piecewise constant image loses by the merge per border area removed (Mumford and Shah 1989; Koepfler et al. 1994).
KINDS = ("border", "edge", "gradient", "piecewise")


@dataclass(frozen=True, eq=False)
class MergeTree:
    """Nodes 0 to n - 1 are the regions, node n + m is the m-th merge.

    :param parent: ``[nodes]``, -1 at a root.
    :param inside, inner: ``[nodes, A]``, ``[nodes, B]``: sums of ``RegionGraph.inside`` over the regions of a node, and of
        ``RegionGraph.borders`` over the borders between them.
    :param low, high: ``[nodes, 3]`` first and last index along each axis.
    :param order: the regions in an order in which those under any node stand together, at ``start`` to ``stop``.
    """

    count: int
    parent: np.ndarray
    inside: np.ndarray
    inner: np.ndarray
    low: np.ndarray
    high: np.ndarray
    order: np.ndarray
    start: np.ndarray
    stop: np.ndarray

    def path(self, region: int) -> list[int]:
        """The nodes that hold ``region``, from itself to the root."""
        nodes = [int(region)]
        while self.parent[nodes[-1]] >= 0:
            nodes.append(int(self.parent[nodes[-1]]))
        return nodes

    def members(self, node: int) -> np.ndarray:
        """The regions under ``node``."""
        return self.order[self.start[node] : self.stop[node]]

    def cut(self, most: int) -> np.ndarray:
        """Group 0 to g - 1 of each region after so many merges that at most ``most`` groups are left (if possible)."""
        nodes = len(self.parent)
        merges = min(max(0, self.count - most), nodes - self.count)
        last = self.count + merges
        root = np.arange(nodes)
        for node in range(last - 1, -1, -1):
            up = self.parent[node]
            if 0 <= up < last:
                root[node] = root[up]
        return np.unique(root[: self.count], return_inverse=True)[1].astype(np.int32)


def merge_tree(graph, kind: str) -> Steps[MergeTree]:
    """The tree of ``graph`` (:class:`RegionGraph`) under one of :data:`KINDS`, as a generator of progress steps."""
    count = graph.count
    node = np.arange(count)
    parent = np.full(2 * count - 1, -1)
    made = left = count
    a, b, border = graph.first.astype(np.int64), graph.second.astype(np.int64), graph.borders
    inside, inner = graph.inside.copy(), np.zeros((count, border.shape[1]))
    low, high = graph.low.copy(), graph.high.copy()
    kept = [[inside.copy()], [inner.copy()], [low.copy()], [high.copy()]]
    while a.size:
        yield Step(0.98 * (1 - left / count), "Merging regions")
        chosen = _mutual_best(_costs(kind, graph.columns, a, b, border, inside, inner), a, b, count)
        one, other = a[chosen], b[chosen]
        parent[node[one]] = parent[node[other]] = node[one] = made + np.arange(chosen.size)
        made += chosen.size
        left -= chosen.size
        inside[one] += inside[other]
        inner[one] += inner[other] + border[chosen]
        low[one] = np.minimum(low[one], low[other])
        high[one] = np.maximum(high[one], high[other])
        for rows, array in zip(kept, (inside, inner, low, high), strict=True):
            rows.append(array[one])
        yield Step(0.98 * (1 - left / count), "Merging regions")
        renamed = np.arange(count)
        renamed[other] = one
        a, b, border = _joined(renamed[a], renamed[b], border, count)
    yield Step(0.98, "Merging regions")
    parent = parent[:made]
    inside, inner, low, high = (np.concatenate(rows) for rows in kept)
    yield Step(0.99, "Merging regions")
    order, start, stop = _ranges(parent, count)
    return MergeTree(count, parent, inside, inner, low, high, order, start, stop)


def _costs(kind: str, columns, a, b, border, inside, inner) -> np.ndarray:
    volume = inside[:, columns.VOLUME]
    surface = inside[:, columns.SURFACE] - 2 * inner[:, 0]
    mean = inside[:, columns.sums] / volume[:, None]
    squared = np.square(mean[a] - mean[b]).sum(1)
    smaller = np.minimum(volume[a], volume[b])
    area = border[:, 0]
    strength = border[:, 1] / area
    exposed = np.minimum(surface[a], surface[b]) / area  # 1: the smaller one is enclosed
    if kind in ("border", "edge"):
        return strength ** (1 if kind == "border" else 2) * np.sqrt(squared * smaller) * exposed
    if kind == "gradient":
        return strength * smaller**0.15
    if kind == "piecewise":
        return volume[a] * volume[b] / (volume[a] + volume[b]) * squared / area * np.sqrt(exposed)
    raise ValueError(f"merging kind is {kind!r}; it must be one of {', '.join(KINDS)}")


def _mutual_best(costs: np.ndarray, a: np.ndarray, b: np.ndarray, count: int) -> np.ndarray:
    """Edges that are the cheapest at both ends, at most one for each region; never none."""
    order = np.argsort(costs, kind="stable")
    best = np.empty(count, np.int32)
    rank = mark_first(best, a[order], b[order])
    return order[(best[a[order]] == rank) & (best[b[order]] == rank)]


def _joined(a: np.ndarray, b: np.ndarray, border: np.ndarray, count: int):
    """Edges with inner ones dropped and parallel ones summed."""
    kept = a != b
    low, high = np.minimum(a, b)[kept], np.maximum(a, b)[kept]
    keys, border = summed_by_key(low * count + high, border[kept])
    return keys // count, keys % count, border


def summed_by_key(keys: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct ``keys``, ascending, and the sums of the rows of ``columns`` with each."""
    keys, number = np.unique(keys, return_inverse=True)
    return keys, np.stack([np.bincount(number, c, minlength=len(keys)) for c in columns.T], 1)


def _ranges(parent: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Regions in an order in which those under any node stand together, and each node's range in it."""
    size = np.zeros(parent.size, np.int64)
    size[:count] = 1
    for node, up in enumerate(parent.tolist()):
        if up >= 0:
            size[up] += size[node]
    start, used = np.zeros(parent.size, np.int64), np.zeros(parent.size, np.int64)
    roots = np.flatnonzero(parent < 0)
    start[roots] = np.concatenate(([0], np.cumsum(size[roots])[:-1]))
    for node in range(parent.size - 1, -1, -1):
        up = parent[node]
        if up >= 0:
            start[node] = start[up] + used[up]
            used[up] += size[node]
    order = np.empty(count, np.int64)
    order[start[:count]] = np.arange(count)
    return order, start, start + size
