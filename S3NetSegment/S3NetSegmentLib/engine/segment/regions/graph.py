"""Graph-based regions of a slice: pixels joined while the step between two regions is small against the steps inside.

The criterion is that of P. F. Felzenszwalb and D. P. Huttenlocher, "Efficient graph-based image segmentation", IJCV
59(2), 2004: regions A and B joined by their smallest edge of weight w merge if w <= min(Int(A) + k/|A|, Int(B) + k/|B|),
where Int is the largest edge inside a region's minimum spanning tree. The paper walks through the edges one by one. Here
all pairs of regions that are each other's nearest neighbour merge at once, round by round. That gives the same
regions: neither of such a pair has a smaller edge left, so at the moment when the paper's loop reaches their common edge
both look exactly as they do here; and a pair that fails the test leaves one region that can never grow again.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ...common.progress import Step, Steps, as_part_of, run_to_end

_BATCH = 10_000  # edges
_ROUNDS = 4
_FEW = 200  # edges


def graph_regions(
    features: np.ndarray, scales: tuple[float, ...], smallest: tuple[int, ...], *, sigma: float = 0.8
) -> list[np.ndarray]:
    """What :func:`graph_region_steps` returns, in one go."""
    return run_to_end(graph_region_steps(features, scales, smallest, sigma=sigma))


def graph_region_steps(
    features: np.ndarray, scales: tuple[float, ...], smallest: tuple[int, ...], *, sigma: float = 0.8
) -> Steps[list[np.ndarray]]:
    """Label maps ``[h, w]`` (uint16, 0 to n - 1; 8-connected regions), one for each of ``scales``, fine to coarse.

    :param features: float32 ``[h, w, C]``; an edge weighs the Euclidean distance of two neighbours' features.
    :param scales: the k of the criterion, in units of the features times pixels; larger: larger regions.
    :param smallest: for each scale, regions below so many pixels are joined to their nearest neighbour.
    :param sigma: standard deviation of the Gaussian smoothing beforehand, pixels.
    """
    height, width = features.shape[:2]
    smooth = np.asarray(features, np.float32)
    if sigma > 0:
        smooth = ndimage.gaussian_filter(smooth, (sigma, sigma, 0))
    first, second, weight = _grid_edges(smooth)
    maps = []
    for number, (scale, size) in enumerate(zip(scales, smallest, strict=True)):
        merging = _merge_by_criterion(height * width, first, second, weight, float(scale))
        parent = yield from as_part_of(merging, number / len(scales), (number + 1) / len(scales))
        parent = _merge_small(parent, first, second, size)
        maps.append(_compact(parent).reshape(height, width))
    return maps


def _grid_edges(features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges between 8-neighbours as (first pixel, second pixel, weight), sorted by weight."""
    height, width = features.shape[:2]
    index = np.arange(height * width, dtype=np.int32).reshape(height, width)
    here = (np.s_[:, :-1], np.s_[:-1, :], np.s_[:-1, :-1], np.s_[:-1, 1:])
    there = (np.s_[:, 1:], np.s_[1:, :], np.s_[1:, 1:], np.s_[1:, :-1])
    first = np.concatenate([index[a].ravel() for a in here])
    second = np.concatenate([index[b].ravel() for b in there])
    weight = np.concatenate(
        [np.sqrt(((features[a] - features[b]) ** 2).sum(-1)).ravel() for a, b in zip(here, there, strict=True)]
    )
    # Non-negative floats sort like their bit patterns, and integers sort faster.
    order = np.argsort(weight.view(np.int32), kind="stable")
    return first[order], second[order], weight[order]


def _merge_by_criterion(
    count: int, first: np.ndarray, second: np.ndarray, weight: np.ndarray, scale: float
) -> Steps[np.ndarray]:
    """Region of each of ``count`` pixels after merging by the criterion; a region goes by one of its pixels."""
    forest = _Forest(count, scale)
    region = forest.region
    # Edges in batches by weight, so that many rounds look at few edges; what is left of a batch after a few rounds are
    # long chains around one region, which a plain loop finishes faster.
    for start in range(0, first.size, _BATCH):
        batch = slice(start, start + _BATCH)
        edges = forest.still_open(region[first[batch]], region[second[batch]], weight[batch])
        for _ in range(_ROUNDS):
            if edges[0].size <= _FEW:
                break
            edges = forest.still_open(*forest.merge_nearest(*edges))
        if edges[0].size:
            forest.merge_in_order(*edges)
        np.copyto(region, _roots(region))
        yield Step(min(1.0, (start + _BATCH) / first.size), "Searching regions: borders")
    return region


