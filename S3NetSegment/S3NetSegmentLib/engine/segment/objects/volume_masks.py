"""Masks of sets of supervoxels, made when they are asked for, with their borders laid along the image's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ...common.arrays import LimitedCache
from ...common.progress import Step, Steps
from ..regions.volume_graph import RegionGraph, blur_in_voxels
from .candidates import small_holes_filled
from .volume_candidates import VolumeCandidates

MARGIN = 3  # voxels around an object that may become part of it
_WINDOW = 2.0  # the levels inside and outside are those within so many of the smallest voxel sides
_STAY = 1.0  # how much a voxel's present side counts against its intensity
_CONTRAST = 0.05  # squared difference of levels (standard deviations) below which intensities say little
_SMOOTHING = 0.7  # of the new border, in smallest voxel sides
_REMEMBERED = 4  # masks: the offered answers and the step that is looked at
_COUNTED = 500_000  # voxels in the boxes of the masks that are counted: about 0.1 s
_AT_ONCE = 100_000  # voxels counted in one step
_TRIES = 6
_FURTHER = 1.5  # how many times as much of the border each try gives up


class LazyMasks(Sequence):
    """Masks, bool ``[k, j, i]``, of sets of supervoxels ``[n, regions]``; only the last few are kept, as bits.

    :param rooms: ``[n, 2]`` smallest and largest number of voxels that each mask may have, see :func:`object_mask`.
    :param inside, outside: points (k, j, i) that each mask holds, or does not.
    """

    def __init__(self, graph: RegionGraph, sets: np.ndarray, rooms: np.ndarray, inside=(), outside=()):
        self._graph, self._sets, self._rooms = graph, sets, rooms
        self._inside, self._outside = tuple(inside), tuple(outside)
        self._made: LimitedCache[tuple[tuple[slice, ...], tuple[int, ...], np.ndarray]] = LimitedCache(_REMEMBERED)

    def __len__(self) -> int:
        return len(self._sets)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return LazyMasks(self._graph, self._sets[index], self._rooms[index], self._inside, self._outside)
        index = range(len(self))[index]
        made = self._made.get(index)
        if made is None:
            box, part = object_part(self._graph, self._sets[index], self._inside, self._outside, self._rooms[index])
            made = self._made.add(index, (box, part.shape, np.packbits(part)))
        box, shape, bits = made
        mask = np.zeros(self._graph.labels.shape, bool)
        mask[box] = np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape).view(bool)
        return mask


def object_mask(graph: RegionGraph, members: np.ndarray, inside=(), outside=()) -> np.ndarray:
    """The voxels of ``members``, bool ``[k, j, i]``: border refined, only the part that holds the first of ``inside``
    kept, holes filled that are below 5 % of it each."""
    mask = np.zeros(graph.labels.shape, bool)
    box, part = object_part(graph, members, inside, outside)
    mask[box] = part
    return mask


def object_part(
    graph: RegionGraph, members: np.ndarray, inside=(), outside=(), room: tuple[int, int] | None = None
) -> tuple[tuple[slice, ...], np.ndarray]:
    """The same as a box of the volume and the mask inside it.

    :param room: smallest and largest number of voxels; where the refined border would leave it, the border is moved as
        little as that needs.
    """
    low, high = graph.low[members].min(0) - MARGIN, graph.high[members].max(0) + 1 + MARGIN
    box = tuple(slice(max(0, int(a)), min(int(b), n)) for a, b, n in zip(low, high, graph.labels.shape, strict=True))
    plain = members[graph.labels[box]]
    border, belongs = border_sides(plain, graph.standard[box], graph.spacing)
    kept, left = (_inside_box(points, box) for points in (inside, outside))

    def above(level: float) -> np.ndarray:
        part = np.where(border, belongs > level, plain)
        for point in kept:
            part[point] = True
        part = small_holes_filled(connected_part(part, kept[0]) if kept else part)
        for point in left:
            part[point] = False
        return part

    if room is None:
        return box, above(0.0)
    return box, fitted(Sized(above, border, belongs, tuple(left)), int(room[0]), int(room[1]))


def border_sides(
    mask: np.ndarray, standard: np.ndarray, spacing: tuple[float, float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Which voxels lie near the border of ``mask`` (bool ``[k, j, i]``), and how much each belongs inside (float; above 0:
    rather inside), smoothed.

    One step of region competition with local levels, as in S. Lankton and A. Tannenbaum, "Localizing region-based active
    contours", IEEE TIP 17(11), 2008.

    :param standard: ``[k, j, i, C]``. Where nothing or everything is inside there is no border.
    """
    if mask.all() or not mask.any():
        return np.zeros(mask.shape, bool), np.zeros(mask.shape, np.float32)
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
    return (share > 0.05) & (share < 0.95), belongs


def _inside_box(points, box: tuple[slice, ...]) -> list[tuple[int, int, int]]:
    """``points`` of the volume as indices of ``box``, those beyond it left out."""
    within = [p for p in points if all(b.start <= v < b.stop for v, b in zip(p, box, strict=True))]
    return [tuple(int(v) - b.start for v, b in zip(point, box, strict=True)) for point in within]


