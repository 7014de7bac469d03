"""``VolumeObjects``: from the regions of a volume to a three-dimensional object by a point."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from ...common.arrays import LimitedCache, three
from ...common.progress import Step, Steps, as_part_of, in_thread, run_to_end
from ..regions.volume_graph import RegionGraph, region_graph
from .ranked import Measured, Opinions, RankedCandidates, Ranker, best_first, rank_ladder
from .volume_candidates import CandidateFinder, VolumeCandidates, candidate_finder
from .volume_features import NAMES, hand_score, measure, overlap_matrix
from .volume_masks import connected_part, object_mask, volume_ladder

Weighed = Callable[[np.ndarray, np.ndarray], np.ndarray]
WEIGHTS = Path(__file__).with_name("volume_ranker.npz")
# Chosen on development cases: the weight of the hand-made score beside the ranker, which knows synthetic scenes only, and how much to
# trust their sum (see ``ranked.rank_ladder``).
HAND_WEIGHT = 0.5
CERTAINTY = 1.4
_REMEMBERED_POINTS = 8
_RADIUS_DEVIATION = 0.3  # relative standard deviation of a radius given by hand
_LARGEST_ADDITION, _LARGEST_REMOVAL = 1.5, 0.7  # shares of the object that one further point may add or remove
_SPOT_RADIUS = 4.0  # smallest voxel sides, where no region fits a further point


def objects_of_volume(
    features: np.ndarray,
    maps: dict[str, list[np.ndarray]],
    spacing: tuple[float, float, float],
    ranker: Ranker | None = None,
) -> Steps[VolumeObjects]:
    """Objects of one volume made of the regions in ``maps``, as a generator of progress steps.

    :param features: float32 ``[k, j, i]`` or ``[k, j, i, C]``, see ``IntensityScale.apply``, on the working grid.
    :param maps: what ``volume_maps`` found, with or without further label maps ``[k, j, i]`` by source. A plain dict of
        label maps serves too: then the supervoxels are searched here, and candidates come from these maps alone.
    :param spacing: mm between voxels along k, j, i.
    :param ranker: None: the one that ships with the engine.
    """
    graph, searched = getattr(maps, "graph", None), 0.0
    if graph is None:
        searched = 0.8
        features = features if features.ndim == 4 else features[..., None]
        graph = yield from as_part_of(region_graph(features, three(spacing)), 0.0, searched)
    finder = yield from as_part_of(candidate_finder(graph, getattr(maps, "trees", {}), maps), searched, 1.0)
    return VolumeObjects(graph, finder, ranker if ranker is not None else default_volume_ranker())


class VolumeObjects:
    """Objects of one volume; every question is answered without new regions. Made by :func:`objects_of_volume`."""

    def __init__(self, graph: RegionGraph, finder: CandidateFinder, ranker: Ranker):
        self.graph, self._finder, self._ranker = graph, finder, ranker
        self._measured: LimitedCache[Measured[VolumeCandidates]] = LimitedCache(_REMEMBERED_POINTS)

    def ranked(
        self,
        inside: tuple[int, int, int],
        forbidden: Sequence[tuple[int, int, int]] = (),
        radius_mm: float | None = None,
    ) -> RankedCandidates:
        """The candidates for the object at ``inside`` (k, j, i), ranked; their masks are made when asked for.

        :param forbidden: points outside the object; candidates that hold one are left out if any other is left.
        :param radius_mm: rough radius of the object.
        """
        return run_to_end(self.ranked_steps(inside, forbidden, radius_mm))

    def ranked_steps(
        self, inside, forbidden=(), radius_mm=None, weighed: Weighed | None = None, certainty: float | None = CERTAINTY
    ) -> Steps[RankedCandidates]:
        """:meth:`ranked` as a generator of progress steps.

        :param weighed: what else is known of the object: a function of scores ``[n]`` and candidates, bool ``[n, regions]``, that
            returns the scores that count.
        :param certainty: see :func:`rank_ladder`.
        """
        measured = yield from as_part_of(self.measured_steps(inside), 0.0, 0.6)
        candidates, scores = measured.candidates, self._scores(measured, radius_mm)
        if weighed is not None:
            scores = weighed(scores, candidates.sets)
        allowed = np.ones(len(scores), bool)
        for point in forbidden:
            allowed &= ~candidates.sets[:, self.graph.labels[tuple(point)]]
        if allowed.any():
            scores = np.where(allowed, scores, -np.inf)
        order = best_first(scores, measured.overlap, certainty)
        steps = volume_ladder(self.graph, candidates, order, [inside], forbidden)
        ladder, masks = yield from as_part_of(steps, 0.6, 0.9)
        # The masks of the answers are made for it, which takes long where they fill much of a large volume.
        ranking = partial(rank_ladder, ladder, masks, order, scores, measured.overlap, certainty)
        ranked = yield from in_thread(ranking, Step(0.9, "Comparing answers"), abandoned=True)
        return dataclasses.replace(ranked, point=tuple(inside))

    def opinions(self, point: tuple[int, int, int]) -> Opinions:
        """What speaks for each candidate at ``point``."""
        measured = self.measured(point)
        learned, hand = self._ranker.score(measured.table), HAND_WEIGHT * hand_score(measured.table)
        return Opinions(
            NAMES, measured.table, learned, hand, tuple(self._finder.sources), measured.candidates.votes, CERTAINTY
        )

    def main_steps(self) -> Steps[None]:
        """None: a volume holds many organs, and none of them is the main one."""
        yield from ()

    def edited(
        self, mask: np.ndarray, point: tuple[int, int, int], add: bool, protected: Sequence[tuple[int, int, int]] = ()
    ) -> np.ndarray:
        """``mask`` with the best region at ``point`` added or removed, as far as it hangs together there; bool ``[k, j, i]``.

        A region that would change a ``protected`` point, or too much of the mask, is not used; where none is left, a small
        ball is.
        """
        point = three(int(v) for v in point)
        if bool(mask[point]) == add:
            return mask.copy()
        protected = [p for p in protected if bool(mask[tuple(p)]) != add]
        measured = self.measured(point)
        sets, volume = measured.candidates.sets, measured.candidates.volume
        held = np.bincount(self.graph.labels[mask], minlength=self.graph.count) * float(np.prod(self.graph.spacing))
        shared = sets @ held
        change = (volume - shared if add else shared) / max(held.sum(), 1e-9)
        usable = change <= (_LARGEST_ADDITION if add else _LARGEST_REMOVAL)
        for other in protected:
            usable &= ~sets[:, self.graph.labels[tuple(other)]]
        if usable.any():
            scores = np.where(usable, self._scores(measured, None), -np.inf)
            region = object_mask(self.graph, sets[int(scores.argmax())], [point], protected)
        else:
            region = self._spot(point)
            for other in protected:
                region[tuple(other)] = False
        # What the region would change elsewhere was not asked for: it may be a ring around the object.
        change = connected_part(region & ~mask if add else region & mask, point)
        return mask | change if add else mask & ~change

    def measured(self, point: tuple[int, int, int]) -> Measured[VolumeCandidates]:
        """The candidates at ``point`` and their features; the last few points are remembered."""
        return run_to_end(self.measured_steps(point))

    def measured_steps(self, point: tuple[int, int, int]) -> Steps[Measured[VolumeCandidates]]:
        """:meth:`measured` as a generator of progress steps."""
        point = three(int(v) for v in point)
        if (known := self._measured.get(point)) is not None:
            return known
        candidates = yield from as_part_of(self._finder.at(point), 0.0, 0.7)
        overlap = yield from as_part_of(overlap_matrix(candidates, self.graph), 0.7, 0.9)
        yield Step(0.9, "Measuring objects")
        measured = Measured(candidates, measure(candidates, self.graph, overlap, point), overlap)
        return self._measured.add(point, measured)

    def _scores(self, measured: Measured[VolumeCandidates], radius_mm: float | None) -> np.ndarray:
        scores = self._ranker.score(measured.table) + HAND_WEIGHT * hand_score(measured.table)
        if radius_mm is not None:
            wanted = np.log(4 / 3 * np.pi * radius_mm**3)
            scores = scores - ((np.log(measured.candidates.volume) - wanted) / (3 * _RADIUS_DEVIATION)) ** 2
        return scores

    def _spot(self, point: tuple[int, int, int]) -> np.ndarray:
        grids = np.ogrid[tuple(slice(0, n) for n in self.graph.labels.shape)]
        square = np.zeros(self.graph.labels.shape)
        for g, p, s in zip(grids, point, self.graph.spacing, strict=True):
            square += ((g - p) * s) ** 2
        return square <= (_SPOT_RADIUS * min(self.graph.spacing)) ** 2


@lru_cache(maxsize=1)
def default_volume_ranker() -> Ranker:
    """The ranker for volumes that ships with the engine."""
    return Ranker.load(WEIGHTS)
