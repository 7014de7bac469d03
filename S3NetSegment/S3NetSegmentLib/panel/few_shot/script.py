"""Few-shot for scripts: what is drawn in, segments out; no widgets, no preview, nothing written before the end."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np

from ...engine import InputError
from ...engine.common.progress import Steps
from ...engine.few_shot.answer import notes as outlook_notes
from ...engine.few_shot.settings import FewShotSettings
from ...engine.images import AXES
from ...scene.answers.confidence import doubtful_part, show_overlay
from ...scene.answers.few_shot_writing import AnsweredSlices, write_few_shot
from ...scene.answers.provenance import few_shot_tags, made_by
from ...scene.drawings.drawn_slices import (
    other_volume_support,
    read_drawn,
    segment_content,
    slices_with_labels,
    support_of_view,
)
from ...scene.drawings.support_set import SupportPlane, SupportSlice, missing_between
from ...scene.segmentation.segment_slices import EditingRules
from ...scene.volumes import volume_from_node
from ..segment.script import warn_of_other_grid
from ..widgets.settings_form import changed_settings
from .request import used_segments

ALL = "all"


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
    from ...engine.few_shot.method import FewShot, load_encoder

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