class _Forest:
    """Regions while they grow: each goes by its root pixel."""

    def __init__(self, count: int, scale: float):
        self.scale = np.float32(scale)
        self.least = np.float32(scale / count)  # k/|A| of the largest possible region
        self.region = np.arange(count, dtype=np.int32)  # link towards the root
        self.size = np.ones(count, np.int32)
        self.inner = np.zeros(count, np.float32)  # Int(A)
        self.limit = np.full(count, scale, np.float32)  # Int(A) + k/|A|; -1 once A can no longer grow
        self._nearest = np.empty(count, np.int32)

    def still_open(self, a: np.ndarray, b: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Those of the edges (a, b) of weights w that may still join two regions."""
        left = (a != b) & (self.limit[a] >= 0) & (self.limit[b] >= 0)
        return a[left], b[left], w[left]

    def merge_nearest(self, a: np.ndarray, b: np.ndarray, w: np.ndarray):
        """One round: settles every region's smallest edge as far as its outcome is certain; the edges with new ends."""
        number = mark_first(self._nearest, a, b)
        is_a, is_b = self._nearest[a] == number, self._nearest[b] == number
        # A region whose smallest edge is over its limit is refused there, and so at every later edge.
        refused_a, refused_b = w > self.limit[a], w > self.limit[b]
        self.limit[a[is_a & refused_a]] = -1
        self.limit[b[is_b & refused_b]] = -1
        # The region at the other end may grow before the turn of this edge comes, but its Int cannot shrink.
        sure_a, sure_b = w <= self.inner[a] + self.least, w <= self.inner[b] + self.least
        hook_a, hook_b = is_a & (is_b | sure_b), is_b & (is_a | sure_a)
        chosen = (hook_a | hook_b) & ~refused_a & ~refused_b
        # Each region hooks onto the other end of its smallest edge; of two that chose each other only one does.
        from_a, a_chosen, b_chosen = hook_a[chosen], a[chosen], b[chosen]
        child, target = np.where(from_a, a_chosen, b_chosen), np.where(from_a, b_chosen, a_chosen)
        self.region[child] = target
        root = _follow(self.region, child)
        np.add.at(self.size, root, self.size[child])
        np.maximum.at(self.inner, root, np.maximum(w[chosen], self.inner[child]))
        self.limit[root] = self.inner[root] + self.scale / self.size[root]
        return self.region[a], self.region[b], w

    def merge_in_order(self, a: np.ndarray, b: np.ndarray, w: np.ndarray) -> None:
        """The paper's loop over edges in the order of weight."""
        names, ends = np.unique(np.concatenate((a, b)), return_inverse=True)
        link = list(range(names.size))
        size, inner = self.size[names].tolist(), self.inner[names].tolist()
        limit, scale = self.limit[names].tolist(), float(self.scale)
        ends = ends.tolist()
        for x, y, step in zip(ends[: a.size], ends[a.size :], w.tolist(), strict=True):
            while link[x] != x:
                link[x] = x = link[link[x]]
            while link[y] != y:
                link[y] = y = link[link[y]]
            if x != y:
                if step > limit[x]:
                    limit[x] = -1.0
                if step > limit[y]:
                    limit[y] = -1.0
                if limit[x] >= 0 and limit[y] >= 0:
                    link[y] = x
                    size[x] += size[y]
                    inner[x] = step
                    limit[x] = step + scale / size[x]
        self.region[names] = names[link]
        self.size[names], self.inner[names], self.limit[names] = size, inner, limit


def _follow(link: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """Links ``nodes`` directly to their roots and returns these."""
    roots = link[nodes]
    while True:
        further = link[roots]
        if np.array_equal(further, roots):
            break
        roots = further
    link[nodes] = roots
    return roots


def _merge_small(region: np.ndarray, first: np.ndarray, second: np.ndarray, smallest: int) -> np.ndarray:
    """``region`` with every region below ``smallest`` pixels joined along its smallest edge, again and again."""
    count = region.size
    a, b = region[first], region[second]
    nearest = np.empty(count, np.int32)
    while True:
        size = np.bincount(region, minlength=count)
        left = (a != b) & ((size[a] < smallest) | (size[b] < smallest))
        a, b = a[left], b[left]
        if not a.size:
            return region
        mark_first(nearest, a, b)
        small = np.flatnonzero((size > 0) & (size < smallest))
        edge = nearest[small]
        target = a[edge] + b[edge] - small  # the other end
        parent = np.arange(count, dtype=np.int32)
        parent[small] = target
        # Two small regions that chose each other would point in a circle: the lower one stays.
        stays = small[(parent[target] == small) & (small < target)]
        parent[stays] = stays
        parent = _roots(parent)
        region, a, b = parent[region], parent[a], parent[b]


def mark_first(nearest: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Writes into ``nearest`` the number of the first of the edges (a, b), which are sorted, at each of their ends; returns the
    numbers of the edges."""
    number = np.arange(a.size, dtype=np.int32)
    # With repeated indices the last assignment counts, so assigning backwards leaves the first edge.
    ends = np.empty(2 * a.size, a.dtype)
    ends[0::2], ends[1::2] = a[::-1], b[::-1]
    nearest[ends] = np.repeat(number[::-1], 2)
    return number


def _roots(parent: np.ndarray) -> np.ndarray:
    """Follows ``parent`` links to their ends."""
    while True:
        further = parent[parent]
        if np.array_equal(further, parent):
            return parent
        parent = further


def _compact(region: np.ndarray) -> np.ndarray:
    """Region names as 0 to n - 1 in the order of their names."""
    used = np.zeros(region.size, bool)
    used[region] = True
    return (np.cumsum(used) - 1)[region].astype(np.uint16)
