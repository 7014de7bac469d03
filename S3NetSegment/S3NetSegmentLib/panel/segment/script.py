"""Segment for scripts: points in, segments out; no widgets, nothing written before the end."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...engine import InputError, Volume
from ...engine.common.progress import Steps
from ...engine.segment.prompts import Box
from ...engine.tasks.fields import camel_case, from_script
from ...engine.tasks.segment import SegmentTask
from ...scene.answers.belonging import other_grid_text
from ...scene.points import points_from_markups
from ...scene.segmentation.other_segments import other_segments
from ...scene.volumes import volume_from_node
from .answer import SegmentAnswer, object_steps
from .request import Pointed, make_request
from .result import SegmentResult


@dataclass(frozen=True)
class Where:
    """What a script says of the scene: which part of the volume, and where the answer goes. See
    ``S3NetSegmentLogic.segmentSteps``."""

    scope: str = "volume"
    sliceNode: Any = None
    roiNode: Any = None
    segmentationNode: Any = None
    segmentId: str = ""
    granularity: int | None = None
    device: str = "auto"
    confidence: bool = False
    keepOut: bool = True


@dataclass(frozen=True)
class Drawn:
    """Boxes and strokes of a script.

    :param boxes: ROI nodes, or two opposite corners (i, j, k, i, j, k), both included.
    :param strokes, notStrokes: curve nodes, or lists of voxels (i, j, k), through the object and through what is outside.
    """

    boxes: Sequence = ()
    strokes: Sequence = ()
    notStrokes: Sequence = ()

    @property
    def find_something(self) -> bool:
        return bool(len(self.boxes) or len(self.strokes))


def segment_steps(volume_node, options: dict) -> Steps:
    """What ``S3NetSegmentLogic.segmentSteps`` does: steps that return the segmentation node.

    :param options: fields of :class:`Where`; the others are those of :class:`SegmentTask`.
    :raises TypeError: an option that there is not. :raises InputError: a value that cannot be used.
    """
    where = Where(**{name: options.pop(name) for name in list(options) if name in Where.__dataclass_fields__})
    drawn = Drawn(**{name: options.pop(name) or () for name in list(options) if name in Drawn.__dataclass_fields__})
    for name in ("points", "notPoints"):
        if hasattr(options.get(name), "GetNumberOfControlPoints"):
            options[name] = points_from_markups(options[name])
        if name in options and options[name] is not None and not len(options[name]):
            options[name] = None
    if "sliceRange" in options:
        options["slices"] = options.pop("sliceRange")
    task = from_script(SegmentTask, options)
    if drawn.find_something and (task.regions is not None or task.regions_only):
        raise InputError(
            "regions and regionsOnly have no meaning with boxes or strokes, which give one object; leave them out"
        )
    # Boxes and strokes say where the object is; what lies outside needs no further point then.
    asked = dataclasses.replace(task, not_points=(), not_pixels=()) if drawn.find_something else task
    for text in asked.contradictions(camel_case):
        raise InputError(text)
    return _steps(volume_node, where, task, drawn)


def _steps(volume_node, where: Where, task: SegmentTask, drawn: Drawn) -> Steps:
    from ...engine.segment.find_regions import find_regions
    from ...engine.segment.run import at_asked_step, clipped_notes

    volume = volume_from_node(volume_node)
    request = make_request(
        volume_node,
        where.scope,
        slice_node=where.sliceNode,
        slice_range=task.slices,
        axis=task.axis,
        roi_node=where.roiNode,
        pointed=_pointed(task, drawn, volume),
        settings=task.settings_with(task.regions),  # without a number the middle one of those prepared is shown
        preset=task.preset,
        device=where.device,
    )
    if where.keepOut and request.has_prompts:
        others = other_segments(where.segmentationNode, where.segmentId, request.geometry)
        request = request.keeping_out(others)
    found = yield from find_regions(
        request.volume, extent=request.extent, axis=request.axis, settings=request.settings, device=where.device
    )
    choice = (yield from object_steps(found, request)) if request.has_prompts else None
    answer = SegmentAnswer(request, found, task.regions, where.granularity, choice)
    if task.regions_only:
        answer.choice = None
    elif task.step or task.alternative:
        answer.choice = at_asked_step(answer.choice, task)
    for note in [*found.notes, *clipped_notes(answer.choice, task)]:
        logging.info("S3NetSegment: %s", note)
    warn_of_other_grid(where.segmentationNode, volume_node)
    result = SegmentResult(answer, where.segmentationNode, where.segmentId)
    if where.confidence:
        result.show_confidence()
    return result.node


def _pointed(task: SegmentTask, drawn: Drawn, volume: Volume) -> Pointed:
    from ...engine.segment.run import asked_voxels

    inside, outside = (
        [*positions, *map(volume.ras_of, asked_voxels((), pixels, volume, None, task.axis, task.slices))]
        for positions, pixels in ((task.points, task.pixels), (task.not_points, task.not_pixels))
    )
    boxes = [box if hasattr(box, "GetObjectToNodeMatrix") else _box(box) for box in drawn.boxes]
    strokes, outside_strokes = (
        [_stroke(stroke, volume) for stroke in strokes] for strokes in (drawn.strokes, drawn.notStrokes)
    )
    return Pointed(inside, outside, boxes, strokes, outside_strokes, task.radius)


def _box(box) -> Box:
    """Six numbers as a box. InputError for others."""
    if not isinstance(box, Box):
        numbers = _whole(box, "box", "an ROI node or two corners (i, j, k, i, j, k)")
        if len(numbers) != 6:
            raise InputError(f"box {tuple(box)} has {len(numbers)} numbers; give two corners (i, j, k, i, j, k)")
        box = Box.between(numbers[:3], numbers[3:])
    return box


def _stroke(stroke, volume: Volume):
    """A stroke as world positions. InputError for what is none."""
    if hasattr(stroke, "GetNumberOfControlPoints"):
        return stroke
    voxels = [_whole(voxel, "voxel", "(i, j, k)") for voxel in stroke]
    for voxel in voxels:
        if len(voxel) != 3 or not volume.extent.contains(voxel):
            raise InputError(f"voxel {voxel} of a stroke is not in {volume.name!r}, whose size is {volume.size}")
    return [tuple(volume.ras_of(voxel)) for voxel in voxels]


def _whole(numbers, what: str, wanted: str) -> tuple[int, ...]:
    try:
        found = tuple(int(number) for number in numbers)
        exact = all(number == given for number, given in zip(found, numbers, strict=True))
    except (TypeError, ValueError, OverflowError):
        exact = False
    if not exact:
        raise InputError(f"{what} {numbers!r} cannot be used; give {wanted}, whole numbers")
    return found


def warn_of_other_grid(segmentation_node, volume_node) -> None:
    """A script says where its result goes; it is warned where that is made for another image."""
    text = other_grid_text(segmentation_node, volume_node) if segmentation_node is not None else ""
    if text:
        logging.warning("S3NetSegment: %s; each voxel of it took the nearest voxel of the result", text)
