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
from .asked_prompts import asked_prompts, beyond_notes
from .find_regions import Regions, find_regions
from .object_choice import ObjectChoice
from .prompts import Box, Prompts, Voxel


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
        choice = yield from regions.object_steps(
            prompts.inside, prompts.outside, task.radius, boxes=prompts.boxes, strokes=prompts.strokes,
            outside_strokes=prompts.outside_strokes,
        )  # fmt: skip
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
