"""What follows the drawing: the controller, the drawn slices kept in the scene, and the live preview."""

from __future__ import annotations

from collections.abc import Callable

from ...engine import InputError
from ...scene.removing import remove_node
from ...scene.segmentation.labelmaps import read_segment
from ...scene.segmentation.reading import create_segmentation
from ...scene.session import SegmentsWatch
from ..run import timer
from .controller import FewShotController

_CALM = 120  # ms without a further change: one stroke reports itself several times
_AFTER = 400  # ms after the last stroke or the last turn of the wheel


class DrawingWatch:
    """Calls ``on_touch()`` at every change at once, and ``on_change()`` after the last of them."""

    def __init__(self, on_change: Callable[[], object], on_touch: Callable[[], object]):
        self._on_touch = on_touch
        self._timer = timer(_CALM, on_change)
        self._segments = SegmentsWatch(self._touched, voxels=True)

    @property
    def active(self) -> bool:
        return self._segments.active

    def watch(self, segmentation_node) -> None:
        before = self._segments.active
        self._segments.watch(segmentation_node)
        if before and not self._segments.active:
            self._timer.stop()

    def stop(self) -> None:
        """Stops observing; a change that was not reported yet is dropped."""
        self._timer.stop()
        self._segments.stop()

    def _touched(self) -> None:
        self._timer.start()
        self._on_touch()


class DrawingFollower:
    """What is known of a drawing is kept in the parameter node (``support``, ``acceptedAnswer``), so with the scene; that of
    earlier selections as long as the scene is open."""

    def __init__(self, controller: FewShotController):
        self._controller = controller
        self._pair = self._ids = None  # the volume and segmentation that are drawn in, and their ids
        self._kept: dict[tuple, tuple[str, str]] = {}  # ids of earlier ones -> support and accepted answer
        self._may_create = True
        self._tidying = False
        self._made = None  # (segmentation, id, name) of the segment that was made to be drawn in

    def tidy(self, whole: bool = True) -> None:
        """Takes the segment that was made to be drawn in away again if nobody has touched it, and the segmentation with it
        (``whole``) if there is nothing else in it."""
        made = self._made
        if made is None or (not whole and made[0].GetSegmentation().GetNumberOfSegments() == 1):
            return
        node, segment_id, name = made
        if node.GetScene() is None:
            self._made = None
            return
        segmentation = node.GetSegmentation()
        segment = segmentation.GetSegment(segment_id)
        if segment is not None and segment.GetName() == name and read_segment(node, segment_id)[0].is_empty:
            segmentation.RemoveSegment(segment_id)
            if whole and segmentation.GetNumberOfSegments() == 0:
                self._made, self._tidying = None, True  # the parameter node is modified by it
                if self._pair is not None and self._pair[1] is node:
                    self._pair = (self._pair[0], None)  # not removed by the user
                remove_node(node)
                self._tidying = False

    def allow_new(self) -> None:
        """A segmentation to draw in may be made where there is none, as Slicer's own editor does."""
        self._may_create = True

    def follow(self, node, create: bool) -> None:
        """Takes up the drawing of the selected volume and segmentation.

        :param create: make a segmentation if none is selected; one that the user has removed does not come back by itself.
        """
        if self._tidying:
            return
        if self._made is not None and node.segmentation is not self._made[0]:
            self.tidy()  # the user has selected another one
        if self._removed():
            self._may_create = False
        elif self._pair is not None and self._pair[0] is not node.volume:
            self._may_create = True
        if create and self._may_create and node.volume is not None and node.segmentation is None:
            self._new_segmentation(node)
            if node.segmentation is not None:
                return  # the parameter node was modified: this was called again
        pair = (node.volume, node.segmentation)
        if self._pair is not None and all(a is b for a, b in zip(pair, self._pair, strict=True)):
            return
        support, accepted = node.support, node.acceptedAnswer
        if self._pair is not None and None not in self._pair:
            # The user went on to another volume or segmentation, and may come back.
            self._kept[self._ids] = (support, accepted)
            support = accepted = ""
        # Also by way of a volume without a segmentation, as when another volume is selected.
        support, accepted = self._kept.get(_ids(pair), (support, accepted))
        self._pair, self._ids = pair, _ids(pair)
        self._controller.set_drawing(*pair, support, accepted)
        node.acceptedAnswer = accepted
        if self._controller.support is None:
            node.support = ""

    def keep(self, node) -> None:
        text = self._controller.support_text
        if node is not None and self._controller.support is not None and node.support != text:
            node.support = text

    def forget(self) -> None:
        """The scene closes."""
        self._pair = self._ids = None
        self._kept.clear()
        self._made = None
        self._may_create = True

    def _removed(self) -> bool:
        return self._pair is not None and self._pair[1] is not None and self._pair[1].GetScene() is None

    def _new_segmentation(self, node) -> None:
        try:
            segmentation = create_segmentation(node.volume)
        except InputError:
            return  # the Propagate button says why this volume cannot be used
        segment_id = segmentation.GetSegmentation().AddEmptySegment()
        self._made = segmentation, segment_id, segmentation.GetSegmentation().GetSegment(segment_id).GetName()
        node.segmentation = segmentation


def _ids(pair) -> tuple:
    return tuple(node.GetID() if node is not None else "" for node in pair)


class LivePreview:
    """Previews the slice that is shown, when the user draws or scrolls.

    :param section: the :class:`FewShotSection`: its controller, whether the user ``wants_live`` previews now, and what to preview
        (``request``; InputError where nothing can be).
    """

    def __init__(self, section):
        self._section, self._controller = section, section.controller
        self._timer = timer(_AFTER, self._preview)

    @property
    def active(self) -> bool:
        return self._timer.active

    def soon(self) -> None:
        """Something changed: previews when things have calmed down."""
        if self._section.wants_live() and not self._controller.running:
            self._timer.start()

    def drawn_on(self) -> None:
        """A stroke: a preview of the drawing before it is out of date."""
        if self._controller.is_live:
            self._controller.cancel()
        self.soon()

    def stop(self) -> None:
        """No more previews; what is shown stays."""
        self._timer.stop()
        if self._controller.is_live:
            self._controller.cancel()

    def _preview(self) -> None:
        if not self._section.wants_live() or self._controller.running:
            return
        self._controller.refresh()
        try:
            request = self._section.request("volume")
        except InputError:
            return  # nothing is drawn yet; the Propagate button says it
        self._controller.preview(request)
