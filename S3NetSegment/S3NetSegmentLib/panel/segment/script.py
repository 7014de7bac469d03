"""Segment for scripts: points in, segments out; no widgets, nothing written before the end."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from typing import Any

from ...engine import InputError, Volume
from ...engine.common.progress import Steps
from ...engine.tasks.fields import camel_case, from_script
from ...engine.tasks.segment import SegmentTask
from ...scene.answers.provenance import other_grid_text
from ...scene.prompts import box_of, points_from_markups, stroke_voxels, volume_of
from ...scene.segmentation.segment_slices import other_segments
from ...scene.volumes import volume_from_node
from .answer import SegmentAnswer, object_steps
from .request import Pointed, drawn_elsewhere, make_request
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


def segment_steps(volume_node, options: dict) -> Steps:
    """What ``S3NetSegmentLogic.segmentSteps`` does: steps that return the segmentation node.

    :param options: fields of :class:`Where`; the others are those of :class:`SegmentTask`.
    :raises TypeError: an option that there is not. :raises InputError: a value that cannot be used.
    """
    where = Where(**{name: options.pop(name) for name in list(options) if name in Where.__dataclass_fields__})
    for name, voxels_of in (("boxes", _box_of_node), ("strokes", _stroke_of_node), ("notStrokes", _stroke_of_node)):
        if isinstance(options.get(name), (list, tuple)):
            options[name] = [voxels_of(drawn, volume_node) for drawn in options[name]] or None
    for name in ("points", "notPoints"):
        if hasattr(options.get(name), "GetNumberOfControlPoints"):
            options[name] = points_from_markups(options[name])
        if name in options and options[name] is not None and not len(options[name]):
            options[name] = None
    if "sliceRange" in options:
        options["slices"] = options.pop("sliceRange")
    task = from_script(SegmentTask, options)
    for text in task.contradictions(camel_case):
        raise InputError(text)
    return _steps(volume_node, where, task)


def _steps(volume_node, where: Where, task: SegmentTask) -> Steps:
    from ...engine.segment.find_regions import find_regions
    from ...engine.segment.run import asked_notes, at_asked_step

    volume = volume_from_node(volume_node)
    request = make_request(
        volume_node,
        where.scope,
        slice_node=where.sliceNode,
        slice_range=task.slices,
        axis=task.axis,
        roi_node=where.roiNode,
        pointed=_pointed(task, volume),
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
    asked = asked_notes(task, volume, request.extent or request.volume.extent, request.prompts.boxes, answer.choice)
    for note in [*found.notes, *asked]:
        logging.warning("S3NetSegment: %s", note)
    warn_of_other_grid(where.segmentationNode, volume_node)
    result = SegmentResult(answer, where.segmentationNode, where.segmentId)
    if where.confidence:
        result.show_confidence()
    return result.node


def _box_of_node(box, volume_node):
    """The corners of an ROI node in voxels; what is not a node stays as it is."""
    if not hasattr(box, "GetObjectToNodeMatrix"):
        return box
    drawn_on = volume_of(box)
    if drawn_on is not None and drawn_on is not volume_node:
        raise InputError(drawn_elsewhere(box, volume_node))
    found = box_of(box, volume_from_node(volume_node))
    if found is None:
        raise InputError(
            f"{box.GetName()!r} was drawn on an oblique view, so its sides say nothing of the slices of "
            f"{volume_node.GetName()!r}; give a box along its axes"
        )
    return [*found.low, *found.high]


def _stroke_of_node(stroke, volume_node):
    """The voxels of a curve node; what is not a node stays as it is."""
    if not hasattr(stroke, "GetNumberOfControlPoints"):
        return stroke
    voxels = stroke_voxels(points_from_markups(stroke), volume_from_node(volume_node))
    if not voxels:
        raise InputError(f"{stroke.GetName()!r} lies beside {volume_node.GetName()!r}; draw it on the image")
    return list(voxels)


def _pointed(task: SegmentTask, volume: Volume) -> Pointed:
    from ...engine.segment.run import asked_prompts

    in_voxels = dataclasses.replace(task, points=(), not_points=())  # positions stay as exact as they were given
    asked = asked_prompts(in_voxels, volume, None, volume.slice_axis(task.axis))

    def places(voxels):
        return [tuple(volume.ras_of(voxel)) for voxel in voxels]

    return Pointed(
        [*task.points, *places(asked.inside)], [*task.not_points, *places(asked.outside)], asked.boxes,
        [places(stroke) for stroke in asked.strokes], [places(stroke) for stroke in asked.outside_strokes], task.radius,
    )  # fmt: skip


def warn_of_other_grid(segmentation_node, volume_node) -> None:
    """A script says where its result goes; it is warned where that is made for another image."""
    text = other_grid_text(segmentation_node, volume_node) if segmentation_node is not None else ""
    if text:
        logging.warning("S3NetSegment: %s; each voxel of it took the nearest voxel of the result", text)
