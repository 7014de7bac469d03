"""The tool *Draw by a box*: a box dragged around the chosen segment in a slice view, or a click in it; what is found is drawn
there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import qt
import slicer
from slicer.i18n import tr as _

from ...engine import InputError
from ...engine.segment.prompts import Box
from ...scene.drawings.boxed import BoxedSlices
from ...scene.prompts import ViewPlane, box_of, make_rectangle, stretch_box, view_plane
from ...scene.slices import shown_slice, shows_volume
from ...scene.volumes import volume_from_node
from ..run import SteppingDriver
from ..segment.advanced_section import device_setting
from ..segment.pointing_tool import CLICK, distance, slicer_wants_it
from ..widgets.looks import show_pressed
from ..widgets.slice_mouse import MouseAction, SliceMouse


@dataclass
class _Drag:
    plane: ViewPlane
    slice_node: object
    xy: tuple[int, int]
    start: tuple[float, float, float]
    node: object = None


class BoxDrawing:
    """The tool and its runs; :meth:`look` and :meth:`stop` keep it in step with the panel.

    :param node: gives the parameter node, or None.
    :param editor: the :class:`EditorSection`, whose chosen segment is drawn.
    :param changed: called when a run begins or ends.
    :param tell: called with an error.
    """

    def __init__(
        self, button, node: Callable[[], object], editor, changed: Callable[[], object], tell: Callable[[Exception], object]
    ):  # fmt: skip
        self._button, self._node, self._editor, self._changed, self._tell = button, node, editor, changed, tell
        self.driver = SteppingDriver()
        self._mouse = SliceMouse(self._handle, qt.Qt.CrossCursor)
        self._drag: _Drag | None = None
        self._boxed: BoxedSlices | None = None
        # What is answered next: the segment, a box or (place, voxel) of a click, and the rectangle that shows it.
        self._waiting: list[tuple[str, Box | tuple, object]] = []
        show_pressed(button)
        button.connect("toggled(bool)", self._toggled)

    @property
    def running(self) -> bool:
        return self.driver.running

    def look(self) -> None:
        """To be called often: the tool rests while one of the editor's is in use, or there is nothing to draw in."""
        node = self._node()
        there = node is not None and node.volume is not None and node.segmentation is not None
        self._button.enabled = there
        if self._button.checked and (not there or self._editor.widget.activeEffect() is not None):
            self._button.setChecked(False)

    def stop(self) -> None:
        """The user does something else: what is not answered yet is dropped."""
        self._button.setChecked(False)
        self._drop()
        waiting, self._waiting = self._waiting, []
        for _segment, _box, rectangle in waiting:
            _remove(rectangle)
        self.driver.cancel()

    # -- the mouse

    def _toggled(self, on: bool) -> None:
        if on:
            self._editor.widget.setActiveEffect(None)
            self._mouse.start()
        else:
            self._mouse.stop()
            self._drop()

    def _handle(self, action: MouseAction) -> bool:
        if action.kind == "press":
            return self._pressed(action)
        drag = self._drag
        if drag is None or action.slice_node is not drag.slice_node:
            return False
        if drag.node is None and distance(drag.xy, action.xy) >= CLICK:
            drag.node = make_rectangle()
        if drag.node is not None:
            stretch_box(drag.node, drag.plane, drag.start, drag.plane.project(action.ras))
        if action.kind == "release":
            self._drag = None
            self._released(drag)
        return True

    def _pressed(self, action: MouseAction) -> bool:
        self._drop()  # a release that never came
        node = self._node()
        if node is None or node.volume is None or action.modified or not shows_volume(action.slice_node, node.volume):
            return False
        if slicer_wants_it(action):
            return False
        try:
            if shown_slice(action.slice_node, node.volume).place is None:
                raise InputError(_("the view is oblique; turn it to the volume's slices to draw by a box"))
            if not self._segment():
                raise InputError(_("no segment is chosen; add or choose the one to draw in the list of segments"))
        except InputError as error:
            self._tell(error)
            return True
        plane = view_plane(action.slice_node, node.volume)
        self._drag = _Drag(plane, action.slice_node, action.xy, plane.project(action.ras))
        return True

    def _released(self, drag: _Drag) -> None:
        grid = drag.plane.grid
        try:
            if drag.node is None:
                click = (drag.plane.axis, drag.plane.index), grid.voxel_at(drag.start)
                self._waiting.append((self._segment(), click, None))
                self._next()
                return
            box = box_of(drag.node, grid).clipped(grid.extent)
        except InputError as error:
            _remove(drag.node)
            self._tell(error)
            return
        self._waiting.append((self._segment(), box, drag.node))
        self._next()

    def _drop(self) -> None:
        drag, self._drag = self._drag, None
        if drag is not None:
            _remove(drag.node)

    # -- the answers

    def _next(self) -> None:
        if self.running or not self._waiting:
            return
        segment_id, pointed, rectangle = self._waiting.pop(0)
        node = self._node()
        volume_node, segmentation_node = node.volume, node.segmentation
        boxed = self._boxed
        if boxed is None or boxed.volume_node is not volume_node or boxed.segmentation_node is not segmentation_node:
            boxed = self._boxed = BoxedSlices(volume_node, segmentation_node)

        def ended(error: Exception | None = None) -> None:
            _remove(rectangle)
            if error is not None:
                self._tell(error)
            self._changed()
            self._next()

        answer = boxed.answer if isinstance(pointed, Box) else boxed.answer_point
        what = (pointed,) if isinstance(pointed, Box) else pointed
        volume = volume_from_node(volume_node)
        self.driver.start(
            answer(
                volume, segment_id, *what, lambda: self._editor.save_undo(segmentation_node, volume_node),
                self._editor.rules().overlaps, device_setting(),
            ),
            on_step=lambda *_: None, on_done=lambda _place: ended(), on_error=ended, on_cancel=lambda: _remove(rectangle),
        )  # fmt: skip
        self._changed()

    def _segment(self) -> str:
        """The segment that is chosen in the editor, or the only one; "" for none."""
        node = self._node()
        ids = list(node.segmentation.GetSegmentation().GetSegmentIDs())
        chosen = self._editor.widget.currentSegmentID()
        return chosen if chosen in ids else ids[0] if len(ids) == 1 else ""


def _remove(node) -> None:
    if node is not None and node.GetScene() is not None:
        slicer.mrmlScene.RemoveNode(node)
