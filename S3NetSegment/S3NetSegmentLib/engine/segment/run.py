"""Segment as one task from an image to a segmentation, and what comes of it.

The command line, batches and scripts all go this way; the panel, which asks again and again, uses ``find_regions``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..common.errors import InputError
from ..common.progress import Steps, as_part_of
from ..common.provenance import SEGMENT, OutcomeFacts, TaskFacts, provenance
from ..images import AXES, Extent, Segmentation, Volume
from ..images.overlay import draw_overlay
from ..results import embedded, ladder, object_segmentation, region_segmentation
from ..tasks.segment import SegmentTask
from .find_regions import Regions, find_regions
from .object_choice import ObjectChoice
from .prompts import Box, Prompts, Voxel, beyond_note, line_through


@dataclass(eq=False)
class SegmentOutcome:
    """What came of a task.

    :param choice: the object, None where none is wanted or found.
    :param prompts: points, boxes and strokes as voxels.
    :param count: number of regions among the segments, 0 for the object alone.
    :param notes: what the user should know.
    """

    task: SegmentTask
    regions: Regions
    choice: ObjectChoice | None
    prompts: Prompts
    segmentation: Segmentation
    notes: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        return self.task.region_count

    def confidence_steps(self) -> Steps[Volume]:
        """Each voxel's confidence, float32 0 to 1, on the grid of the image, as a generator of progress steps."""
        regions = self.regions
        part = yield from regions.confidence_steps(None if self.count else self.choice, self.count or None)
        whole = embedded(part.astype(np.float32, copy=False), regions.volume, regions.extent)
        return Volume(whole, regions.volume.ijk_to_ras, "confidence")

    def agreement(self) -> float | None:
        """How unanimous the candidates are about the object, 0 to 1: mean of :meth:`ObjectChoice.unanimity` inside it.
        None without an object."""
        if self.choice is None:
            return None
        chosen = self.choice.working_mask()
        if not chosen.any():
            return None
        return float(self.choice.unanimity()[chosen].mean())

    def shown_slice(self) -> int:
        """The slice of the first point, stroke or box, else the one with most of the object, else the middle one."""
        return self.regions.slice_to_show(self.prompts, self.choice)

    def picture(self, size: int) -> np.ndarray:
        """The result on :meth:`shown_slice`, uint8 ``[H, W, 3]``, ``size`` pixels long."""
        regions, index = self.regions, self.shown_slice()
        volume = regions.volume
        prompts = self.prompts
        marks, not_marks = (_positions(points, volume) for points in (prompts.inside, prompts.outside))
        cut = (box.on_slice(regions.axis, index) for box in prompts.boxes)
        return draw_overlay(
            volume, self.segmentation, axis=regions.axis, index=index, size=size, points=marks, not_points=not_marks,
            boxes=[(box.low, box.high) for box in cut if box is not None],
            strokes=[[v for v in stroke if v[AXES.index(regions.axis)] == index] for stroke in prompts.strokes],
        )  # fmt: skip


def segment_image(volume: Volume, task: SegmentTask, device: str = "auto") -> Steps[SegmentOutcome]:
    """Does ``task`` on ``volume``, as a generator of progress steps.

    :param device: see :func:`find_regions`.
    :raises InputError: points or slices outside the image, settings out of range, an image without contrast.
    :raises ResourceError: the memory of the machine is not enough.
    """
    settings = task.engine_settings()
    axis = volume.slice_axis(task.axis)
    extent = None if task.slices is None else Extent.slab(volume, axis, *task.slices)
    prompts = asked_prompts(task, volume, extent, axis)
    search = find_regions(volume, extent=extent, axis=axis, settings=settings, device=device)
    regions = yield from as_part_of(search, 0.0, 0.98)
    choice = yield from as_part_of(_chosen(regions, prompts, task), 0.98, 1.0)
    asked = TaskFacts(
        SEGMENT, volume.name, settings, _positions(prompts.inside, volume), _positions(prompts.outside, volume),
        boxes=[[*volume.ras_of(box.low), *volume.ras_of(box.high)] for box in prompts.boxes],
        strokes=[f"{len(stroke)} voxels from {stroke[0]} to {stroke[-1]}" for stroke in prompts.strokes],
        radius_mm=task.radius, preset=task.preset,
    )  # fmt: skip
    step = "{step} of {steps}".format(**ladder(choice)) if choice is not None else None
    tags = provenance(asked, OutcomeFacts(regions.device, "object", step))
    notes = list(regions.notes)
    if task.region_count:
        of_regions = provenance(asked, OutcomeFacts(regions.device, "region", regions=task.region_count))
        segmentation = region_segmentation(regions, task.region_count, choice, of_regions, tags)
        found = len(segmentation.segments) - (choice is not None)
        if found < task.region_count:
            notes.append(
                f"only {found} of {task.region_count} regions can be told apart in this image; the others are left out"
            )
    else:
        segmentation = object_segmentation(regions, choice, tags)
    if device not in ("auto", "cpu") and regions.device == "cpu" and not regions.uses_network:
        notes.append(f"this image was segmented without the network, on the CPU; device {device} was not needed")
    notes += asked_notes(task, volume, regions.extent, prompts.boxes, choice)
    if not task.region_count and choice is not None and not choice.mask.any():
        notes.append("the object is empty: what was marked outside took all of it away")
    return SegmentOutcome(task, regions, choice, prompts, segmentation, notes)