def connected_part(mask: np.ndarray, point: tuple[int, int, int]) -> np.ndarray:
    """The part of ``mask`` (bool ``[k, j, i]``) that hangs together with ``point``, which lies in it."""
    parts, count = ndimage.label(mask)
    return parts == parts[tuple(point)] if count > 1 else mask


def volume_ladder(
    graph: RegionGraph, candidates: VolumeCandidates, best_first: list[int], inside=(), outside=()
) -> Steps[tuple[list[int], LazyMasks]]:
    """Candidates from small to large with masks whose sizes ascend strictly, as a generator of progress steps.

    :param best_first: numbers of candidates, the best first; of those that have the same size only the best gets a step.
    :param inside, outside: points (k, j, i) that each mask holds, or does not.
    """
    size = np.rint(candidates.volume / float(np.prod(graph.spacing))).astype(np.int64)
    boxes = np.prod(candidates.high - candidates.low + 1 + 2 * MARGIN, 1)[best_first]
    order = np.argsort(boxes, kind="stable")
    reached = np.cumsum(boxes[order])
    told = 0
    for number, done in zip(order[reached <= _COUNTED], reached, strict=False):
        if done - told > _AT_ONCE:
            told = done
            yield Step(float(done / _COUNTED), "Laying borders")
        at = best_first[number]
        size[at] = np.count_nonzero(object_part(graph, candidates.sets[at], inside, outside)[1])
    step_of: dict[int, int] = {}
    for at in best_first:
        step_of.setdefault(int(size[at]), at)
    sizes = np.array(sorted(step_of))
    halves = (sizes[:-1] + sizes[1:]) // 2
    rooms = np.stack((np.concatenate(([1], halves + 1)), np.concatenate((halves, [graph.labels.size]))), 1)
    ladder = [step_of[n] for n in sizes.tolist()]
    return ladder, LazyMasks(graph, candidates.sets[ladder], rooms, inside, outside)


@dataclass(frozen=True, eq=False)
class Sized:
    """A mask whose size depends on a level.

    :param above: the mask (bool ``[k, j, i]``) at a level; the higher the level, the less it holds. 0 is the best one.
    :param border, belongs: bool and float ``[k, j, i]``: the voxels that a level decides on, those with ``belongs`` above
        it being inside.
    :param left: voxels that lie outside at every level.
    """

    above: Callable[[float], np.ndarray]
    border: np.ndarray
    belongs: np.ndarray
    left: tuple[tuple[int, int, int], ...] = ()


def fitted(sized: Sized, low: int, high: int) -> np.ndarray:
    """The mask at level 0 if it has ``low`` to ``high`` voxels; else, connected as before, one that has.

    The level is moved by as many border voxels as are too many or too few. Where the size jumps over the room with it,
    since a part comes loose, the difference between both sides of the jump is added voxel layer by voxel layer.
    """
    part = sized.above(0.0)
    count = np.count_nonzero(part)
    if low <= count <= high:
        return part
    return _smaller(sized, part, low, high) if count > high else _larger(sized, part, low, high)


def _smaller(sized: Sized, part: np.ndarray, low: int, high: int) -> np.ndarray:
    values = np.sort(sized.belongs[sized.border & part])
    surplus = int(np.count_nonzero(part)) - high
    for _ in range(_TRIES):
        if surplus > len(values):
            break
        less = sized.above(float(values[surplus - 1]))
        count = np.count_nonzero(less)
        if count <= high:
            return less if count >= low else _grown(less, part, sized.belongs, high)
        surplus = int(_FURTHER * surplus) + 1  # what was given up became a hole and was filled again
    core = np.zeros_like(part)
    core[np.unravel_index(np.where(part, sized.belongs, -np.inf).argmax(), part.shape)] = True
    return _grown(core, part, sized.belongs, high)


def _larger(sized: Sized, part: np.ndarray, low: int, high: int) -> np.ndarray:
    values = np.sort(sized.belongs[sized.border & ~part])[::-1]
    missing = low - int(np.count_nonzero(part))
    for _ in range(_TRIES):
        if missing > len(values):
            break
        more = sized.above(float(np.nextafter(values[missing - 1], -np.inf, dtype=values.dtype)))
        count = np.count_nonzero(more)
        if count >= low:
            return more if count <= high else _grown(part, more, sized.belongs, low)
        missing = int(_FURTHER * missing) + 1  # what was added does not hang together with the object
    everything = np.ones_like(part)
    for point in sized.left:
        everything[point] = False
    return _grown(part, everything, sized.belongs, low)


def _grown(part: np.ndarray, limit: np.ndarray, belongs: np.ndarray, count: int) -> np.ndarray:
    """``part`` grown inside ``limit`` by neighbours until it has ``count`` voxels (or ``limit`` allows no more); of the
    last layer those that belong to it most."""
    part = part.copy()
    missing = count - np.count_nonzero(part)
    while missing > 0:
        layer = np.flatnonzero(ndimage.binary_dilation(part) & limit & ~part)
        if layer.size == 0:
            break
        if layer.size > missing:
            layer = layer[np.argsort(-belongs.ravel()[layer], kind="stable")[:missing]]
        part.ravel()[layer] = True
        missing -= layer.size
    return part
