"""Segments that are drawn by boxes: what the boxes of a slice hold becomes the drawing there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
import slicer

from ...engine.common.progress import Steps, as_part_of
from ...engine.few_shot.drawings.boxes import boxed_slices
from ...engine.images import AXES
from ...engine.images.volume import slices_first
from ...engine.segment.find_regions import find_regions
from ...engine.segment.prompts import Box, Voxel
from ...engine.segment.settings import SegmentSettings
from ..prompts import ViewPlane
from ..segmentation.segment_edit import segment_edit
from ..segmentation.segment_slices import SegmentSlices, other_segment_ids

Place = tuple[bytes, str, int]  # where the grid lies, axis and index of a slice of it
_SAME = 0.5  # common area over the area of either, from which on a box replaces one that was drawn before
_NESTED = 0.9  # share of a drawing that lies in a box, from which on it is a part of what the box is drawn around


@dataclass
class BoxedSlices:
    """The boxes that were drawn into ``segmentation_node`` on slices of ``volume_node``, so that those of one slice are answered
    together: of a box in a box the outer one becomes a ring. What was changed by hand since is a drawing like any other."""

    volume_node: slicer.vtkMRMLVolumeNode
    segmentation_node: slicer.vtkMRMLSegmentationNode
    _boxes: dict[Place, dict[str, list[Box]]] = field(default_factory=dict)
    _written: dict[tuple[Place, str], bytes] = field(default_factory=dict)

    def answer(
        self, plane: ViewPlane, segment_id: str, box: Box, save_undo: Callable[[], object], overlaps: bool, device: str
    ) -> Steps[None]:
        """Draws the segment in ``box``, which is flat, as one undoable step; the other boxes of that slice are answered anew with it.

        :param plane: what the view shows, also an oblique one. ``box``: flat, in voxels of its grid.
        :param save_undo: saves the state for undo. ``overlaps``: whether segments may overlap, so that others need not make room.
        :raises InputError: nothing is left in a box, or the segmentation cannot be drawn in; then nothing has changed.
        """
        volume, place = plane.grid, _place(plane)
        boxes = self._still_boxed(plane)
        boxes[segment_id] = [b for b in boxes.get(segment_id, ()) if _overlap(b, box) < _SAME] + [box]
        ids = list(boxes)
        found = yield from boxed_slices(volume, {n: boxes[i] for n, i in enumerate(ids, 1)}, device=device)
        (labels,) = (one.labels for one in found)
        self._write(plane, {i: labels == n for n, i in enumerate(ids, 1)}, boxes, save_undo, overlaps)
        self._boxes[place] = boxes
        slices = SegmentSlices(self.segmentation_node, ids, volume)
        for one in ids:
            self._written[place, one] = _digest(slices.plane(one, plane.axis, plane.index))

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
        choice = yield from as_part_of(regions.object_steps([voxel]), 0.7, 1.0)
        mask = slices_first(choice.mask, axis)[0]
        self._write(plane, {segment_id: mask}, {segment_id: ()}, save_undo, overlaps, adds=True)

    def _still_boxed(self, plane: ViewPlane) -> dict[str, list[Box]]:
        """The boxes of a slice whose segments are there as they were written."""
        place = _place(plane)
        known = self._boxes.get(place, {})
        there = [i for i in known if self.segmentation_node.GetSegmentation().GetSegment(i) is not None]
        slices = SegmentSlices(self.segmentation_node, there, plane.grid)
        now = {i: _digest(slices.plane(i, plane.axis, plane.index)) for i in there}
        return {i: list(known[i]) for i in there if self._written[place, i] == now[i]}

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


def _place(plane: ViewPlane) -> Place:
    return plane.grid.ijk_to_ras.tobytes(), plane.axis, plane.index


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


def _digest(plane: np.ndarray) -> bytes:
    return blake2b(np.packbits(plane).tobytes(), digest_size=16).digest()
