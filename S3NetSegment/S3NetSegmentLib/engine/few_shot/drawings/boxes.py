"""Boxes as drawings: the object in each box is found in its slice and counts as drawn there.

All segments with boxes on a slice are answered together. Where the box of one lies in that of another, as that of a cavity in that of
its wall, the inner one is answered first and is no part of the outer one, which becomes a ring; where others claim the same pixels,
each pixel goes to the segment in whose box it lies nearer to the middle.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...common.errors import InputError
from ...common.progress import Step, Steps, as_part_of
from ...images import AXES, Segment, Segmentation, Volume
from ...images.colors import label_colors
from ...images.volume import slices_first
from ...segment.find_regions import find_regions
from ...segment.prompts import Box, Prompts, beyond_note
from ...segment.settings import SegmentSettings
from ...tasks.few_shot import SupportFile
from .overlaps import MOST_SEGMENTS

_NESTED = 0.9  # share of a box that lies in another, from which on it is one inside the other


@dataclass(frozen=True, eq=False)
class BoxedSlice:
    """One slice with boxes.

    :param labels: number of the segment at each pixel, uint8 ``[rows, columns]``, 0: none of them.
    :param expected: number of the segment -> Dice with what its boxes mean, as is to be expected.
    """

    axis: str
    index: int
    labels: np.ndarray
    expected: Mapping[int, float]


@dataclass(frozen=True, eq=False)
class BoxedDrawing:
    """The boxed slices across one axis as a drawing like those in files.

    :param file: stands for them where a file has a name.
    :param notes: what the user should know where a slice counts as completely drawn.
    :param beyond: boxes that reach beyond the image.
    :param expected: name of the segment -> Dice with what its boxes mean, as is to be expected, mean over them.
    """

    file: SupportFile
    axis: str
    segmentation: Segmentation
    notes: tuple[str, ...]
    beyond: tuple[str, ...] = ()
    expected: Mapping[str, float] = field(default_factory=dict)


def boxed_drawings(
    volume: Volume, boxes: Mapping[str, Sequence[Sequence[int]]], *, seed: int = 0, device: str = "auto"
) -> Steps[list[BoxedDrawing]]:
    """``boxes`` (name of the segment -> two corners i, j, k, i, j, k each) as drawings, one for each axis across slices with boxes.

    :raises InputError: see :func:`boxed_slices`.
    """
    names = list(boxes)
    if len(names) > MOST_SEGMENTS:
        raise InputError(f"{len(names)} segments have boxes; {MOST_SEGMENTS} are possible at once")
    numbered = {n: [Box.between(b[:3], b[3:]) for b in boxes[name]] for n, name in enumerate(names, 1)}
    colors, drawings = label_colors(len(names)), []
    slices = yield from boxed_slices(volume, numbered, seed=seed, device=device)
    for axis in dict.fromkeys(found.axis for found in slices):
        own = [found for found in slices if found.axis == axis]
        labels = np.zeros(volume.array.shape[:3], np.uint8)
        for found in own:
            slices_first(labels, axis)[found.index] = found.labels
        places = {name: [f.index for f in own if (f.labels == n).any()] for n, name in enumerate(names, 1)}
        segments = [Segment(name, colors[n], n + 1) for n, name in enumerate(names) if places[name]]
        drawn = tuple(found.index for found in own)
        file = SupportFile(f"the boxes across {axis}", drawn=drawn, is_boxes=True)
        missing = [
            f"slice {index} along {axis} has no box for {name!r}, which counts as absent there; give it one, or say that only what "
            "lies near the boxes is reported (partial)"
            for name, at in places.items()
            for index in drawn
            if at and at[0] < index < at[-1] and index not in at
        ]
        reaching = (box for own_boxes in numbered.values() for box in own_boxes if box.flat_axis == axis)
        beyond = tuple(beyond_note(str(box), volume.size) for box in reaching if box.beyond(volume.size))
        segmentation = Segmentation([labels], segments, volume.ijk_to_ras)
        known = {name: [f.expected[n] for f in own if n in f.expected] for n, name in enumerate(names, 1)}
        expected = {name: float(np.mean(values)) for name, values in known.items() if values}
        drawings.append(BoxedDrawing(file, axis, segmentation, tuple(missing), beyond, expected))
    return drawings


def boxed_slices(
    volume: Volume, boxes: Mapping[int, Sequence[Box]], *, seed: int = 0, device: str = "auto"
) -> Steps[list[BoxedSlice]]:
    """What the boxes of each segment hold, one entry for each slice with boxes, as a generator of progress steps.

    :param boxes: number of the segment, 1 to 254, -> its boxes, each in a slice.
    :raises InputError: a box outside the image, in no single slice, or in which nothing is left for its segment.
    """
    todo: dict[tuple[str, int], dict[int, list[Box]]] = defaultdict(dict)
    for number, own in boxes.items():
        for box in own:
            box = box.clipped(volume.extent)
            if box.flat_axis is None:
                raise InputError(
                    f"box {box} lies in no single slice; a drawing is a box that is flat: give one axis the same number "
                    "twice, e.g. 80,60,14,130,110,14"
                )
            todo[box.flat_axis, box.slice_index()].setdefault(number, []).append(box)
    found = []
    for place, ((axis, index), there) in enumerate(sorted(todo.items())):
        labels, expected = yield from as_part_of(
            _answered(volume, axis, index, there, seed, device), place / len(todo), (place + 1) / len(todo)
        )
        found.append(BoxedSlice(axis, index, labels, expected))
    return found


def _answered(
    volume: Volume, axis: str, index: int, boxes: dict[int, list[Box]], seed: int, device: str
) -> Steps[tuple[np.ndarray, dict[int, float]]]:
    slab = volume.extent.slice_at(axis, index)
    search = find_regions(volume, extent=slab, axis=axis, settings=SegmentSettings(seed=seed), device=device)
    regions = yield from as_part_of(search, 0.0, 0.7)
    masks: dict[int, np.ndarray] = {}
    expected: dict[int, float] = {}
    order = sorted(boxes, key=lambda number: sum(box.voxels for box in boxes[number]))
    for place, number in enumerate(order):
        share = 0.3 / len(order)
        yield Step(0.7 + place * share, "Finding what the boxes hold")
        inner = [m for m in masks if all(_lies_in(box, boxes[number]) for box in boxes[m])]
        taken = np.logical_or.reduce([masks[m] for m in inner]) if inner else None
        closed = None if taken is None else np.expand_dims(taken, 2 - AXES.index(axis))
        steps = regions.object_steps(Prompts(boxes=tuple(boxes[number])), excluded=closed)
        choice = yield from as_part_of(steps, 0.7 + place * share, 0.7 + (place + 1) * share)
        expected[number] = choice.expected_in_box
        mask = slices_first(choice.mask, axis)[0]
        masks[number] = mask.copy() if taken is None else mask & ~taken
        for other in masks.keys() - {number, *inner}:
            _parted(masks, number, other, boxes, axis)
    labels = np.zeros(next(iter(masks.values())).shape, np.uint8)
    for number, mask in masks.items():
        if not mask.any():
            raise InputError(
                f"in slice {index} along {axis} nothing is left in box {boxes[number][0]}; draw it around its own object, or leave it out"
            )
        labels[mask] = number
    return labels, expected


def _lies_in(box: Box, others: Sequence[Box]) -> bool:
    return any(o.voxels > box.voxels and box.common(o) >= _NESTED * box.voxels for o in others)


def _parted(masks: dict[int, np.ndarray], one: int, other: int, boxes: dict[int, list[Box]], axis: str) -> None:
    """Takes what both hold from that in whose box it lies farther from the middle."""
    both = masks[one] & masks[other]
    if both.any():
        nearer = _from_middle(boxes[one], axis, both.shape) <= _from_middle(boxes[other], axis, both.shape)
        masks[one] = masks[one] & (~both | nearer)
        masks[other] = masks[other] & (~both | ~nearer)


def _from_middle(boxes: Sequence[Box], axis: str, shape: tuple[int, int]) -> np.ndarray:
    """Distance of each pixel of a slice from the middle of the nearest box, 1 at its sides, float ``[rows, columns]``."""
    rows, columns = (a for a in reversed(range(3)) if AXES[a] != axis)
    found = np.full(shape, np.inf)
    for box in boxes:
        sides = [
            np.abs(np.arange(n) - (box.low[a] + box.high[a]) / 2) / ((box.size[a]) / 2)
            for a, n in zip((rows, columns), shape, strict=True)
        ]
        found = np.minimum(found, np.maximum(sides[0][:, None], sides[1][None]))
    return found
