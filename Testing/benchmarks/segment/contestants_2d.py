"""What takes part in the 2D benchmark: the product, parts of it, and the baselines, behind one interface."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence

import baselines
import numpy as np
from data_sets import Case

from S3NetSegmentLib.engine.common.progress import run_to_end
from S3NetSegmentLib.engine.images import Extent
from S3NetSegmentLib.engine.images.intensity import intensity_scale
from S3NetSegmentLib.engine.images.resample import labels_to_grid, mask_to_grid
from S3NetSegmentLib.engine.segment.find_regions import find_regions
from S3NetSegmentLib.engine.segment.objects import SliceObjects
from S3NetSegmentLib.engine.segment.objects.slice_features import COLUMN
from S3NetSegmentLib.engine.segment.regions import slice_maps
from S3NetSegmentLib.engine.segment.settings import SegmentSettings
from S3NetSegmentLib.engine.segment.working_grid import WorkingGrid

Point = tuple[int, int]  # row, column in the slice
MERGED_LABELS = 8


class Contestant(ABC):
    """One method on one slice. Masks and label maps are on the slice's own grid."""

    seconds: float  # of the preparation

    @abstractmethod
    def answers(self, point: Point) -> tuple[list[np.ndarray], tuple[int, ...]]:
        """All masks the user can reach from ``point``, and the indices of those offered, best first."""

    @abstractmethod
    def automatic(self) -> np.ndarray:
        """The main object without a click; empty where none is found."""

    def labels(self) -> np.ndarray | None:
        """At most eight regions; None where the method has none of its own."""
        return None

    def with_points(self, inside: Sequence[Point], outside: Sequence[Point]) -> np.ndarray | None:
        """The object after further points; None where the method knows none."""
        return None

    def with_radius(self, point: Point, radius_mm: float) -> np.ndarray | None:
        """The object at ``point`` of about that radius; None where the method knows none."""
        return None


class Product(Contestant):
    """Segment as the user meets it: ``find_regions`` and the ``Regions`` it returns."""

    def __init__(self, case: Case, seed: int, **changes):
        settings = SegmentSettings(seed=seed, **changes)
        self._k = case.slice_index
        start = time.perf_counter()
        extent = Extent.slab(case.volume, "z", self._k, self._k)
        self._regions = run_to_end(find_regions(case.volume, extent=extent, axis="z", settings=settings, device="cpu"))
        self.seconds = time.perf_counter() - start

    def answers(self, point):
        choice = self._regions.object_at([self._voxel(point)])
        return [choice.at(n).mask[0] for n in range(choice.steps)], choice.alternatives

    def automatic(self):
        choice = self._regions.main_object()
        return np.zeros(self._regions.extent.size[1::-1], bool) if choice is None else choice.mask[0]

    def labels(self):
        return self._regions.labels(MERGED_LABELS)[0]

    def with_points(self, inside, outside):
        return self._regions.object_at([self._voxel(p) for p in inside], [self._voxel(p) for p in outside]).mask[0]

    def with_radius(self, point, radius_mm):
        return self._regions.object_at([self._voxel(point)], radius_mm=radius_mm).mask[0]

    def _voxel(self, point: Point) -> tuple[int, int, int]:
        return point[1], point[0], self._k


class _HandMade(SliceObjects):
    """Chooses by the hand-made score alone."""

    def _scores(self, measured, radius_mm):
        return measured.table[:, COLUMN["log_hand"]]


class _NoConsensus(SliceObjects):
    """Chooses by contrast, compactness and size alone."""

    def _scores(self, measured, radius_mm):
        return measured.table[:, COLUMN["log_vca"]]


class _RankerAlone(SliceObjects):
    """Chooses by the learned ranker alone."""

    def _scores(self, measured, radius_mm):
        return self._ranker.score(measured.table)


class Part(Contestant):
    """The product without one of its parts, to see what that part contributes."""

    def __init__(self, case: Case, seed: int, without: str):
        settings = SegmentSettings(seed=seed)
        start = time.perf_counter()
        self._grid, features = _working(case)
        rng = np.random.default_rng([seed, 1])
        maps = run_to_end(slice_maps(features, self._grid.spacing, settings, rng))
        dropped = {"graph": ("graph", "watershed"), "k-means": ("kmeans_fine", "kmeans_medium", "kmeans_coarse")}
        maps = {name: labels for name, labels in maps.items() if name not in dropped.get(without, ())}
        kind = {"ranker": _HandMade, "consensus and ranker": _NoConsensus, "hand-made score": _RankerAlone}
        self._objects = kind.get(without, SliceObjects)(features, maps, self._grid.spacing)
        self.seconds = time.perf_counter() - start

    def answers(self, point):
        ranked = self._objects.ranked(self._grid.to_work((point[1], point[0], self._grid.extent.start[2])))
        return [self._native(mask) for mask in ranked.masks], ranked.alternatives

    def automatic(self):
        ranked = run_to_end(self._objects.main_steps())
        return np.zeros(self._grid.native, bool) if ranked is None else self._native(ranked.masks[ranked.best])

    def _native(self, mask: np.ndarray) -> np.ndarray:
        return mask_to_grid(mask, self._grid.native)


class Baseline(Contestant):
    """One label map by a simple method; the click takes the connected region under it."""

    def __init__(self, case: Case, seed: int, make: baselines.LabelMaker):
        self._grid, self._features = _working(case)
        start = time.perf_counter()
        self._rng = np.random.default_rng([seed, 1])
        self._labels = make(self._features, self._rng)
        self.seconds = time.perf_counter() - start

    def answers(self, point):
        at = self._grid.to_work((point[1], point[0], self._grid.extent.start[2]))
        return [mask_to_grid(baselines.clicked_region(self._labels, at), self._grid.native)], (0,)

    def automatic(self):
        return mask_to_grid(baselines.central_region(self._labels), self._grid.native)

    def labels(self):
        few = baselines.merged(self._labels, self._features, MERGED_LABELS, self._rng)
        return labels_to_grid(few.astype(np.uint8), self._grid.native)


class Blank(Contestant):
    """The whole slice as the answer to everything: what a rule gives for nothing."""

    def __init__(self, case: Case, seed: int):
        self._shape, self.seconds = case.objects[0].shape, 0.0

    def answers(self, point):
        return [np.ones(self._shape, bool)], (0,)

    def automatic(self):
        return np.ones(self._shape, bool)

    def labels(self):
        return np.zeros(self._shape, np.uint8)


def _working(case: Case) -> tuple[WorkingGrid, np.ndarray]:
    extent = Extent.slab(case.volume, "z", case.slice_index, case.slice_index)
    grid = WorkingGrid(case.volume, extent, "z", SegmentSettings().work_size)
    return grid, run_to_end(grid.features_of(case.volume, intensity_scale(case.volume)))
