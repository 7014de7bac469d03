"""A point in a volume, looked at in the three slices through it.

A slice shows finer borders than the supervoxels of a volume, and its candidates are ranked better. So the object at the point is
searched in each of the three slices first, and a candidate of the volume counts the more, the better its sections agree with what
was found there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..common.errors import InputError
from ..common.progress import Steps, as_part_of
from ..images import AXES, Volume
from ..images.resample import mask_to_grid
from ..images.volume import slices_first
from .objects.volume_features import agreement_of_sections
from .prompts import Prompts, Voxel
from .working_grid import WorkingGrid

# Of an agreement that is sure, in points of a candidate's score; chosen on development volumes (Testing/benchmarks/segment/segment_3d.py).
_WEIGHT = 6.0
_LEAST_SIDE = 8  # voxels of a slice; thinner ones show nothing


@dataclass(frozen=True, eq=False)
class SeenSlices:
    """What the slices through a point show.

    :param labels: the supervoxels in each slice, ``[rows, columns]`` on the working grid. ``masks``: the object there, bool, the same
        shapes. ``expected``: how good each is expected to be, Dice 0 to 1.
    """

    labels: Sequence[np.ndarray]
    masks: Sequence[np.ndarray]
    expected: Sequence[float]

    def weighed(self, scores: np.ndarray, sets: np.ndarray) -> np.ndarray:
        """``scores`` ``[n]`` of candidates (sets of supervoxels, bool ``[n, regions]``) with what the slices say of them."""
        for labels, mask, expected in zip(self.labels, self.masks, self.expected, strict=True):
            scores = scores + _WEIGHT * expected * agreement_of_sections(sets, labels, mask)
        return scores


def seen_in_slices(
    volume: Volume,
    voxel: Voxel,
    grid: WorkingGrid,
    labels: np.ndarray,
    *,
    settings,
    radius_mm: float | None,
    find_regions,
) -> Steps[SeenSlices]:
    """The object at ``voxel`` in each of the three slices through it, as a generator of progress steps.

    :param volume: the ordered one, as ``grid`` and ``voxel`` (i, j, k) are. ``labels``: the supervoxels ``[k, j, i]`` on the grid.
    :param settings: of the search in the slices, where no network is used. ``radius_mm``: rough radius of the object, if known.
    :param find_regions: the function of that name in :mod:`find_regions`.
    """
    settings = replace(settings, sources="classical")
    places = dict(zip(AXES, reversed(grid.to_work(voxel)), strict=True))
    cuts, masks, expected = [], [], []
    for number, axis in enumerate(AXES):
        sides = [n for a, n in zip(AXES, grid.extent.size, strict=True) if a != axis]
        if min(sides) < _LEAST_SIDE:
            continue
        part = grid.extent.slice_at(axis, voxel[number])
        steps = find_regions(volume, extent=part, axis=axis, settings=settings, device="cpu")
        try:
            regions = yield from as_part_of(steps, number / 3, (number + 0.8) / 3)
        except InputError:  # there is nothing to tell apart in this slice
            continue
        steps = regions.object_steps(Prompts(inside=(voxel,)), radius_mm)
        choice = yield from as_part_of(steps, (number + 0.8) / 3, (number + 1) / 3)
        cuts.append(slices_first(labels, axis)[places[axis]])
        masks.append(mask_to_grid(slices_first(choice.mask, axis)[0], cuts[-1].shape))
        expected.append(choice.expected_at_point)
    return SeenSlices(cuts, masks, expected)
