"""What the user lets an edit change: editable area, overwriting and intensity range, as set in Slicer's segment editor; and the
slices of segments that it depends on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import slicer

from ...engine import Extent, Volume
from ...engine.common.arrays import two
from ...engine.images import AXES
from ...engine.images.volume import slices_first
from ..answers.provenance import segment_fact
from ..volumes import world_from_parent
from .labelmaps import LabelBox, read_segment
from .reading import segment_mask


@dataclass(frozen=True)
class EditingRules:
    """What an edit may change. By default everything but the voxels of other segments.

    :param inside: ids of segments; only their voxels may change. None: no such limit.
    :param outside: ids of segments whose voxels may not change, other than by editing these segments themselves.
    :param intensities: lowest and highest intensity of voxels that may change; None: any.
    :param overlaps: whether the edited segments may lie over others; otherwise these keep their voxels for themselves.
    :param overwritten: ids of segments that lose what the edited ones gain, whatever ``overlaps`` says.
    """

    inside: tuple[str, ...] | None = None
    outside: tuple[str, ...] = ()
    intensities: tuple[float, float] | None = None
    overlaps: bool = False
    overwritten: tuple[str, ...] = ()

    @classmethod
    def of_editor(cls, editor_node: slicer.vtkMRMLSegmentEditorNode) -> EditingRules:
        """The rules set in a segment editor, for its segmentation."""
        node, modes = editor_node.GetSegmentationNode(), slicer.vtkMRMLSegmentationNode
        every = tuple(node.GetSegmentation().GetSegmentIDs())
        visible = tuple(i for i in every if _is_visible(node, i))
        inside = {
            modes.EditAllowedInsideAllSegments: every,
            modes.EditAllowedInsideVisibleSegments: visible,
            modes.EditAllowedInsideSingleSegment: (editor_node.GetMaskSegmentID() or "",),
        }
        outside = {modes.EditAllowedOutsideAllSegments: every, modes.EditAllowedOutsideVisibleSegments: visible}
        overwritten = {editor_node.OverwriteAllSegments: every, editor_node.OverwriteVisibleSegments: visible}
        intensities = None
        if editor_node.GetSourceVolumeIntensityMask():
            intensities = two(float(v) for v in editor_node.GetSourceVolumeIntensityMaskRange())
        return cls(
            inside.get(editor_node.GetMaskMode()),
            outside.get(editor_node.GetMaskMode(), ()),
            intensities,
            overlaps=True,  # of segments that are not overwritten, e.g. hidden ones
            overwritten=overwritten.get(editor_node.GetOverwriteMode(), ()),
        )

    @property
    def segment_ids(self) -> set[str]:
        """The segments that the editable area depends on."""
        return {*(self.inside or ()), *self.outside}

    def editable(self, segment_id: str, box: Extent, segments: SegmentSlices, volume: Volume) -> np.ndarray | bool:
        """The voxels of ``box`` at which ``segment_id`` may change, bool ``[K, J, I]``, or True for all.

        :param segments: hold :attr:`segment_ids`; those that are not there are taken as empty.
        :param volume: the image, for the intensities.
        """
        may: np.ndarray | bool = True
        if self.inside is not None:
            may = _covered(segments, self.inside, box)
        elif self.outside:
            may = ~_covered(segments, set(self.outside) - {segment_id}, box)
        if self.intensities is not None:
            values = volume.array[box.slices]
            inside = (values >= self.intensities[0]) & (values <= self.intensities[1])
            may = may & (inside.all(-1) if volume.is_rgb else inside)
        return may


RESPECTFUL = EditingRules()


def _is_visible(node, segment_id: str) -> bool:
    display = node.GetDisplayNode()
    return display is None or bool(display.GetSegmentVisibility(segment_id))


def _covered(segments: SegmentSlices, segment_ids: Iterable[str], box: Extent) -> np.ndarray:
    out = np.zeros(box.size[::-1], bool)
    for segment_id in segment_ids:
        if segment_id in segments.segment_ids:
            out |= segments.box(segment_id).over(box)
    return out


class SegmentSlices:
    """Segments on the grid of ``geometry`` (world RAS); only what they cover is read and moved, never a whole volume.

    :param segment_ids: None: all segments.
    :raises InputError: no such segment, no binary labelmap, or a non-linear parent transform.
    """

    def __init__(self, segmentation_node, segment_ids: Iterable[str] | None, geometry: Volume):
        if segment_ids is None:
            segment_ids = segmentation_node.GetSegmentation().GetSegmentIDs()
        self.geometry = geometry
        self.segment_ids = list(dict.fromkeys(segment_ids))
        self.resampled: list[str] = []  # ids of segments on another grid than the volume's
        self._boxes: dict[str, tuple[LabelBox, np.ndarray]] = {}  # box on its own lattice, and the way to the grid
        self._moved: dict[str, LabelBox] = {}
        index_from_parent = np.linalg.inv(geometry.ijk_to_ras) @ world_from_parent(segmentation_node)
        for segment_id in self.segment_ids:
            box, lattice = read_segment(segmentation_node, segment_id)
            to_grid = np.eye(4) if lattice is None else index_from_parent @ lattice
            self._boxes[segment_id] = box, to_grid
            if box.array.size and box.shift_onto(to_grid) is None:
                self.resampled.append(segment_id)
            else:
                self._moved[segment_id] = box.moved(to_grid)

    def box(self, segment_id: str) -> LabelBox:
        """The segment on the grid, bool, cut off at the borders of the volume."""
        if segment_id not in self._moved:
            box, to_grid = self._boxes[segment_id]
            self._moved[segment_id] = box.trimmed().moved(to_grid, self.geometry.extent)
        return self._moved[segment_id].cropped(self.geometry.extent)

    def plane(self, segment_id: str, axis: str, index: int) -> np.ndarray:
        """The segment on one slice, bool ``[rows, columns]``: ``array[K, J, I]`` at ``index`` along ``axis``."""
        extent = self.geometry.extent.slice_at(axis, index)
        box = self._moved.get(segment_id)
        if box is None:
            box, to_grid = self._boxes[segment_id]
            box = box.moved(to_grid, extent)
        return slices_first(box.over(extent), axis)[0]

    def profile(self, segment_id: str, axis: str) -> dict[int, int]:
        """Slice along ``axis`` -> number of the segment's voxels there; slices without any are left out."""
        box, across = self.box(segment_id), AXES.index(axis)
        if box.array.size == 0:
            return {}
        if axis == "z":
            counts = [np.count_nonzero(plane) for plane in box.array]
        else:  # down to a plane first, row by row, which is quick
            plane = box.array.view(np.uint8).sum(0, dtype=np.uint32)
            counts = plane.sum(0 if axis == "x" else 1)
        return {n + box.start[across]: int(count) for n, count in enumerate(counts) if count}


