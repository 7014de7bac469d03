"""``SegmentationChoice``: results of one volume do not go into the segmentation of another one unawares."""

from __future__ import annotations

from collections.abc import Callable

import slicer
from slicer.i18n import tr as _

from ..scene.answers.belonging import foreign_text

_NOT_SEEN = object()


class SegmentationChoice:
    """Selects another segmentation when the user goes to another volume, and says so with ``on_change(text)``: the one last
    used with that volume, else a new one. What the user selects afterwards stays."""

    def __init__(self, on_change: Callable[[str], object]):
        self._on_change = on_change
        self.forget()

    def forget(self) -> None:
        """The scene closes."""
        self._volume = self._segmentation = _NOT_SEEN
        self._last: dict[str, str] = {}  # id of a volume -> id of the segmentation last used with it, "" for a new one

    def leaves(self, node) -> bool:
        """Whether the parameter node has another volume than at the last look, and nobody has chosen a segmentation for it."""
        known, segmentation = self._segmentation, node.segmentation
        if self._volume is _NOT_SEEN or self._volume is node.volume or slicer.mrmlScene.IsImporting():
            return False
        removed = segmentation is None and known is not None and known.GetScene() is None
        return known is segmentation or removed

    def follow(self, node) -> None:
        """Looks at the parameter node, which was modified."""
        if slicer.mrmlScene.IsImporting():
            return
        volume, segmentation = node.volume, node.segmentation
        went_on = self.leaves(node)
        self._volume, self._segmentation = volume, segmentation
        if volume is None:
            return
        if went_on:
            last = slicer.mrmlScene.GetNodeByID(self._last.get(volume.GetID()) or "")
            why = foreign_text(segmentation, volume) if segmentation is not None and segmentation is not last else ""
            if why or (segmentation is None and last is not None):
                self._select(node, last, why)
                segmentation = last
        self._last[volume.GetID()] = segmentation.GetID() if segmentation is not None else ""

    def _select(self, node, segmentation, why: str) -> None:
        before, self._segmentation = self._segmentation, segmentation
        with slicer.util.NodeModify(node):
            node.segmentation = segmentation
            node.targetSegment = ""
        if segmentation is not None:
            text = _("{segmentation!r} is selected again, the segmentation last used with {volume!r}").format(
                segmentation=segmentation.GetName(), volume=node.volume.GetName()
            )
        else:
            text = _("{why}: results go into a new segmentation. Select {before!r} again to go on in it").format(
                why=why, before=before.GetName()
            )
        self._on_change(f"{text}.")
