"""What the module's logic does for scripts: Segment and Few-shot from start to end, written into the scene."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..engine import InputError, Volume
from ..engine.common.progress import Steps
from ..engine.few_shot.answer import notes as outlook_notes
from ..engine.few_shot.settings import FewShotSettings
from ..engine.tasks.fields import camel_case, from_script
from ..engine.tasks.segment import SegmentTask
from ..scene.answers.confidence import ConfidenceOverlay, doubtful_part
from ..scene.answers.few_shot_writing import AnsweredSlices, write_few_shot
from ..scene.answers.provenance import few_shot_tags, other_grid_text
from ..scene.drawings.drawn_slices import other_volume_support, read_drawn
from ..scene.oblique_prompts import drawn_obliquely
from ..scene.prompts import box_of, points_from_markups, stroke_voxels, volume_of
from ..scene.segmentation.segment_slices import EditingRules, other_segments
from ..scene.sequences import frame_of, write_frames
from ..scene.volumes import turning_notes, volume_from_node
from .few_shot.request import used_segments
from .few_shot.result import FEW_SHOT_CONFIDENCE
from .script_checks import (
    granularity_notes,
    require_along,
    require_effect,
    require_segmentation,
    while_they_stay,
)
from .script_support import drawn_support, frame_notes, left_out_notes, missing_notes
from .segment.answer import SegmentAnswer, object_steps
from .segment.frames import object_in_frames
from .segment.request import Pointed, drawn_elsewhere, make_request
from .segment.result import SegmentResult
from .widgets.settings_form import changed_settings


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
    allFrames: bool = False


def segment_steps(volume_node, options: dict) -> Steps:
    """What ``S3NetSegmentLogic.segmentSteps`` does: steps that return the segmentation node.

    :param options: fields of :class:`Where`; the others are those of :class:`SegmentTask`.
    :raises TypeError: an option that there is not. :raises InputError: a value that cannot be used.
    """
    volume = volume_from_node(volume_node)  # an error in it comes first
    where = Where(**{name: options.pop(name) for name in list(options) if name in Where.__dataclass_fields__})
    oblique: dict[str, list] = {}
    for name, voxels_of in (("boxes", _box_of_node), ("strokes", _stroke_of_node), ("notStrokes", _stroke_of_node)):
        if isinstance(options.get(name), (list, tuple)):
            oblique[name] = [drawn for drawn in options[name] if drawn_obliquely(drawn, volume)]
            rest = (drawn for drawn in options[name] if not drawn_obliquely(drawn, volume))
            options[name] = [voxels_of(drawn, volume_node) for drawn in rest] or None
    for name in ("points", "notPoints"):
        if hasattr(options.get(name), "GetNumberOfControlPoints"):
            options[name] = points_from_markups(options[name])
        if name in options and options[name] is not None and not len(options[name]):
            options[name] = None
    if "sliceRange" in options:
        options["slices"] = options.pop("sliceRange")
    task = from_script(SegmentTask, options)
    shown = ((0,) * 6,) if oblique.get("boxes") or oblique.get("strokes") else ()  # an object is asked for
    checked = dataclasses.replace(task, boxes=(*task.boxes, *shown))
    for text in checked.contradictions(camel_case):
        raise InputError(text)
    require_segmentation(where.segmentationNode, "segmentationNode")
    require_effect(where, checked)
    return while_they_stay(_steps(volume_node, where, task, oblique), volume_node, where.segmentationNode)


def _steps(volume_node, where: Where, task: SegmentTask, oblique: Mapping[str, Sequence]) -> Steps:
    from ..engine.segment.find_regions import find_regions
    from ..engine.segment.run import asked_notes, at_asked_step

    volume = volume_from_node(volume_node)
    request = make_request(
        volume_node,
        where.scope,
        slice_node=where.sliceNode,
        slice_range=task.slices,
        axis=task.axis,
        roi_node=where.roiNode,
        pointed=_pointed(task, volume, oblique),
        settings=task.settings_with(task.regions),  # without a number the middle one of those prepared is shown
        preset=task.preset,
        device=where.device,
    )
    if where.keepOut and request.has_prompts:
        others = other_segments(where.segmentationNode, where.segmentId, request.geometry)
        request = request.keeping_out(others)
    if where.allFrames:
        if frame_of(volume_node) is None:
            raise InputError(f"{volume_node.GetName()!r} shows no frame of a sequence; leave allFrames out")
        return write_frames((yield from object_in_frames(request)), volume_node)
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
    if choice is not None:
        asked += granularity_notes(where.granularity, choice.steps)
    for note in [*request.notes, *found.notes, *asked]:
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
    volume = volume_from_node(volume_node)
    require_along(box, volume)
    found = box_of(box, volume)
    assert found is not None  # it is along the slices, or nobody drew it as a prompt
    return [*found.low, *found.high]


def _stroke_of_node(stroke, volume_node):
    """The voxels of a curve node; what is not a node stays as it is."""
    if not hasattr(stroke, "GetNumberOfControlPoints"):
        return stroke
    voxels = stroke_voxels(points_from_markups(stroke), volume_from_node(volume_node))
    if not voxels:
        raise InputError(f"{stroke.GetName()!r} lies beside {volume_node.GetName()!r}; draw it on the image")
    return list(voxels)


def _pointed(task: SegmentTask, volume: Volume, oblique: Mapping[str, Sequence]) -> Pointed:
    """What the task points at, with the nodes that were drawn in oblique views (name of the option -> nodes)."""
    from ..engine.segment.run import asked_prompts

    in_voxels = dataclasses.replace(task, points=(), not_points=())  # positions stay as exact as they were given
    asked = asked_prompts(in_voxels, volume, None, volume.slice_axis(task.axis))

    def places(voxels):
        return [tuple(volume.ras_of(voxel)) for voxel in voxels]

    return Pointed(
        [*task.points, *places(asked.inside)], [*task.not_points, *places(asked.outside)],
        [*asked.boxes, *oblique.get("boxes", ())],
        [*map(places, asked.strokes), *oblique.get("strokes", ())],
        [*map(places, asked.outside_strokes), *oblique.get("notStrokes", ())], task.radius,
    )  # fmt: skip


def warn_of_other_grid(segmentation_node, volume_node) -> None:
    """A script says where its result goes; it is warned where that is made for another image."""
    text = other_grid_text(segmentation_node, volume_node) if segmentation_node is not None else ""
    if text:
        logging.warning("S3NetSegment: %s; each voxel of it took the nearest voxel of the result", text)


def few_shot_steps(
    volume_node,
    segmentation_node,
    segment_ids=None,
    slices=None,
    axis: str = "auto",
    partial: bool = False,
    other_volume_node=None,
    other_segmentation_node=None,
    slice_range: tuple[int, int] | None = None,
    overlaps: bool = False,
    settings: dict | None = None,
    seed: int | None = None,
    encoder: str = "auto",
    device: str = "auto",
    confidence: bool = False,
) -> Steps:
    """See ``S3NetSegmentLogic.fewShot``. Returns the segmentation node that holds the answer."""
    chosen = few_shot_settings(settings, seed)
    elsewhere = other_volume_node is not None and other_volume_node is not volume_node
    require_segmentation(segmentation_node, "segmentationNode")
    require_segmentation(other_segmentation_node, "otherSegmentationNode")
    if other_segmentation_node is not None and not elsewhere:
        raise InputError(
            "otherSegmentationNode takes the answer in another volume, and no other volume is given; give otherVolumeNode, or "
            "leave it out: the answer goes into the drawing"
        )
    support = drawn_support(volume_node, segmentation_node, segment_ids, slices, axis, partial)
    doubts = [
        *frame_notes(volume_node),
        *left_out_notes(segmentation_node, support),
        *missing_notes(volume_node, segmentation_node, segment_ids, support),
    ]
    target_node = other_volume_node if elsewhere else volume_node
    target = volume_from_node(target_node)
    if elsewhere:
        other = other_volume_support(segmentation_node, segment_ids, volume_node, support)
        items, segments = other.items, other.segments
        notes = [*other.notes, *turning_notes(target_node, volume_node)]
        drawn_here, answer_axis = [], "auto"
    elif not support:
        raise InputError("every slice counts as drawn, so there is nothing to find; name the drawn slices")
    else:
        drawn = read_drawn(segmentation_node, segment_ids, volume_node, support)
        items, notes = drawn.items, drawn.notes
        segments = used_segments(drawn.segments, [s.labels for s in drawn.items])  # the others are not asked about
        drawn_here, answer_axis = support, axis
    from ..engine.few_shot.method import FewShot, load_encoder

    network = load_encoder(encoder, device)
    engine = FewShot(target, chosen, answer_axis, network, device)
    engine.set_support(items)
    nodes = (volume_node, segmentation_node, other_volume_node, other_segmentation_node)
    found = yield from while_they_stay(engine.propagate(slice_range), *nodes)
    answer = AnsweredSlices(target, drawn_here, len(found.layers))
    answer.take(found.layers, found.axis, slice_range)
    drawn_on = volume_node.GetName() if elsewhere else ""
    tags = few_shot_tags(chosen, target.name, support, found, network, segmentation_node.GetName(), drawn_on)
    output_node = other_segmentation_node if elsewhere else segmentation_node
    written = write_few_shot(
        answer, segments, target_node, output_node, segmentation_node, tags=tags, rules=EditingRules(overlaps=overlaps)
    )
    looks = segmentation_node.GetSegmentation()
    names = {value: looks.GetSegment(segment_id).GetName() for value, segment_id in segments.items()}
    for note in [*notes, *found.notes, *outlook_notes(found.outlook, names), *written.notes]:
        logging.warning("S3NetSegment: %s", note)
    for doubt in doubts:
        logging.warning("S3NetSegment: %s", doubt)
    warn_of_other_grid(other_segmentation_node if elsewhere else segmentation_node, target_node)
    if confidence:
        overlay = ConfidenceOverlay(target_node, FEW_SHOT_CONFIDENCE)
        overlay.show(doubtful_part(found.confidence, found.labels), target)
    return written.node


def few_shot_settings(changes: dict | None, seed: int | None = None) -> FewShotSettings:
    """The default settings with ``changes`` (name -> value). InputError for unknown names and values out of range."""
    changes = dict(changes or {})
    if seed is not None:
        changes["seed"] = seed
    return changed_settings(FewShotSettings(), changes)
