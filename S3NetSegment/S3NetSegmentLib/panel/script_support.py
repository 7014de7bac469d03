"""The drawn slices and planes that a script means, and what it should know of them."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..engine import InputError
from ..engine.images import AXES
from ..scene.answers.provenance import made_by
from ..scene.drawings.drawn_slices import segment_content, slices_with_labels, support_of_view
from ..scene.drawings.placing import is_drawn, turned_planes
from ..scene.drawings.support_set import SupportPlane, SupportSlice, missing_between
from ..scene.sequences import frame_of
from ..scene.volumes import volume_from_node
from .script_checks import require_segments

ALL = "all"


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
    require_segments(segmentation_node, segment_ids)
    if slices is None:
        by_hand, made = _by_hand(segmentation_node, segment_ids)
        planes, by_hand = turned_planes(segmentation_node, by_hand, volume_node, axis)
        planes = [dataclasses.replace(plane, complete=not partial, without=made) for plane in planes]
        given = _those_with_labels(volume_node, segmentation_node, by_hand, axis)
        if not given and made and not planes:
            raise InputError(
                f"nothing is drawn by hand in {segmentation_node.GetName()!r}: {_names(segmentation_node, made)} come from "
                "Segment, Few-shot or a model. Name the segments or the slices that count as drawn (segmentIds, slices), or "
                "draw a segment on at least one slice"
            )
        if not given and not planes:
            raise InputError(
                f"what is drawn in {segmentation_node.GetName()!r} lies beside {volume.name!r}; give the volume that it was drawn "
                "on, or put it in its place with a transform"
                if is_drawn(segmentation_node, by_hand)
                else f"nothing is drawn in {segmentation_node.GetName()!r}; draw a segment on at least one slice"
            )
        if axis == "auto":
            return [SupportSlice(*place, complete=not partial, without=made) for place in given] + planes
        return [SupportSlice(volume.slice_axis(axis), n, complete=not partial, without=made) for n in given] + planes
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


def frame_notes(volume_node) -> list[str]:
    """That a drawing counts for the frame of a sequence that is shown, whichever it was made on."""
    frame = frame_of(volume_node)
    if frame is None:
        return []
    name = volume_node.GetName()
    note = f"{name!r} shows frame {frame[0]} of {frame[1]} of a sequence; the drawing is taken as that of this frame"
    return [f"{note}, though nothing tells which one it was made on"]


def left_out_notes(segmentation_node, support) -> list[str]:
    """What a script should know of the segments that do not count as drawn."""
    made = next((s.without for s in support if isinstance(s, SupportSlice) and s.without), ())
    if not made:
        return []
    names = _names(segmentation_node, made)
    return [
        f"{names} come from Segment, Few-shot or a model and do not count as drawn; name them in segmentIds if they do"
    ]


def missing_notes(volume_node, segmentation_node, segment_ids, support) -> list[str]:
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
