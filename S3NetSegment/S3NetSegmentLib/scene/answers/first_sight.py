"""The answer in the slices that were pointed at, shown while the one in the volume is not there yet."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...engine import Extent, Segment, Volume
from ...engine.images import AXES
from ...engine.images.colors import label_colors
from ..segmentation.reading import segment_look
from ..segmentation.segment_edit import segment_edit
from .preview_node import add_preview_node, remove_preview_node

_FILL, _OUTLINE = 0.4, 1.0


class FirstSightNode:
    """A segmentation of its own, which is not saved with the scene and looks like the segment that the answer goes to. That
    segment itself is hidden in the slice views meanwhile: what it held before is not the answer.

    :param segmentation_node, segment_id: where the answer goes; None and "": nowhere yet.
    """

    def __init__(self, volume_node, segmentation_node=None, segment_id: str = ""):
        self.node = add_preview_node(volume_node, "first sight", _FILL, _OUTLINE)
        self._volume_node = volume_node
        there = (
            segmentation_node is not None and segment_id and segmentation_node.GetSegmentation().GetSegment(segment_id)
        )
        self._look = segment_look(segmentation_node, segment_id) if there else Segment("Object", label_colors(1)[0], 1)
        self._hidden = _Hidden(segmentation_node, segment_id) if there else None

    def show(self, drawn: Mapping[tuple[str, int], np.ndarray], volume: Volume, extent: Extent) -> None:
        """Shows the answers ``drawn``, (axis, index in ``volume``) -> bool ``[rows, columns]`` over ``extent``, and no others."""
        if self.node.GetScene() is None:  # the user has removed it
            return
        with segment_edit(self.node, self._volume_node) as edit:
            for segment_id in self.node.GetSegmentation().GetSegmentIDs():
                edit.delete_segment(segment_id)
            new = None
            for (axis, index), plane in drawn.items():
                mask, grid = np.expand_dims(plane, 2 - AXES.index(axis)), volume.cropped(extent.slice_at(axis, index))
                if new is None:
                    new = edit.add_segment(self._look, mask, grid)
                else:
                    edit.add(new, mask, grid)

    def remove(self) -> None:
        """Takes it away; the scene is as it was."""
        if self._hidden is not None:
            self._hidden.show()
        remove_preview_node(self.node)


class _Hidden:
    """A segment that the slice views do not show until :meth:`show`."""

    def __init__(self, segmentation_node, segment_id: str):
        self._node, self._id, self._before = segmentation_node, segment_id, None
        display = segmentation_node.GetDisplayNode()
        if display is not None:
            self._before = (
                display.GetSegmentVisibility2DFill(segment_id),
                display.GetSegmentVisibility2DOutline(segment_id),
            )
            self._set(False, False)

    def show(self) -> None:
        if self._before is not None and self._node.GetDisplayNode() is not None and self._node.GetScene() is not None:
            self._set(*self._before)

    def _set(self, fill: bool, outline: bool) -> None:
        if self._node.GetSegmentation().GetSegment(self._id) is not None:
            display = self._node.GetDisplayNode()
            display.SetSegmentVisibility2DFill(self._id, fill)
            display.SetSegmentVisibility2DOutline(self._id, outline)
