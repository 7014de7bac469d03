"""Segments that are drawn by boxes and clicks: what these hold in a slice becomes the drawing there.

How good such a drawing is expected to be, and the boxes, are kept in a tag of the segment, so with the scene. They hold as long as the
segment has exactly these pixels: what is corrected by hand is a drawing like any other, and an undo brings both back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import slicer

from ...engine.common.progress import Steps, as_part_of
from ...engine.few_shot.drawings.boxed_tag import BOXED_TAG, array_digest, expected_of, pixel_digest
from ...engine.few_shot.drawings.boxes import boxed_slices
from ...engine.images import AXES
from ...engine.images.volume import slices_first
from ...engine.segment.find_regions import find_regions
from ...engine.segment.prompts import Box, Prompts, Voxel
from ...engine.segment.settings import SegmentSettings
from ..prompts import ViewPlane
from ..segmentation.labelmaps import segment_tag
from ..segmentation.segment_edit import segment_edit
from ..segmentation.segment_slices import SegmentSlices, other_segment_ids

_MOST = 64  # slices of a segment of which it is kept
_SAME = 0.5  # common area over the area of either, from which on a box replaces one that was drawn before
_NESTED = 0.9  # share of a drawing that lies in a box, from which on it is a part of what the box is drawn around


@dataclass(frozen=True)
class _Boxed:
    """What boxes or clicks have drawn of a segment on one slice.

    :param digest: of the pixels there. ``place``: tells slices apart. ``boxes``: none where it was clicks.
    """

    digest: str
    expected: float
    place: str
    boxes: tuple[Box, ...] = ()


def drawn_dice(segmentation_node, segment_id: str, drawn: np.ndarray) -> float:
    """Dice, 0 to 1, of a segment on a slice with what is meant there, as is to be expected: below 1 where the segment was found in a
    box or at a click and nobody has corrected it.

    :param drawn: the segment there, bool ``[rows, columns]``.
    """
    return expected_of(segment_tag(segmentation_node, segment_id, BOXED_TAG) or "", drawn)


@dataclass(frozen=True)
class BoxedSlices:
    """Draws into ``segmentation_node`` what boxes and clicks on slices of ``volume_node`` hold. The boxes of one slice are answered
    together, so that of a box in a box the outer one becomes a ring."""

    volume_node: slicer.vtkMRMLVolumeNode
    segmentation_node: slicer.vtkMRMLSegmentationNode

    def answer(
        self, plane: ViewPlane, segment_id: str, box: Box, save_undo: Callable[[], object], overlaps: bool, device: str
    ) -> Steps[None]:
        """Draws the segment in ``box``, which is flat, as one undoable step; the other boxes of that slice are answered anew with it.

        :param plane: what the view shows, also an oblique one. ``box``: flat, in voxels of its grid.
        :param save_undo: saves the state for undo. ``overlaps``: whether segments may overlap, so that others need not make room.
        :raises InputError: nothing is left in a box, or the segmentation cannot be drawn in; then nothing has changed.
        """
        boxes = self._still_boxed(plane)
        boxes[segment_id] = [b for b in boxes.get(segment_id, ()) if _overlap(b, box) < _SAME] + [box]
        ids = list(boxes)
        found = yield from boxed_slices(plane.grid, {n: boxes[i] for n, i in enumerate(ids, 1)}, device=device)
        (one,) = found
        self._write(plane, {i: one.labels == n for n, i in enumerate(ids, 1)}, boxes, save_undo, overlaps)
        self._note(plane, {i: one.expected[n] for n, i in enumerate(ids, 1)}, boxes)

    def answer_point(
        self,
        plane: ViewPlane,
        segment_id: str,
        voxel: Voxel,
        save_undo: Callable[[], object],
        overlaps: bool,
        device: str,
    ) -> Steps[None]:
        """Adds to the segment what one click at ``voxel`` (i, j, k) of the view's grid finds in its slice, as one undoable step. See
        :meth:`answer`."""
        volume, axis = plane.grid, plane.axis
        slab = volume.extent.slice_at(axis, plane.index)
        search = find_regions(volume, extent=slab, axis=axis, settings=SegmentSettings(), device=device)
        regions = yield from as_part_of(search, 0.0, 0.7)
        choice = yield from as_part_of(regions.object_steps(Prompts(inside=(voxel,))), 0.7, 1.0)
        mask = slices_first(choice.mask, axis)[0]
        before = self._pixels(plane, segment_id)
        known = drawn_dice(self.segmentation_node, segment_id, before)
        self._write(plane, {segment_id: mask}, {segment_id: ()}, save_undo, overlaps, adds=True)
        share = before.sum() / max(1, int(self._pixels(plane, segment_id).sum()))
        self._note(plane, {segment_id: share * known + (1 - share) * choice.expected_at_point}, {})

    def _still_boxed(self, plane: ViewPlane) -> dict[str, list[Box]]:
        """The boxes of a slice whose segments are there as they were written."""
        found, place = {}, _place(plane)
        for segment_id in self.segmentation_node.GetSegmentation().GetSegmentIDs():
            here = [b for b in _boxed(self.segmentation_node, segment_id) if b.place == place and b.boxes]
            if here and here[0].digest == pixel_digest(self._pixels(plane, segment_id)):
                found[segment_id] = list(here[0].boxes)
        return found

    def _pixels(self, plane: ViewPlane, segment_id: str) -> np.ndarray:
        slices = SegmentSlices(self.segmentation_node, [segment_id], plane.grid)
        return slices.plane(segment_id, plane.axis, plane.index)

    def _note(self, plane: ViewPlane, expected: Mapping[str, float], boxes: Mapping[str, Sequence[Box]]) -> None:
        """Keeps what is expected of the segments that were just written on a slice."""
        place = _place(plane)
        for segment_id, dice in expected.items():
            pixels = self._pixels(plane, segment_id)
            others = [b for b in _boxed(self.segmentation_node, segment_id) if b.place != place]
            new = _Boxed(pixel_digest(pixels), dice, place, tuple(boxes.get(segment_id, ())))
            _keep(self.segmentation_node, segment_id, [*others, new][-_MOST:] if pixels.any() else others)

    def _write(
        self, plane: ViewPlane, masks: dict[str, np.ndarray], boxes: Mapping[str, Sequence[Box]],
        save_undo: Callable[[], object], overlaps: bool, adds: bool = False,
    ) -> None:  # fmt: skip
        volume, axis, index = plane.grid, plane.axis, plane.index
        across = 2 - AXES.index(axis)
        if plane.valid is not None:  # a part of the view lies beside the image
            masks = {i: mask & plane.valid[0] for i, mask in masks.items()}
        geometry = volume.cropped(volume.extent.slice_at(axis, index))
        known = () if overlaps else other_segment_ids(self.segmentation_node, next(iter(masks)))
        others = [i for i in known if i not in masks]
        slices = SegmentSlices(self.segmentation_node, others, volume)
        with segment_edit(self.segmentation_node, self.volume_node, save_undo) as edit:
            for other in others:
                drawn = slices.plane(other, axis, index)
                for own, mask in masks.items():
                    if not (drawn & mask).any():
                        continue
                    if _is_around(drawn, mask) and not _is_in(drawn, boxes[own], axis):
                        edit.remove(other, np.expand_dims(mask, across), geometry)  # a tumour in a drawn liver
                    else:
                        masks[own] = mask & ~drawn  # what is drawn by hand stays
            for own, mask in masks.items():
                (edit.add if adds else edit.replace)(own, np.expand_dims(mask, across), geometry)


def _is_around(drawn: np.ndarray, mask: np.ndarray) -> bool:
    """Whether most of ``mask`` lies in the drawing."""
    return bool((drawn & mask).sum() >= _NESTED * mask.sum())


def _is_in(drawn: np.ndarray, boxes: Sequence[Box], axis: str) -> bool:
    """Whether the drawing lies in the boxes."""
    inside = np.zeros_like(drawn)
    rows, columns = (a for a in reversed(range(3)) if AXES[a] != axis)
    for box in boxes:
        inside[box.low[rows] : box.high[rows] + 1, box.low[columns] : box.high[columns] + 1] = True
    return bool((drawn & inside).sum() >= _NESTED * drawn.sum())


def _overlap(one: Box, other: Box) -> float:
    """Common area over the area of either."""
    common = one.common(other)
    return common / (one.voxels + other.voxels - common)


def _place(plane: ViewPlane) -> str:
    """Tells slices apart, also those of oblique views."""
    return f"{array_digest(np.round(plane.grid.ijk_to_ras, 6) + 0.0)} {plane.axis} {plane.index}"


def _boxed(segmentation_node, segment_id: str) -> list[_Boxed]:
    """What is kept of a segment; a tag that is damaged, or of another version, says nothing."""
    try:
        entries = json.loads(segment_tag(segmentation_node, segment_id, BOXED_TAG) or "[]")
        return [
            _Boxed(str(d), float(e), str(p), tuple(Box.between(b[:3], b[3:]) for b in boxes))
            for d, e, p, boxes in entries
        ]
    except (ValueError, TypeError, IndexError):
        return []


def _keep(segmentation_node, segment_id: str, boxed: Sequence[_Boxed]) -> None:
    entries = [[b.digest, round(b.expected, 4), b.place, [[*box.low, *box.high] for box in b.boxes]] for b in boxed]
    segment = segmentation_node.GetSegmentation().GetSegment(segment_id)
    segment.SetTag(BOXED_TAG, json.dumps(entries, separators=(",", ":")))