def clipped_notes(choice: ObjectChoice | None, task: SegmentTask) -> list[str]:
    """What the user should know of a step beyond an end of the ladder, which takes the last candidate there."""
    if choice is None or not task.step or not choice.alternatives:
        return []
    wanted = choice.alternatives[0] + task.step
    if 0 <= wanted < choice.steps:
        return []
    end = f"the {'largest' if task.step > 0 else 'smallest'} of {choice.steps} candidates was taken"
    return [f"step {task.step:+d} goes beyond the candidates found here; {end}"]


def asked_notes(
    task: SegmentTask, volume: Volume, extent: Extent, boxes: Sequence[Box], choice: ObjectChoice | None
) -> list[str]:
    """What the user should know of what was asked. ``extent``: the searched part; ``boxes``: those of the task as voxels."""
    notes = clipped_notes(choice, task)
    longest = float(np.linalg.norm(np.multiply(volume.spacing, volume.size)))
    if task.radius is not None and 2 * task.radius > longest:
        notes.append(
            f"a radius of {task.radius:g} mm is more than the image holds, whose diagonal has {longest:.0f} mm"
        )
    finest = min(volume.spacing)
    if task.radius is not None and 2 * task.radius < finest:
        notes.append(f"a radius of {task.radius:g} mm is less than a voxel of {finest:.3g} mm holds; is it in mm?")
    shown_in = ((box, extent.slice_at(box.flat_axis, box.slice_index()) if box.flat_axis else extent) for box in boxes)
    covering = (box for box, part in shown_in if box.covers(part))
    return [
        *notes, *beyond_notes(task, volume),
        *(f"box {box} covers all of the searched part, so it says nothing; draw it around the object" for box in covering),
    ]  # fmt: skip


def _positions(voxels: Sequence[Voxel], volume: Volume) -> list[tuple[float, ...]]:
    return [tuple(volume.ras_of(voxel)) for voxel in voxels]


def _chosen(regions: Regions, prompts: Prompts, task: SegmentTask) -> Steps[ObjectChoice | None]:
    """The object asked for, or None where none is wanted or found."""
    choice: ObjectChoice | None
    if prompts.find_something:
        choice = yield from regions.object_steps(prompts, task.radius)
    elif task.regions_only:
        return None
    else:
        choice = regions.main_object()
    return at_asked_step(choice, task)


def at_asked_step(choice: ObjectChoice | None, task: SegmentTask) -> ObjectChoice | None:
    """``choice`` at the step or the alternative that ``task`` asks for. InputError if there is none."""
    if choice is None:
        if task.step or task.alternative:
            raise InputError(
                "no main object was found in this image, so there is no other choice; point at one with a point"
            )
        return None
    if task.alternative:
        if task.alternative > len(choice.alternatives):
            raise InputError(
                f"alternative {task.alternative}: only {len(choice.alternatives)} distinct answer(s) were found here"
            )
        return choice.at(choice.alternatives[task.alternative - 1])
    return choice.at(choice.index + task.step) if task.step else choice


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
