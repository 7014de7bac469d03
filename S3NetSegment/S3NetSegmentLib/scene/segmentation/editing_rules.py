"""What the user lets an edit change: editable area, overwriting and intensity range, as set in Slicer's segment editor."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import slicer

from ...engine import Extent, Volume
from ...engine.common.arrays import two
from ..drawings.lattices import LabelBox
from .segment_slices import SegmentSlices


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
    out = LabelBox(np.zeros(box.size[::-1], bool), box.start)
    for segment_id in segment_ids:
        if segment_id in segments.segment_ids:
            segments.box(segment_id).paint(out)
    return out.array
