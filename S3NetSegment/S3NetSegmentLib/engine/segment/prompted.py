"""From prompts to an object: what points, boxes and strokes ask of the candidates of a slice or a volume."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..common.errors import InputError
from ..images import AXES
from ..images.resample import mask_to_grid
from .object_choice import Finish, ObjectChoice
from .objects.stroke_choice import spread_points
from .prompts import Prompts
from .working_grid import WorkingGrid

_STROKE_EDITS = 3  # points of a stroke at which the answer is corrected


def refuse_excluded(prompts: Prompts, excluded: np.ndarray | None, grid: WorkingGrid) -> None:
    """InputError where ``excluded`` has another shape than the extent, or a point inside the object lies in it."""
    if excluded is None:
        return
    shape = tuple(grid.extent.size[::-1])
    if excluded.shape != shape:
        raise InputError(f"excluded has {excluded.shape} voxels; the searched part has {shape} (k, j, i)")
    for voxel in prompts.inside_voxels:
        if excluded[grid.native_index(voxel)]:
            raise InputError(
                f"point {tuple(voxel)} (voxel i, j, k) lies in another segment, which the object must not touch; place it "
                "elsewhere, or allow overlap"
            )


def slice_candidates(objects, grid: WorkingGrid, prompts: Prompts, excluded: np.ndarray | None):
    """The candidates in a slice for boxes and strokes; ``objects``: :class:`SliceObjects`."""
    inside, outside = (list(map(grid.to_work, v)) for v in (prompts.inside_voxels, prompts.outside_voxels))
    if not prompts.boxes:
        return objects.ranked_along(inside, outside)
    working = None if excluded is None else mask_to_grid(np.squeeze(excluded, 2 - AXES.index(grid.axis)), grid.shape)
    return objects.ranked_in([grid.edges_of(box) for box in prompts.boxes], inside, working)


def chosen(ranked, objects, grid: WorkingGrid, prompts: Prompts, finish: Finish) -> ObjectChoice:
    """The answer with the corrections that points and strokes ask for."""
    by_point = not prompts.boxes and not prompts.strokes
    add = prompts.inside[1:] if by_point else prompts.inside
    first = grid.to_work(prompts.inside[0]) if by_point else None
    edits = [(grid.to_work(v), True) for v in [*add, *_of_strokes(prompts.strokes)]]
    edits += [
        (p, False) for p in map(grid.to_work, [*prompts.outside, *_of_strokes(prompts.outside_strokes)]) if p != first
    ]
    return ObjectChoice(ranked, objects, grid, edits, prompts.inside[0] if by_point else None, finish=finish)


def _of_strokes(strokes: Sequence) -> list:
    return [point for stroke in strokes for point in spread_points(stroke, _STROKE_EDITS)]
