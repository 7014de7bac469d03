"""From prompts to an object: what points, boxes and strokes ask of the candidates of a slice or a volume."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..common.errors import InputError
from ..common.progress import Step, Steps, within
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


def volume_candidates(objects, grid: WorkingGrid, prompts: Prompts, radius_mm: float | None) -> Steps:
    """The candidates in a volume for boxes and strokes, and where the answer may lie (bool on the working grid, or None).

    They are those at the first point, else in the middle of the first box or stroke; of their ladder the step whose extent
    fits the box best. A box in a slice bounds the object only along that slice.
    """
    first = (*prompts.inside, *(s[len(s) // 2] for s in prompts.strokes), *(box.centre for box in prompts.boxes))[0]
    ranked = yield from within(objects.ranked_steps(grid.to_work(first), radius_mm=radius_mm), 0.0, 0.9)
    if not prompts.boxes:
        return ranked, None
    allowed = np.zeros(grid.shape, bool)
    for box in prompts.boxes:
        allowed[_samples_of(box, grid, unbounded=True)] = True
    box = prompts.boxes[0]
    edges, fits = np.reshape(grid.edges_of(box), (3, 2)), []
    there = _samples_of(box, grid, unbounded=False)
    for number in range(len(ranked.masks)):
        yield Step(0.9 + 0.1 * number / len(ranked.masks), "Fitting the box")
        mask = np.asarray(ranked.masks[number], bool)
        if box.flat_axis:
            kept = np.zeros_like(mask)
            across = tuple(s if a == 2 - AXES.index(box.flat_axis) else slice(None) for a, s in enumerate(there))
            kept[across] = mask[across]
            mask = kept
        fits.append(_fit(mask, edges))
    return ranked.at_best(int(np.argmax(fits))), allowed


def _samples_of(box, grid: WorkingGrid, unbounded: bool) -> tuple[slice, ...]:
    """The samples of the working grid that a box covers, ``unbounded`` across the slice of a flat one."""
    edges = np.reshape(grid.edges_of(box), (3, 2))
    found = [slice(int(low), max(int(np.ceil(high)), int(low) + 1)) for low, high in edges]
    if unbounded and box.flat_axis:
        found[2 - AXES.index(box.flat_axis)] = slice(None)
    return tuple(found)


def _fit(mask: np.ndarray, edges: np.ndarray) -> float:
    """Common volume of the mask's bounding box and the box over the volume that either covers."""
    if not mask.any():
        return 0.0
    common = own = asked = 1.0
    for axis, (low, high) in enumerate(edges):
        filled = np.flatnonzero(mask.any(tuple(a for a in range(mask.ndim) if a != axis)))
        first, last = filled[0], filled[-1] + 1
        common *= max(0.0, min(last, high) - max(first, low))
        own, asked = own * (last - first), asked * (high - low)
    return common / (own + asked - common)


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