def other_segments(segmentation_node, segment_id: str, geometry: Volume) -> np.ndarray | None:
    """The voxels of ``geometry`` (world RAS) that belong to visible segments other than ``segment_id``, bool ``[K, J, I]``;
    None where there are none.

    Regions that Segment found do not count while they have their names: together they fill the image.

    :raises InputError: a segmentation that cannot be read as labelmaps, or is under a non-linear transform.
    """
    if segmentation_node is None:
        return None
    found = None
    for other in other_segment_ids(segmentation_node, segment_id):
        mask = segment_mask(segmentation_node, other, geometry)
        found = mask if found is None else found | mask
    return found if found is not None and found.any() else None


def other_segment_ids(segmentation_node, segment_id: str) -> list[str]:
    """The visible segments other than ``segment_id`` that an answer keeps out of."""
    segmentation, display = segmentation_node.GetSegmentation(), segmentation_node.GetDisplayNode()
    return [
        other
        for other in segmentation.GetSegmentIDs()
        if other != segment_id
        and (display is None or display.GetSegmentVisibility(other))
        and not _is_region(segmentation_node, other)
    ]


def _is_region(segmentation_node, segment_id: str) -> bool:
    name = segmentation_node.GetSegmentation().GetSegment(segment_id).GetName()
    return segment_fact(segmentation_node, segment_id, "Role") == "region" and name.startswith("Region ")
