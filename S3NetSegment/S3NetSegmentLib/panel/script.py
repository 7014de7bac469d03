"""What the module's logic does for scripts: Segment and Few-shot from start to end, written into the scene."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..engine import InputError, Volume
from ..engine.common.progress import Steps
from ..engine.few_shot.answer import notes as outlook_notes
from ..engine.few_shot.settings import FewShotSettings
from ..engine.images import AXES
from ..engine.tasks.fields import camel_case, from_script
from ..engine.tasks.segment import SegmentTask
from ..scene.answers.confidence import doubtful_part, show_overlay
from ..scene.answers.few_shot_writing import AnsweredSlices, write_few_shot
from ..scene.answers.provenance import few_shot_tags, made_by, other_grid_text
from ..scene.drawings.drawn_slices import (
    other_volume_support,
    read_drawn,
    segment_content,
    slices_with_labels,
    support_of_view,
)
from ..scene.drawings.support_set import SupportPlane, SupportSlice, missing_between
from ..scene.prompts import box_of, points_from_markups, stroke_voxels, volume_of
from ..scene.segmentation.segment_slices import EditingRules, other_segments
from ..scene.volumes import volume_from_node
from .few_shot.request import used_segments
from .segment.answer import SegmentAnswer, object_steps
from .segment.request import Pointed, drawn_elsewhere, make_request
from .segment.result import SegmentResult
from .widgets.settings_form import changed_settings

ALL = "all"


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
    from ..engine.segment.run import asked_prompts

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
    support = drawn_support(volume_node, segmentation_node, segment_ids, slices, axis, partial)
    doubts = [*_left_out(segmentation_node, support), *_missing(volume_node, segmentation_node, segment_ids, support)]
    elsewhere = other_volume_node is not None and other_volume_node is not volume_node
    target_node = other_volume_node if elsewhere else volume_node
    target = volume_from_node(target_node)
    if elsewhere:
        other = other_volume_support(segmentation_node, segment_ids, volume_node, support)
        items, segments, notes = other.volumes, other.segments, other.notes
        drawn_here, answer_axis = [], "auto"
    elif not support:
        raise InputError("every slice counts as drawn, so there is nothing to find; name the drawn slices")
    else:
        drawn = read_drawn(segmentation_node, segment_ids, volume_node, support)
        items, notes = drawn.slices, drawn.notes
        segments = used_segments(drawn.segments, [s.labels for s in drawn.slices])  # the others are not asked about
        drawn_here, answer_axis = support, axis
    from ..engine.few_shot.method import FewShot, load_encoder

    network = load_encoder(encoder, device)
    engine = FewShot(target, chosen, answer_axis, network, device)
    engine.set_support(items)
    found = yield from engine.propagate(slice_range)
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
        name = f"{target.name} few-shot confidence"
        show_overlay(doubtful_part(found.confidence, found.labels), target, name, target_node)
    return written.node


def few_shot_settings(changes: dict | None, seed: int | None = None) -> FewShotSettings:
    """The default settings with ``changes`` (name -> value). InputError for unknown names and values out of range."""
    changes = dict(changes or {})
    if seed is not None:
        changes["seed"] = seed
    return changed_settings(FewShotSettings(), changes)


def drawn_support(
    volume_node, segmentation_node, segment_ids, slices, axis: str, partial: bool
) -> list[SupportSlice | SupportPlane]:
    """The drawn slices that a script means.

    :param slices: numbers along ``axis``, slice views, also oblique ones, or SupportSlices and SupportPlanes; None: those that hold labels; "all": every slice, given as [].
    :param axis: "auto": that along which the fewest slices hold labels; slices of several axes where that explains more.
    :raises InputError: nothing is drawn, or an unknown axis.
    """
    volume = volume_from_node(volume_node)
    if segmentation_node is None:
        raise InputError("no segmentation is given; draw a segment on at least one slice")
    if isinstance(slices, str):
        if slices != ALL:
            raise InputError(f"slices is {slices!r}; give slice numbers, or {ALL!r} if everything is drawn")
        return []
    if slices is None:
        by_hand, made = _by_hand(segmentation_node, segment_ids)
        given = _those_with_labels(volume_node, segmentation_node, by_hand, axis)
        if not given and made:
            raise InputError(
                f"nothing is drawn by hand in {segmentation_node.GetName()!r}: {_names(segmentation_node, made)} come from "
                "Segment, Few-shot or a model. Name the segments or the slices that count as drawn (segmentIds, slices), or "
                "draw a segment on at least one slice"
            )
        if not given:
            raise InputError(
                f"nothing is drawn in {segmentation_node.GetName()!r}; draw a segment on at least one slice"
            )
        if axis == "auto":
            return [SupportSlice(*place, complete=not partial, without=made) for place in given]
        return [SupportSlice(volume.slice_axis(axis), n, complete=not partial, without=made) for n in given]
    given = list(slices)
    if not given:
        raise InputError(
            "no slice is listed as drawn; name the drawn slices, or leave them out for those that hold labels"
        )
    if any(_is_number(s) for s in given):
        axis = _drawn_axis(volume_node, segmentation_node, segment_ids) if axis == "auto" else volume.slice_axis(axis)
    return list(dict.fromkeys(_as_support(s, axis, volume_node, not partial) for s in given))


def _by_hand(segmentation_node, segment_ids) -> tuple[list[str], tuple[str, ...]]:
    """The segments that count as drawn, and those that do not: Segment, Few-shot or a model has written them. A script that
    names segments says what it means."""
    if segment_ids is not None:
        return list(segment_ids), ()
    ids = list(segmentation_node.GetSegmentation().GetSegmentIDs())
    made = tuple(i for i in ids if made_by(segmentation_node, i))
    return [i for i in ids if i not in made], made


def _names(segmentation_node, segment_ids) -> str:
    segmentation = segmentation_node.GetSegmentation()
    return ", ".join(repr(segmentation.GetSegment(i).GetName()) for i in segment_ids)


def _left_out(segmentation_node, support) -> list[str]:
    """What a script should know of the segments that do not count as drawn."""
    made = next((s.without for s in support if isinstance(s, SupportSlice) and s.without), ())
    if not made:
        return []
    names = _names(segmentation_node, made)
    return [
        f"{names} come from Segment, Few-shot or a model and do not count as drawn; name them in segmentIds if they do"
    ]


def _missing(volume_node, segmentation_node, segment_ids, support) -> list[str]:
    """Complete slices that lie between slices with a segment that they do not have."""
    slices = [s for s in support if isinstance(s, SupportSlice)]
    content = {a: segment_content(segmentation_node, segment_ids, volume_node, a) for a in {s.axis for s in slices}}
    drawn = {s: [i for i in content[s.axis].get(s.index, ()) if s.counts(i)] for s in slices}
    return [
        f"{_names(segmentation_node, ids)}: drawn before and behind slice {index} along {axis}, but not on it, and it counts "
        "as complete; if that is not so, draw there or leave the slice out"
        for (axis, index), ids in missing_between(drawn).items()
    ]


def _those_with_labels(volume_node, segmentation_node, segment_ids, axis: str) -> list:
    if axis == "auto":
        return slices_with_labels(segmentation_node, segment_ids, volume_node)
    return list(
        segment_content(segmentation_node, segment_ids, volume_node, volume_from_node(volume_node).slice_axis(axis))
    )


def _as_support(given, axis: str, volume_node, complete: bool) -> SupportSlice | SupportPlane:
    """One drawn slice that a script names: a number along ``axis``, a view of it, or the thing itself."""
    if isinstance(given, SupportSlice):
        return dataclasses.replace(given, complete=complete and given.complete)
    if isinstance(given, SupportPlane):
        return given
    if _is_number(given):
        return SupportSlice(axis, int(given), complete)
    if hasattr(given, "IsA") and given.IsA("vtkMRMLSliceNode"):
        return support_of_view(given, volume_node, complete)
    raise InputError(f"slice {given!r} is not a whole number; slices are counted from 0")


def _is_number(given) -> bool:
    return isinstance(given, (int, np.integer)) and not isinstance(given, bool)


def _drawn_axis(volume_node, segmentation_node, segment_ids) -> str:
    """The axis along which the fewest slices hold labels."""
    held = {a: len(segment_content(segmentation_node, segment_ids, volume_node, a)) for a in AXES}
    return min(AXES[::-1], key=held.get)
