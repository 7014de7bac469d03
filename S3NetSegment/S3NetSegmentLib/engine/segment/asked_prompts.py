"""What a task points at, as voxels of its image: positions in mm and voxels are checked, and told in the words in which they were given."""

from __future__ import annotations

import numpy as np

from ..common.errors import InputError
from ..images import AXES, Extent, Volume
from ..tasks.segment import SegmentTask
from .prompts import Box, Prompts, Voxel, beyond_note, line_through


def asked_prompts(task: SegmentTask, volume: Volume, extent: Extent | None, axis: str) -> Prompts:
    """What ``task`` points at as voxels of the volume. Raises InputError for what lies outside the image or its part.

    :param extent: the chosen part, None: everywhere. ``axis``: across the slices.
    """
    part = extent or volume.extent
    boxes = []
    for corners in task.boxes:
        if len(corners) == 4:
            k = _only_slice(f"box {shown(corners)}", "i,j,k,i,j,k", volume, axis, task.slices)
            corners = (*corners[:2], k, *corners[2:], k)
        boxes.append(Box.between(corners[:3], corners[3:]))
    boxes += [_box_at(place, volume) for place in task.boxes_mm]
    clipped = []
    for box in boxes:
        box.clipped(volume.extent)  # outside the image is another fault than on another slice
        _require_chosen(f"box {box}", box, part, axis)
        clipped.append(box.clipped(part))
    inside, outside = (
        tuple(asked_voxels(*p, volume, extent, axis, task.slices))
        for p in ((task.points, task.pixels), (task.not_points, task.not_pixels))
    )
    strokes, outside_strokes = (
        tuple(line_through(asked_voxels((), stroke, volume, extent, axis, task.slices)) for stroke in of_kind)
        for of_kind in (task.strokes, task.not_strokes)
    )
    found = Prompts(inside, outside, tuple(clipped), strokes, outside_strokes)
    return found.checked(part) if found.find_something else found


def beyond_notes(task: SegmentTask, volume: Volume) -> list[str]:
    """What the user should know of boxes of ``task`` that reach beyond the image; in mm by more than a voxel."""
    boxes = []
    for box in task.boxes:
        low, high = box[: len(box) // 2], box[len(box) // 2 :]
        boxes.append((shown(box), Box.between((*low, 0)[:3], (*high, 0)[:3]), 0))
    boxes += [(f"{shown(place)} (R,A,S,R,A,S, mm)", _box_at(place, volume), 1) for place in task.boxes_mm]
    return [beyond_note(text, volume.size) for text, box, slack in boxes if box.beyond(volume.size, slack)]


def asked_voxels(
    positions, pixels, volume: Volume, extent: Extent | None, axis: str, slices: tuple[int, int] | None
) -> list[Voxel]:
    """Points in mm and pixels as voxels of the volume. Raises InputError for those outside the image or its part.

    :param slices: the chosen slices; a pixel (i, j) lies in the only one.
    """
    found = [(f"point {shown(point)} (RAS, mm)", _voxel_at(point, volume)) for point in positions]
    for pixel in pixels:
        text = shown(pixel)
        if len(pixel) == 2:
            pixel = (*pixel, _only_slice(f"pixel {text}", "i,j,k", volume, axis, slices))
        if not volume.extent.contains(pixel):
            limits = ", ".join(f"{name} 0 to {size - 1}" for name, size in zip("ijk", volume.size, strict=True))
            raise InputError(f"pixel {text} is outside image {volume.name!r}, which has {limits}")
        found.append((f"pixel {text}", pixel))
    for text, place in found:
        _require_chosen(text, Box(place, place), extent or volume.extent, axis)
    return [place for _, place in found]


def _only_slice(text: str, whole: str, volume: Volume, axis: str, slices: tuple[int, int] | None) -> int:
    """The slice k that a position without one means. InputError for ``text`` where there are several; ``whole``: how to write it."""
    if volume.size[2] == 1:
        return 0
    if axis != "z" or slices is None or slices[0] != slices[1]:
        raise InputError(f"{text} names no slice, but the image has {volume.size[2]}; write {whole}")
    return slices[0]


def _require_chosen(text: str, box: Box, part: Extent, axis: str) -> None:
    """InputError where nothing of ``box`` lies in ``part``, the chosen slices across ``axis``."""
    if not box.meets(part):
        number = box.low[AXES.index(axis)]
        raise InputError(
            f"{text} lies in slice {number} along {axis}, which is not among the chosen slices; include that slice"
        )


def _voxel_at(point: tuple[float, ...], volume: Volume) -> Voxel:
    """The voxel at a position in mm. InputError if that is outside, with what the position may be instead."""
    try:
        return volume.voxel_at(point)
    except InputError as error:
        hints = []
        mirrored = (-point[0], -point[1], point[2])
        index = np.floor(volume.index_of(mirrored) + 0.5)
        if volume.extent.contains([int(v) for v in index]):
            hints.append(f"if it was given as LPS, write {shown(mirrored)}")
        if all(v == int(v) for v in point) and volume.extent.contains([int(v) for v in point]):
            hints.append(f"if it is a voxel i,j,k, say so: a pixel {shown(point)}")
        if not hints:
            raise
        raise InputError(f"{error}; {'; '.join(hints)}") from None


def _box_at(place: tuple[float, ...], volume: Volume) -> Box:
    """The voxels between two corners in mm. InputError for a box outside the image, with what it may be instead."""
    x, y, z, *other = place
    box = _voxels_between((x, y, z), other, volume)
    if not box.meets(volume.extent):
        mirrored = (-x, -y, z, -other[0], -other[1], other[2])
        as_lps = _voxels_between(mirrored[:3], mirrored[3:], volume)
        hint = f"; if it was given as LPS, write {shown(mirrored)}" if as_lps.meets(volume.extent) else ""
        corners = [volume.ras_of(end) for end in ((0, 0, 0), [n - 1 for n in volume.size])]
        raise InputError(
            f"box {shown(place)} (R,A,S,R,A,S, mm) is outside image {volume.name!r}, whose corners lie at {shown(corners[0])} and "
            f"{shown(corners[1])}{hint}"
        )
    return box


def _voxels_between(one, other, volume: Volume) -> Box:
    ends = (np.clip(volume.index_of(end), -1e9, 1e9) for end in (one, other))
    return Box.between(*(np.floor(end + 0.5) for end in ends))


def shown(values) -> str:
    return ",".join(f"{value:g}" for value in values)
