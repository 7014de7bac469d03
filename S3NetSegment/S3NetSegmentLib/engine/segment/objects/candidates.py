"""Candidate objects of one slice: connected parts of the regions in many label maps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ...common.arrays import bounding_box, box_around, two
from ...common.progress import Step, Steps

EIGHT = np.ones((3, 3), bool)
_SMALL_HOLE = 0.05  # share of the object
_REACH = 6  # pixels from a point to the part that it may still mean
# The automatic choice: components that touch the frame by more are background; weight falls with the distance from the
# centre with a standard deviation of a third of the side; further components of the region join from this share on.
_FRAME_CONTACT = 0.03
_CENTRE_SPREAD = 3.0
_COMPANION = 0.15
CAPACITY = 64


@dataclass
class Candidates:
    """Distinct candidate masks and where they come from.

    :param masks: bool ``[n, h, w]``, none empty.
    :param votes: int ``[n, sources]``: how many maps of each source propose exactly this mask; a map counts twice where
        cutting bridges changes nothing.
    :param cut: bool ``[n]``: whether thin bridges were cut.
    """

    masks: np.ndarray
    votes: np.ndarray
    cut: np.ndarray


def candidate_steps(maps: dict[str, list[np.ndarray]], point: tuple[int, int]) -> Steps[Candidates]:
    """The 8-connected part at ``point`` of the point's region in every map, as it is and with thin bridges cut; small
    holes filled.

    :param maps: label maps ``[h, w]`` by source.
    """
    plain = Distinct(len(maps))
    for source, source_maps in enumerate(maps.values()):
        yield Step(0.5 * source / len(maps), "Searching objects")
        for labels in source_maps:
            parts, _ = ndimage.label(labels == labels[point], EIGHT)
            plain.add(parts == parts[point], source)
    masks, votes = plain.arrays()
    found, all_sources = Distinct(len(maps)), slice(None)
    yield Step(0.5, "Searching objects")
    for mask, own in zip(masks, votes, strict=True):
        found.add(small_holes_filled(mask), all_sources, own)
    uncut = len(found.masks)
    yield Step(0.8, "Searching objects")
    for cut, own in zip(_bridges_cut(masks, point), votes, strict=True):
        if cut is not None:
            found.add(small_holes_filled(cut), all_sources, own)
    return Candidates(*found.arrays(), np.arange(len(found.masks)) >= uncut)


def central_steps(maps: dict[str, list[np.ndarray]]) -> Steps[Candidates | None]:
    """For a picture of one object: in every map the component with the largest area, weighted towards the centre, among
    those that hardly touch the frame, with large companions of the same region; holes filled. None if there is none."""
    found = Distinct(len(maps))
    for source, source_maps in enumerate(maps.values()):
        for labels in source_maps:
            yield Step(source / len(maps), "Searching the main object")
            mask = _central_component(labels)
            if mask is not None:
                found.add(mask, source)
    return Candidates(*found.arrays(), np.zeros(len(found.masks), bool)) if found.masks else None


class Distinct:
    """Masks of one shape as they come in, equal ones once, with the votes of the sources that propose them."""

    def __init__(self, sources: int):
        self.masks: list[np.ndarray] = []
        self._votes: list[np.ndarray] = []
        self._place: dict[bytes, int] = {}
        self._sources = sources

    def add(self, mask: np.ndarray, source: int | slice, votes: int | np.ndarray = 1) -> int:
        """Adds ``votes`` of a source, or of all sources, for ``mask``; the number of that mask."""
        place = self._place.setdefault(np.packbits(mask).tobytes(), len(self.masks))
        if place == len(self.masks):
            self.masks.append(mask)
            self._votes.append(np.zeros(self._sources, np.int32))
        self._votes[place][source] += votes
        return place

    def number_of(self, mask: np.ndarray) -> int:
        """The number of a mask that was added."""
        return self._place[np.packbits(mask).tobytes()]

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """All masks, bool ``[n, ...]``, and their votes, int ``[n, sources]``."""
        return np.stack(self.masks), np.stack(self._votes)


def without_holes(mask: np.ndarray) -> np.ndarray:
    """``mask`` (bool ``[h, w]``) with all holes filled, as ``binary_fill_holes`` does, which takes longer."""
    parts, _ = ndimage.label(~np.pad(mask, 1))  # what lies around it is part number 1
    return (parts != 1)[1:-1, 1:-1]


def small_parts(mask: np.ndarray, share: float, corners: bool = False) -> np.ndarray:
    """Those parts of ``mask`` (bool, of any number of axes) that are smaller than ``share`` of the largest one, bool.

    :param corners: whether samples whose corners touch belong together.
    """
    parts, _ = ndimage.label(mask, ndimage.generate_binary_structure(mask.ndim, mask.ndim if corners else 1))
    sizes = np.bincount(parts.ravel())
    sizes[0] = sizes[1:].max(initial=0)  # what lies around them is none
    return (sizes < share * sizes[0])[parts]


def small_holes_filled(mask: np.ndarray) -> np.ndarray:
    """``mask`` (bool, of any number of axes) with the holes filled that are below 5 % of it each."""
    box = bounding_box(mask)
    if box is None:
        return mask
    inside = np.pad(mask[box], 1)  # what lies around it is one background part, number 1
    parts, count = ndimage.label(~inside)
    if count < 2:
        return mask
    small = np.bincount(parts.ravel()) <= _SMALL_HOLE * np.count_nonzero(inside)
    small[:2] = False
    filled = mask.copy()
    filled[box] |= small[parts][(slice(1, -1),) * mask.ndim]
    return filled


def deepest_point(mask: np.ndarray) -> tuple[int, int]:
    """The sample of ``mask`` (bool ``[h, w]``) that lies farthest from its border."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    return two(map(int, np.unravel_index(depth.argmax(), depth.shape)))


