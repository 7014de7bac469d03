"""Candidate objects at one point of a volume, as sets of supervoxels.

Three families: ancestors of the point's supervoxel in the merge trees; growth from the point along cheapest paths, halted
where its border is strongest; connected parts of label maps (k-means and others).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse  # its csgraph brings linear algebra along: it loads when a volume needs it, not for slices

from ...common.progress import Step, Steps
from ..regions.volume_graph import Columns, RegionGraph, union_sums
from ..regions.volume_merging import MergeTree
from .candidates import Distinct

LARGEST = 0.6  # share of the volume that an object may fill
SMALLEST_VOXELS = 8
_BAND = 1.12  # of each nested family one candidate is kept in each band of sizes, this factor wide
GROWTH = ("contrast", "border")


@dataclass(frozen=True)
class VolumeCandidates:
    """Distinct candidates.

    :param sets: bool ``[n, regions]``.
    :param sums: ``[n, A]`` as in ``RegionGraph.inside``. ``inner``: ``[n, B]``, sums of ``RegionGraph.borders`` inside.
    :param low, high: ``[n, 3]`` first and last index along each axis.
    :param votes: ``[n, sources]``, how many maps or steps of each source gave exactly this candidate.
    """

    sets: np.ndarray
    sums: np.ndarray
    inner: np.ndarray
    low: np.ndarray
    high: np.ndarray
    votes: np.ndarray

    @property
    def volume(self) -> np.ndarray:
        """mm3, ``[n]``."""
        return self.sums[:, Columns.VOLUME]


def candidate_finder(
    graph: RegionGraph, trees: dict[str, MergeTree], maps: dict[str, list[np.ndarray]]
) -> Steps[CandidateFinder]:
    """A :class:`CandidateFinder`, made in progress steps.

    :param maps: label maps ``[k, j, i]`` by source; the map of the supervoxels themselves is left out.
    """
    parts: dict[str, list[np.ndarray]] = {s: [] for s in maps if s != "supervoxels"}
    todo = [(source, labels) for source in parts for labels in maps[source]]
    for number, (source, labels) in enumerate(todo):
        yield Step(number / len(todo), "Weighing regions")
        parts[source].append(_parts(graph, labels))
    return CandidateFinder(graph, trees, parts)


class CandidateFinder:
    """Finds the candidates of any point of a volume.

    :param trees: merge trees by kind; without any, growth is not offered either.
    :param parts: by source, for each of its label maps the number of the connected part of each supervoxel, ``[n]``.
    """

    def __init__(self, graph: RegionGraph, trees: dict[str, MergeTree], parts: dict[str, list[np.ndarray]]):
        self.graph, self.trees, self.parts = graph, trees, parts
        self.growth = GROWTH if trees else ()
        self.sources = (*trees, *(f"growth_{g}" for g in self.growth), *self.parts)

    def at(self, point: tuple[int, int, int]) -> Steps[VolumeCandidates]:
        """The candidates that hold ``point`` (k, j, i), as a generator of progress steps."""
        region = int(self.graph.labels[point])
        found = _Collected(self.graph, len(self.sources))
        source = 0

        def step() -> Step:
            return Step(source / len(self.sources), "Searching objects")

        for tree in self.trees.values():
            yield step()
            self._add_ancestors(found, source, tree, region)
            source += 1
        for kind in self.growth:
            yield step()
            self._add_growth(found, source, kind, region)
            source += 1
        for maps in self.parts.values():
            yield step()
            for parts in maps:
                found.add_set(parts == parts[region], source)
            source += 1
        if not found.masks:  # a point in a speck, or in a background that fills nearly all
            found.add_set(np.arange(self.graph.count) == region, 0, always=True)
        return found.candidates()

    def _add_ancestors(self, found: _Collected, source: int, tree: MergeTree, region: int) -> None:
        path = np.array(tree.path(region))
        sums = union_sums(tree.inside[path], tree.inner[path])
        for at in self._thinned(sums):
            node = path[at]
            members = np.zeros(self.graph.count, bool)
            members[tree.members(node)] = True
            found.add_measured(members, source, sums[at], tree.inner[node], tree.low[node], tree.high[node])

    def _add_growth(self, found: _Collected, source: int, kind: str, region: int) -> None:
        """Parts reached from ``region`` by paths up to some length."""
        graph = self.graph
        a, b, area = graph.first, graph.second, graph.borders[:, 0]
        strength = graph.borders[:, 1] / area
        width = (np.cbrt(graph.volume[a]) + np.cbrt(graph.volume[b])) / 2
        if kind == "contrast":
            away = np.sqrt(np.square(graph.mean - graph.mean[region]).sum(1))
            length = (np.maximum(away[a], away[b]) + 0.05) * (strength + 0.1 * graph.mean_gradient) * width**2 / area
        else:
            length = strength * width
        matrix = sparse.csr_matrix((np.tile(length + 1e-9, 2), (np.r_[a, b], np.r_[b, a])), (graph.count, graph.count))
        order = np.argsort(sparse.csgraph.dijkstra(matrix, indices=region), kind="stable")
        rank = np.empty(graph.count, np.int64)
        rank[order] = np.arange(graph.count)
        inside = np.cumsum(graph.inside[order], 0)
        later = np.maximum(rank[a], rank[b])  # from here on the border is inside
        inner = np.stack([np.cumsum(np.bincount(later, c, graph.count)) for c in graph.borders.T], 1)
        sums = union_sums(inside, inner)
        low, high = np.minimum.accumulate(graph.low[order]), np.maximum.accumulate(graph.high[order])
        for at in self._thinned(sums):
            members = np.zeros(graph.count, bool)
            members[order[: at + 1]] = True
            found.add_measured(members, source, sums[at], inner[at], low[at], high[at])

    def _thinned(self, sums: np.ndarray) -> list[int]:
        """Of a nested family, positions of the ones with the strongest and smoothest border in each band of sizes."""
        volume, surface = sums[:, Columns.VOLUME], np.maximum(sums[:, Columns.SURFACE], 1e-9)
        strength = np.maximum(sums[:, Columns.GRADIENT] / surface, 1e-9)
        worth = np.log(strength) + 0.5 * np.log(volume ** (2 / 3) / surface)
        largest = LARGEST * self.graph.volume.sum()
        low = SMALLEST_VOXELS * float(np.prod(self.graph.spacing))
        band = np.floor(np.log(volume / low) / np.log(_BAND)).astype(int)
        usable = np.flatnonzero((volume >= low) & (volume <= largest))
        keep = []
        for number in np.unique(band[usable]):
            at = usable[band[usable] == number]
            keep.append(int(at[np.argmax(worth[at])]))
        return keep


class _Collected(Distinct):
    """Candidates as they are found, and what was measured of each."""

    def __init__(self, graph: RegionGraph, sources: int):
        super().__init__(sources)
        self._graph = graph
        self._rows: list[tuple[np.ndarray, ...]] = []
        self._largest = LARGEST * graph.volume.sum()
        self._smallest = SMALLEST_VOXELS * float(np.prod(graph.spacing))

    def add_measured(self, members: np.ndarray, source: int, *row: np.ndarray) -> None:
        """Adds a set with its sums, inner sums, low and high."""
        if self.add(members, source) == len(self._rows):
            self._rows.append(row)

    def add_set(self, members: np.ndarray, source: int, always: bool = False) -> None:
        """Adds a set if its size is that of an object (or ``always``), measured here."""
        graph = self._graph
        if not always and not self._smallest <= graph.volume[members].sum() <= self._largest:
            return
        inner = graph.borders[members[graph.first] & members[graph.second]].sum(0)
        sums = union_sums(graph.inside[members].sum(0)[None], inner[None])[0]
        self.add_measured(members, source, sums, inner, graph.low[members].min(0), graph.high[members].max(0))

    def candidates(self) -> VolumeCandidates:
        sums, inner, low, high = (np.stack(column) for column in zip(*self._rows, strict=True))
        sets, votes = self.arrays()
        return VolumeCandidates(sets, sums, inner, low, high, votes)


def _parts(graph: RegionGraph, labels: np.ndarray) -> np.ndarray:
    """Number of the connected part of a label map that each supervoxel belongs to, ``[n]``. The label of most of its
    voxels stands for a supervoxel."""
    kinds = int(labels.max()) + 1
    keys = graph.labels.astype(np.int64).ravel() * kinds + labels.ravel()
    label = np.bincount(keys, minlength=graph.count * kinds).reshape(graph.count, kinds).argmax(1)
    same = label[graph.first] == label[graph.second]
    a, b = graph.first[same], graph.second[same]
    matrix = sparse.csr_matrix((np.ones(a.size, np.int8), (a, b)), (graph.count, graph.count))
    return sparse.csgraph.connected_components(matrix, directed=False)[1]
