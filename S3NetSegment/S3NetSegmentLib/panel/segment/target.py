"""Which segment holds the object: a list of the segments of the output segmentation, and "Next object"."""

from __future__ import annotations

from collections.abc import Callable

import slicer
from slicer.i18n import tr as _

_NEW = _("New segment")


class TargetRow:
    """Keeps the list in step with the segmentation; the choice is the parameter node's ``targetSegment``."""

    def __init__(self, ui, on_next: Callable[[], object]):
        self._ui, self._node = ui, None
        self._observed: tuple | None = None  # (segmentation, tags)
        self._ids = [""]
        ui.targetComboBox.connect("activated(int)", self._chosen)
        ui.nextObjectButton.connect("clicked()", on_next)

    @property
    def segment_id(self) -> str:
        """The chosen segment, "" for a new one."""
        return self._node.targetSegment if self._node is not None and self._node.targetSegment in self._ids else ""

    def show(self, parameter_node) -> None:
        """Follows the segmentation of the parameter node."""
        self._node = parameter_node
        segmentation = (
            parameter_node.segmentation.GetSegmentation() if parameter_node.segmentation is not None else None
        )
        if self._observed is None or self._observed[0] is not segmentation:
            self.stop()
            if segmentation is not None:
                cls = slicer.vtkSegmentation
                events = (cls.SegmentAdded, cls.SegmentRemoved, cls.SegmentModified)
                self._observed = (segmentation, [segmentation.AddObserver(event, self._fill) for event in events])
        self._fill()

    def stop(self) -> None:
        """Observes nothing any more."""
        if self._observed is not None:
            for tag in self._observed[1]:
                self._observed[0].RemoveObserver(tag)
        self._observed = None

    def _fill(self, *_caller) -> None:
        node, box = self._node, self._ui.targetComboBox
        if node is None:
            return
        segmentation = node.segmentation.GetSegmentation() if node.segmentation is not None else None
        self._ids = ["", *(segmentation.GetSegmentIDs() if segmentation is not None else ())]
        names = [_NEW, *(segmentation.GetSegment(i).GetName() for i in self._ids[1:])]
        if names != [box.itemText(n) for n in range(box.count)]:
            box.clear()
            box.addItems(names)
        box.currentIndex = self._ids.index(self.segment_id)
        button = self._ui.nextObjectButton
        button.enabled = bool(self.segment_id)
        button.toolTip = (
            _("Keep this object as it is, clear the points and begin a new segment")
            if self.segment_id
            else _("The next result goes into a new segment already")
        )

    def _chosen(self, index: int) -> None:
        self._node.targetSegment = self._ids[index]
