"""The tool *Draw by a box*: a box dragged around the chosen segment in a slice view, or a click in it; what is found is drawn
there."""

from __future__ import annotations

from collections.abc import Callable

from slicer.i18n import tr as _

from ...engine import InputError
from ...engine.segment.prompts import Box, Voxel
from ...scene.drawings.boxed import BoxedSlices
from ...scene.prompts import ViewPlane, box_of, make_rectangle
from ..run import SteppingDriver
from ..segment.advanced_section import device_setting
from ..segment.pointing_tool import DragTool, Gesture, remove_node
from ..widgets.looks import show_pressed
from ..widgets.mouse import MouseAction


class BoxDrawing(DragTool):
    """The tool and its runs; :meth:`refresh` and :meth:`stop` keep it in step with the panel.

    :param node: gives the parameter node, or None.
    :param editor: the :class:`EditorSection`, whose chosen segment is drawn.
    :param changed: called when a run begins or ends.
    :param tell: called with an error.
    """

    def __init__(
        self, button, node: Callable[[], object], editor, changed: Callable[[], object], tell: Callable[[Exception], object]
    ):  # fmt: skip
        super().__init__(lambda: None if node() is None else node().volume)
        self._button, self._node, self._editor, self._changed, self._tell = button, node, editor, changed, tell
        self.driver = SteppingDriver()
        # What is answered next: the segment, where, a box or the voxel of a click, and the rectangle that shows it.
        self._waiting: list[tuple[str, ViewPlane, Box | Voxel, object]] = []
        show_pressed(button)
        button.connect("toggled(bool)", self._toggled)

    @property
    def running(self) -> bool:
        return self.driver.running

    def refresh(self) -> None:
        """To be called often: the tool rests while one of the editor's is in use, or there is nothing to draw in."""
        node = self._node()
        there = node is not None and node.volume is not None and node.segmentation is not None
        self._button.enabled = there
        if self._button.checked and (not there or self._editor.widget.activeEffect() is not None):
            self._button.setChecked(False)

    def stop(self) -> None:
        """The user does something else: what is not answered yet is dropped."""
        self._button.setChecked(False)
        waiting, self._waiting = self._waiting, []
        for *_what, rectangle in waiting:
            remove_node(rectangle)
        self.driver.cancel()

    # -- the mouse

    def _toggled(self, on: bool) -> None:
        if on:
            self._editor.widget.setActiveEffect(None)
            self.start()
        else:
            super().stop()

    def accepts(self, action: MouseAction) -> bool:
        if action.modified:
            return False
        if not self._segment():
            raise InputError(_("no segment is chosen; add or choose the one to draw in the list of segments"))
        return True

    def make_node(self, gesture: Gesture):
        return make_rectangle()

    def released(self, gesture: Gesture) -> None:
        grid = gesture.plane.grid
        if gesture.node is None:
            pointed = grid.voxel_at(gesture.places[0])
        else:
            pointed = box_of(gesture.node, grid).clipped(grid.extent)
        self._waiting.append((self._segment(), gesture.plane, pointed, gesture.node))
        self._next()

    def refused(self, error: InputError) -> None:
        self._tell(error)

    # -- the answers

    def _next(self) -> None:
        if self.running or not self._waiting:
            return
        segment_id, plane, pointed, rectangle = self._waiting.pop(0)
        node = self._node()
        volume_node, segmentation_node = node.volume, node.segmentation
        boxed = BoxedSlices(volume_node, segmentation_node)

        def ended(error: Exception | None = None) -> None:
            remove_node(rectangle)
            if error is not None:
                self._tell(error)
            self._changed()
            self._next()

        answer = boxed.answer if isinstance(pointed, Box) else boxed.answer_point
        self.driver.start(
            answer(
                plane, segment_id, pointed, lambda: self._editor.save_undo(segmentation_node, volume_node),
                self._editor.rules().overlaps, device_setting(),
            ),
            on_step=lambda *_: None, on_done=lambda _: ended(), on_error=ended, on_cancel=lambda: remove_node(rectangle),
        )  # fmt: skip
        self._changed()

    def _segment(self) -> str:
        """The segment that is chosen in the editor, or the only one; "" for none."""
        node = self._node()
        ids = list(node.segmentation.GetSegmentation().GetSegmentIDs())
        chosen = self._editor.widget.currentSegmentID()
        return chosen if chosen in ids else ids[0] if len(ids) == 1 else ""
