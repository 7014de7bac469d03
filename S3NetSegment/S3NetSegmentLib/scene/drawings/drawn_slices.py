"""What the user drew: the segments of a node as the drawn slices that Few-shot takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Generic, TypeVar

import numpy as np

from ...engine import InputError, Volume
from ...engine.few_shot.drawings.overlaps import Layers, overlapping
from ...engine.few_shot.drawings.support import DrawnPlane, DrawnSlice, SupportVolume, support_volumes
from ...engine.images import AXES
from ..segmentation.labelmaps import LabelBox
from ..segmentation.reading import segment_mask
from ..segmentation.segment_slices import SegmentSlices
from ..slices import shown_slice
from ..volumes import volume_from_node
from .boxed import drawn_dice
from .placing import beside_notes
from .support_set import SupportPlane, SupportSlice, covering_slices

T = TypeVar("T")
_MOST_SEGMENTS = 254  # label values of a drawn slice


@dataclass(frozen=True, eq=False)
class Drawn(Generic[T]):
    """A drawing.

    :param items: the drawn slices and planes, or for use in another volume what is drawn in this one, for the engine. Where segments
        overlap there are several layers of each.
    :param segments: label value -> segment id. All segments that were asked for, in their order, from 1 on.
    :param layers: label value -> the layer that it is answered in.
    :param expected: label value -> Dice of the drawing with what is meant, mean over the slices that it is drawn on: below 1 where it
        was found in boxes or at clicks.
    :param notes: what the user should know.
    """

    items: list[T]
    segments: dict[int, str]
    layers: dict[int, int]
    expected: dict[int, float]
    notes: list[str]


def segment_content(segmentation_node, segment_ids, volume_node, axis: str) -> dict[int, dict[str, int]]:
    """What is drawn where: slice of ``volume_node`` along ``axis`` -> segment id -> voxels, in ascending order.

    :param segment_ids: None: all segments. Those that were removed meanwhile are passed over.
    :raises InputError: a volume that cannot be segmented, a non-linear parent transform.
    """
    slices = SegmentSlices(segmentation_node, _existing(segmentation_node, segment_ids), volume_from_node(volume_node))
    found: dict[int, dict[str, int]] = {}
    for segment_id in slices.segment_ids:
        for index, voxels in slices.profile(segment_id, axis).items():
            found.setdefault(index, {})[segment_id] = voxels
    return dict(sorted(found.items()))


def slices_with_labels(segmentation_node, segment_ids, volume_node) -> list[tuple[str, int]]:
    """The slices that something was drawn on, as (axis, index): the fewest that hold all labels.

    Segments and errors as in :func:`segment_content`.
    """
    volume = volume_from_node(volume_node)
    slices = SegmentSlices(segmentation_node, _existing(segmentation_node, segment_ids), volume)
    drawn = LabelBox.empty()
    for segment_id in slices.segment_ids:
        drawn = drawn.union(slices.box(segment_id))
    return covering_slices(drawn, volume.slice_axis())


def read_drawn(
    segmentation_node, segment_ids, volume_node, support: Sequence[SupportSlice | SupportPlane]
) -> Drawn[DrawnSlice | DrawnPlane]:
    """The slices and planes ``support`` of ``volume_node`` as they are drawn in the segments, hidden ones included.

    A slice of ``support`` on which nothing is drawn says: this slice holds nothing. Segments that overlap on any of them stay
    whole, each in a layer of its own, and a note says so.

    :param segment_ids: None: all segments.
    :raises InputError: no segmentation, segment or slice, nothing drawn on any of the slices, every slice drawn, a slice that
        is not in the volume, a non-linear parent transform.
    """
    drawn = _read(segmentation_node, segment_ids, volume_node, support)
    for axis, count in zip(AXES, volume_from_node(volume_node).size, strict=True):
        if len({s.index for s in support if isinstance(s, SupportSlice) and s.axis == axis}) == count:
            raise InputError(
                f"every slice along {axis} is listed as drawn, so there is nothing left to find; remove the slices that are "
                "not drawn from the list, or take the drawing to another volume"
            )
    return drawn


def _read(
    segmentation_node, segment_ids, volume_node, support: Sequence[SupportSlice | SupportPlane]
) -> Drawn[DrawnSlice | DrawnPlane]:
    volume = volume_from_node(volume_node)
    if segmentation_node is None:
        raise InputError("no segmentation is selected; create one and draw a segment on at least one slice")
    if not support:
        raise InputError("no slice is listed as drawn; draw a segment on a slice and add that slice")
    slices = SegmentSlices(segmentation_node, segment_ids, volume)
    segments = _values(segmentation_node, slices.segment_ids)
    notes = _grid_notes(segmentation_node, slices)
    drawn = []
    known: dict[int, list[float]] = {value: [] for value in segments}
    for chosen in support:
        if isinstance(chosen, SupportPlane):
            masks = {
                v: segment_mask(segmentation_node, i, chosen.geometry)[0] & chosen.counts(i)
                for v, i in segments.items()
            }
        else:
            _require(chosen, volume)
            masks = {v: slices.plane(i, *chosen.place) & chosen.counts(i) for v, i in segments.items()}
        shape = next(iter(masks.values())).shape
        masks = {value: mask for value, mask in masks.items() if mask.any()}
        drawn.append((chosen, shape, masks))
        for value, mask in masks.items():
            known[value].append(drawn_dice(segmentation_node, segments[value], mask))
    if not any(masks for _, _, masks in drawn):
        listed = ", ".join(s.text for s in support)
        raise InputError(f"nothing is drawn on the listed slices ({listed}); draw a segment on at least one of them")
    layers = _layers(segmentation_node, segments, [masks for *_, masks in drawn], notes)
    items: list[DrawnSlice | DrawnPlane] = []
    for chosen, shape, masks in drawn:
        for layer, labels in enumerate(layers.label_maps(masks, shape)):
            if isinstance(chosen, SupportPlane):
                items.append(DrawnPlane(labels, chosen.matrix, chosen.complete, layer))
            else:
                items.append(DrawnSlice(chosen.axis, chosen.index, labels, chosen.complete, layer))
    expected = {value: float(np.mean(dices)) for value, dices in known.items() if dices}
    return Drawn(items, segments, dict(layers.homes), expected, notes)


def other_volume_support(
    segmentation_node, segment_ids, volume_node, support: Sequence[SupportSlice | SupportPlane] = ()
) -> Drawn[SupportVolume]:
    """A drawing in ``volume_node`` for use in another volume, one item for each layer.

    :param support: the drawn slices and planes; empty: every slice counts as drawn.
    :raises InputError: as :func:`read_drawn`.
    """
    volume = volume_from_node(volume_node)
    if support:
        read = _read(segmentation_node, segment_ids, volume_node, support)
        return Drawn(support_volumes(volume, read.items), read.segments, read.layers, read.expected, read.notes)
    slices = SegmentSlices(segmentation_node, segment_ids, volume)
    segments, notes = _values(segmentation_node, slices.segment_ids), _grid_notes(segmentation_node, slices)
    boxes = {value: slices.box(segment_id) for value, segment_id in segments.items()}
    if not any(box.array.any() for box in boxes.values()):
        raise InputError(f"nothing is drawn in {segmentation_node.GetName()!r}; draw a segment on at least one slice")
    pairs = {(a, b): count for a, b in combinations(boxes, 2) if (count := _common(boxes[a], boxes[b]))}
    layers, items = _noted_layers(segmentation_node, segments, pairs, notes), []
    for number, members in enumerate(layers.members):
        labels = np.zeros(volume.array.shape[:3], np.uint8)
        for value in sorted(members):
            LabelBox(labels).part(boxes[value].start, boxes[value].stop)[boxes[value].array] = value
        if labels.any():
            items.append(SupportVolume(volume, labels, volume.slice_axis(), None, layer=number))
    return Drawn(items, segments, dict(layers.homes), {}, notes)


def slice_of_view(slice_node, volume_node) -> tuple[str, int] | None:
    """The slice of ``volume_node`` that a view shows, as ``(axis, index)``; None for an oblique view.

    :raises InputError: the view's plane does not cut the volume, or the volume cannot be segmented.
    """
    return shown_slice(slice_node, volume_node).place


def support_of_view(slice_node, volume_node, complete: bool = True) -> SupportSlice | SupportPlane:
    """What a view shows of ``volume_node``, to be counted as drawn.

    :raises InputError: the view's plane does not cut the volume, or the volume cannot be segmented.
    """
    place = slice_of_view(slice_node, volume_node)
    if place is None:
        return SupportPlane.of_view(slice_node, volume_node, complete)
    return SupportSlice(*place, complete)


def _existing(segmentation_node, segment_ids) -> list[str]:
    known = segmentation_node.GetSegmentation().GetSegmentIDs()
    return list(known) if segment_ids is None else [i for i in segment_ids if i in known]


def _values(segmentation_node, segment_ids: list[str]) -> dict[int, str]:
    if not segment_ids:
        raise InputError(f"segmentation {segmentation_node.GetName()!r} has no segment; add one and draw it on a slice")
    if len(segment_ids) > _MOST_SEGMENTS:
        raise InputError(
            f"{len(segment_ids)} segments were chosen; Few-shot takes at most {_MOST_SEGMENTS} at once: choose fewer"
        )
    return dict(enumerate(segment_ids, 1))


def _require(chosen: SupportSlice, volume: Volume) -> None:
    count = volume.size[AXES.index(chosen.axis)] if chosen.axis in AXES else 0
    if not 0 <= chosen.index < count:
        raise InputError(
            f"drawn slice {chosen.index} along {chosen.axis} is not in {volume.name!r}, which has {count} slices there; "
            "remove it from the list of drawn slices"
        )


def _layers(
    segmentation_node, segments: dict[int, str], drawn: list[dict[int, np.ndarray]], notes: list[str]
) -> Layers:
    """The layers of ``segments``, of which ``drawn`` are the masks on each slice."""
    pairs: dict[tuple[int, int], int] = {}
    for masks in drawn:
        for pair, count in overlapping(masks).items():
            pairs[pair] = pairs.get(pair, 0) + count
    return _noted_layers(segmentation_node, segments, pairs, notes)


def _noted_layers(segmentation_node, segments: dict[int, str], pairs: dict[tuple[int, int], int], notes) -> Layers:
    segmentation = segmentation_node.GetSegmentation()
    for pair, count in sorted(pairs.items()):
        a, b = (repr(segmentation.GetSegment(segments[value]).GetName()) for value in pair)
        notes.append(f"{a} and {b} overlap in {count:,} drawn voxels; each is answered on its own and stays whole")
    return Layers.of(list(segments), pairs)


def _common(a: LabelBox, b: LabelBox) -> int:
    """Number of voxels that both hold."""
    common = a.overlap(b)
    return 0 if common is None else int(np.count_nonzero(a.part(*common) & b.part(*common)))


def _grid_notes(segmentation_node, slices: SegmentSlices) -> list[str]:
    beside = beside_notes(segmentation_node, slices.segment_ids, slices.geometry)
    if not slices.resampled:
        return beside
    segmentation = segmentation_node.GetSegmentation()
    names = ", ".join(repr(segmentation.GetSegment(segment_id).GetName()) for segment_id in slices.resampled)
    note = f"{names} has another grid or place than {slices.geometry.name!r}; each voxel of the image took the label of the "
    return [note + "nearest voxel of the segment", *beside]
