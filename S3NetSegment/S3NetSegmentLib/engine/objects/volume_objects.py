"""``VolumeObjects``: from the regions of a volume to a three-dimensional object by a point."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..progress import drain
from ..regions.volume_graph import RegionGraph, region_graph
from .ranked import RankedCandidates, rank_ladder
from .ranker import Ranker
from .volume_candidates import CandidateFinder, VolumeCandidates
from .volume_features import hand_score, measure, overlap_matrix
from .volume_ladder import volume_ladder
from .volume_masks import connected_part, object_mask

WEIGHTS = Path(__file__).with_name("volume_ranker.npz")
# The weight of the hand-made score beside the ranker (which knows synthetic scenes only), chosen on development cases.
HAND_WEIGHT = 0.3
_REMEMBERED_POINTS = 8
_RADIUS_DEVIATION = 0.3  # relative standard deviation of a radius given by hand
_LARGEST_ADDITION, _LARGEST_REMOVAL = 1.5, 0.7  # shares of the object that one further point may add or remove
_SPOT_RADIUS = 4.0  # smallest voxel sides, where no region fits a further point


@dataclass(frozen=True)
class MeasuredVolume:
    """The candidates at one point, what was measured of them and how they overlap (Dice ``[n, n]``)."""

    candidates: VolumeCandidates
    table: np.ndarray
    overlap: np.ndarray


class VolumeObjects:
    """Objects of one volume made of the regions in ``maps``; every question is answered without new regions.

    :param features: float32 ``[k, j, i]`` or ``[k, j, i, C]``, see ``IntensityScale.apply``, on the working grid.
    :param maps: what ``volume_maps`` found, with or without further label maps ``[k, j, i]`` by source. A plain dict of
        label maps serves too: then the supervoxels are searched here, and candidates come from these maps alone.
    :param spacing: mm between voxels along k, j, i.
    :param ranker: None: the one that ships with the engine.
    """

    def __init__(
        self,
        features: np.ndarray,
        maps: dict[str, list[np.ndarray]],
        spacing: tuple[float, float, float],
        ranker: Ranker | None = None,
    ):
        graph = getattr(maps, "graph", None)
        if graph is None:
            graph = drain(region_graph(features if features.ndim == 4 else features[..., None], tuple(spacing)))
        self.graph: RegionGraph = graph
        self._finder = CandidateFinder(graph, getattr(maps, "trees", {}), maps)
        self._ranker = ranker if ranker is not None else default_volume_ranker()
        self._measured: OrderedDict[tuple[int, int, int], MeasuredVolume] = OrderedDict()

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
        measured = self.measured(inside)
        candidates, scores = measured.candidates, self._scores(measured, radius_mm)
        allowed = np.ones(len(scores), bool)
        for point in forbidden:
            allowed &= ~candidates.sets[:, self.graph.labels[tuple(point)]]
        if not allowed.any():
            allowed[:] = True
        at = np.flatnonzero(allowed)

        def ladder_of(best_first: list[int]):
            steps, masks = volume_ladder(self.graph, candidates, at[best_first].tolist(), [inside], forbidden)
            return np.searchsorted(at, steps).tolist(), masks

        return rank_ladder(scores[at], measured.overlap[np.ix_(at, at)], ladder_of)

    def main(self) -> RankedCandidates | None:
        """None: a volume holds many organs, and none of them is the main one."""
        return None

    def edited(
        self, mask: np.ndarray, point: tuple[int, int, int], add: bool, protected: Sequence[tuple[int, int, int]] = ()
    ) -> np.ndarray:
        """``mask`` with the best region at ``point`` added or removed, as far as it hangs together there; bool ``[k, j, i]``.

        A region that holds a ``protected`` point, or would change too much of the mask, is not used; where none is
        left, a small ball is.
        """
        point = tuple(int(v) for v in point)
        if bool(mask[point]) == add:
            return mask.copy()
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

    def measured(self, point: tuple[int, int, int]) -> MeasuredVolume:
        """The candidates at ``point`` and their features; the last few points are remembered."""
        point = tuple(int(v) for v in point)
        if point in self._measured:
            self._measured.move_to_end(point)
            return self._measured[point]
        candidates = self._finder.at(point)
        overlap = overlap_matrix(candidates, self.graph)
        measured = MeasuredVolume(candidates, measure(candidates, self.graph, overlap, point), overlap)
        self._measured[point] = measured
        if len(self._measured) > _REMEMBERED_POINTS:
            self._measured.popitem(last=False)
        return measured

    def dice_with(self, candidates: VolumeCandidates, mask: np.ndarray) -> np.ndarray:
        """Dice coefficients ``[n]`` of candidates with ``mask``, bool ``[k, j, i]``."""
        held = np.bincount(self.graph.labels[mask], minlength=self.graph.count) * float(np.prod(self.graph.spacing))
        return (2 * (candidates.sets @ held) / (candidates.volume + held.sum())).astype(np.float32)

    def _scores(self, measured: MeasuredVolume, radius_mm: float | None) -> np.ndarray:
        scores = self._ranker.score(measured.table) + HAND_WEIGHT * hand_score(measured.table)
        if radius_mm is not None:
            wanted = np.log(4 / 3 * np.pi * radius_mm**3)
            scores = scores - ((np.log(measured.candidates.volume) - wanted) / (3 * _RADIUS_DEVIATION)) ** 2
        return scores

    def _spot(self, point: tuple[int, int, int]) -> np.ndarray:
        grids = np.ogrid[tuple(slice(0, n) for n in self.graph.labels.shape)]
        square = sum(((g - p) * s) ** 2 for g, p, s in zip(grids, point, self.graph.spacing, strict=True))
        return square <= (_SPOT_RADIUS * min(self.graph.spacing)) ** 2


@lru_cache(maxsize=1)
def default_volume_ranker() -> Ranker:
    """The ranker for volumes that ships with the engine."""
    return Ranker.load(WEIGHTS)
