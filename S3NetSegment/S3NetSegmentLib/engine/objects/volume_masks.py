"""Masks of sets of supervoxels, made when they are asked for, with their borders laid along the image's own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from ..images.resample import bounding_box
from ..regions.volume_graph import RegionGraph, blur_in_voxels

_SMALL_HOLE = 0.05  # share of the object
_WINDOW = 2.0  # the levels inside and outside are those within so many of the smallest voxel sides
_MARGIN = 3  # voxels around an object that may become part of it
_STAY = 1.0  # how much a voxel's present side counts against its intensity
_CONTRAST = 0.05  # squared difference of levels (standard deviations) below which intensities say little
_SMOOTHING = 0.7  # of the new border, in smallest voxel sides


class LazyMasks(Sequence):
    """Masks, bool ``[k, j, i]``, of sets of supervoxels ``[n, regions]``; none is kept.

    :param inside, outside: points (k, j, i) that each mask holds, or does not.
    """

    def __init__(self, graph: RegionGraph, sets: np.ndarray, inside=(), outside=()):
        self._graph, self._sets, self._inside, self._outside = graph, sets, tuple(inside), tuple(outside)

    def __len__(self) -> int:
        return len(self._sets)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return LazyMasks(self._graph, self._sets[index], self._inside, self._outside)
        return object_mask(self._graph, self._sets[index], self._inside, self._outside)


def object_mask(graph: RegionGraph, members: np.ndarray, inside=(), outside=()) -> np.ndarray:
    """The voxels of ``members``, bool ``[k, j, i]``: border refined, only the part that holds the first of ``inside``
    kept, holes filled that are below 5 % of it each."""
    mask = np.zeros(graph.labels.shape, bool)
    low, high = graph.low[members].min(0) - _MARGIN, graph.high[members].max(0) + 1 + _MARGIN
    box = tuple(slice(max(0, int(a)), int(b)) for a, b in zip(low, high, strict=True))
    part = refined(members[graph.labels[box]], graph.standard[box], graph.spacing)
    points = [tuple(p - b.start for p, b in zip(point, box, strict=True)) for point in inside]
    for point in points:
        part[point] = True
    mask[box] = _whole(part, points[0] if points else None)
    for point in outside:
        mask[tuple(point)] = False
    return mask


def refined(mask: np.ndarray, standard: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """``mask`` with the voxels at its border given to the side whose level nearby they have, and smoothed.

    One step of region competition with local levels, as in S. Lankton and A. Tannenbaum, "Localizing region-based active
    contours", IEEE TIP 17(11), 2008, on the border only.

    :param standard: ``[k, j, i, C]``. ``mask`` is returned as it is where nothing lies outside.
    """
    if mask.all() or not mask.any():
        return mask.copy()
    size = [1 + 2 * int(_WINDOW * min(spacing) / s + 0.1) for s in spacing]
    inside = mask.astype(np.float32)
    share = ndimage.uniform_filter(inside, size)
    squares = [0.0, 0.0, 0.0]  # distance to the level outside, inside; between them
    for values in np.moveaxis(standard, -1, 0):
        held = ndimage.uniform_filter(values * inside, size)
        level_in = held / (share + 1e-4)
        level_out = (ndimage.uniform_filter(values, size) - held) / (1 - share + 1e-4)
        for n, difference in enumerate((values - level_out, values - level_in, level_in - level_out)):
            squares[n] = squares[n] + np.square(difference)
    belongs = np.clip((squares[0] - squares[1]) / (squares[2] + _CONTRAST), -1, 1) + _STAY * (2 * inside - 1)
    belongs = ndimage.gaussian_filter(belongs, blur_in_voxels(_SMOOTHING, spacing))
    border = (share > 0.05) & (share < 0.95)
    return np.where(border, belongs > 0, mask)


def _whole(mask: np.ndarray, point: tuple[int, int, int] | None) -> np.ndarray:
    """The part of ``mask`` at ``point`` (without one: all of it) with its small holes filled."""
    if point is not None:
        mask = connected_part(mask, point)
    box = bounding_box(mask)
    inside = np.pad(mask[box], 1)
    holes, count = ndimage.label(~inside)
    if count > 1:
        small = np.bincount(holes.ravel()) <= _SMALL_HOLE * np.count_nonzero(inside)
        small[:2] = False  # the object itself, and what lies around it (numbered first)
        mask = mask.copy()
        mask[box] |= small[holes][1:-1, 1:-1, 1:-1]
    return mask


def connected_part(mask: np.ndarray, point: tuple[int, int, int]) -> np.ndarray:
    """The part of ``mask`` (bool ``[k, j, i]``) that hangs together with ``point``, which lies in it."""
    parts, count = ndimage.label(mask)
    return parts == parts[tuple(point)] if count > 1 else mask