def _bridges_cut(masks: np.ndarray, point: tuple[int, int]) -> list[np.ndarray | None]:
    """Each mask without what hangs on the part at ``point`` by a bridge thinner than about four pixels: eroded by two,
    the part nearest to the point kept, grown back inside the mask. None where nothing is left or near."""
    out: list[np.ndarray | None] = []
    for start in range(0, len(masks), CAPACITY):
        part = masks[start : start + CAPACITY]
        cores = eroded(eroded(stacked(part), False), False)
        kept = np.zeros_like(cores)
        for i, mask in enumerate(part):
            box = box_around(mask)
            parts, _ = ndimage.label(layer(cores[box], i), EIGHT)
            number = _nearest_part(parts, (point[0] - box[0].start, point[1] - box[1].start))
            if number is not None:
                kept[box] |= (parts == number).astype(np.uint64) << np.uint64(i)
        grown = dilated(dilated(kept, False), True)
        for i, mask in enumerate(part):
            cut = mask & layer(grown, i)
            out.append(cut if cut.any() else None)
    return out


def _nearest_part(parts: np.ndarray, point: tuple[int, int]) -> int | None:
    """Number of the part that holds ``point`` or lies nearest to it within :data:`_REACH` pixels; None if none does."""
    if parts[point]:
        return int(parts[point])
    top, left = max(0, point[0] - _REACH), max(0, point[1] - _REACH)
    near = parts[top : point[0] + _REACH + 1, left : point[1] + _REACH + 1]
    rows, columns = np.nonzero(near)
    if rows.size == 0:
        return None
    nearest = np.argmin((rows + top - point[0]) ** 2 + (columns + left - point[1]) ** 2)
    return int(near[rows[nearest], columns[nearest]])


def _central_component(labels: np.ndarray) -> np.ndarray | None:
    height, width = labels.shape
    parts, region = _components(labels)
    count = region.size
    frame = np.concatenate((parts[0], parts[-1], parts[1:-1, 0], parts[1:-1, -1]))
    free = np.bincount(frame, minlength=count) <= _FRAME_CONTACT * frame.size
    if not free.any():
        return None
    rows = np.exp(-(((np.arange(height) - height / 2) * _CENTRE_SPREAD / height) ** 2) / 2)
    columns = np.exp(-(((np.arange(width) - width / 2) * _CENTRE_SPREAD / width) ** 2) / 2)
    weight = np.bincount(parts.ravel(), weights=np.outer(rows, columns).ravel(), minlength=count)
    area = np.bincount(parts.ravel(), minlength=count)
    best = np.argmax(np.where(free, weight, -1))
    joined = free & (region == region[best]) & (area >= _COMPANION * area[best])
    return without_holes(joined[parts])


def _components(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All 8-connected components of a label map, numbered from 0, and the label of each."""
    parts = np.zeros(labels.shape, np.int32)
    region: list[int] = []
    for label, box in enumerate(ndimage.find_objects(labels.astype(np.int32) + 1)):
        if box is None:  # no sample has this label
            continue
        own = labels[box] == label
        numbered, count = ndimage.label(own, EIGHT)
        parts[box][own] = numbered[own] + (len(region) - 1)
        region += [label] * count
    return parts, np.array(region)


def stacked(masks: np.ndarray) -> np.ndarray:
    """Bool masks ``[n, h, w]`` (n <= 64) as uint64 ``[h, w]``: bit i is mask i."""
    stack = np.zeros(masks.shape[1:], np.uint64)
    for i, mask in enumerate(masks):
        box = box_around(mask)
        stack[box] |= mask[box].astype(np.uint64) << np.uint64(i)
    return stack


def layer(stack: np.ndarray, i: int) -> np.ndarray:
    """Mask ``i`` of ``stack``, bool."""
    return (stack & (np.uint64(1) << np.uint64(i))) != 0


def layers(stack: np.ndarray, count: int) -> np.ndarray:
    """The first ``count`` masks of ``stack``, float32 ``[count, h * w]``."""
    bits = np.arange(count, dtype=np.uint64)[:, None]
    return ((stack.reshape(1, -1) >> bits) & np.uint64(1)).astype(np.float32)


def eroded(stack: np.ndarray, diagonal: bool) -> np.ndarray:
    """Without the samples that have a neighbour outside the mask (4 neighbours, with ``diagonal`` 8). What lies beyond
    the slice counts as outside."""
    return _spread(stack, diagonal, np.bitwise_and, border_counts=True)


def dilated(stack: np.ndarray, diagonal: bool) -> np.ndarray:
    """With the neighbours of the masks' samples (4 neighbours, with ``diagonal`` 8)."""
    return _spread(stack, diagonal, np.bitwise_or, border_counts=False)


def _spread(stack: np.ndarray, diagonal: bool, join: np.ufunc, border_counts: bool) -> np.ndarray:
    if diagonal:  # a square is two lines, one after the other
        lines = _line(stack, 0, join, border_counts)
        return _line(lines, 1, join, border_counts)
    return join(_line(stack, 0, join, border_counts), _line(stack, 1, join, border_counts))


def _line(stack: np.ndarray, axis: int, join: np.ufunc, border_counts: bool) -> np.ndarray:
    """Each sample joined with its two neighbours along ``axis``."""
    out = stack.copy()
    view, source = np.moveaxis(out, axis, 0), np.moveaxis(stack, axis, 0)
    join(view[1:], source[:-1], out=view[1:])
    join(view[:-1], source[1:], out=view[:-1])
    if border_counts:
        view[0] = 0
        view[-1] = 0
    return out
