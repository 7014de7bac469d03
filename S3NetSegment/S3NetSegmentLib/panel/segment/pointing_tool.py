"""The mouse tool *Point at it*: a click is a point, a drag a box, a drag with Shift a stroke; with Ctrl what is outside."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import qt
import slicer
from slicer.i18n import tr as _

from ...engine import InputError
from ...scene.prompts import (
    BOX,
    INSIDE,
    OUTSIDE,
    OUTSIDE_STROKE,
    STROKE,
    ViewPlane,
    add_point,
    box_of,
    kind_of,
    make_prompt,
    stretch_box,
    stroke_voxels,
    view_plane,
)
from ...scene.removing import remove_node
from ...scene.slices import shows_volume
from ..widgets.mouse import MouseAction, SliceMouse

_CLICK = 4  # pixels: a shorter drag is a click
_STROKE_STEP = 3  # pixels between the places of a stroke


@dataclass
class Gesture:
    """A button that is held down in a slice view: where it was pressed, and what has come of it so far."""

    plane: ViewPlane
    xy: tuple[int, int]
    slice_node: object
    control: bool
    shift: bool
    places: list[tuple[float, float, float]] = field(default_factory=list)  # world RAS; the first is where it began
    node: object = None  # the box or stroke, once it is more than a click

    @property
    def is_stroke(self) -> bool:
        return self.shift or self.control


class DragTool(ABC):
    """A tool that the mouse has in all slice views while it is on: a click or a drag. What these do is said by ``accepts``,
    ``make_node``, ``stretch`` and ``released``.

    :param volume: the volume to point at, or None.
    """

    def __init__(self, volume: Callable[[], object]):
        self._volume = volume
        self._mouse = SliceMouse(self._handle, qt.Qt.CrossCursor)
        self._gesture: Gesture | None = None

    @property
    def drawing(self) -> bool:
        return self._gesture is not None

    def start(self) -> None:
        self._mouse.start()

    def stop(self) -> None:
        self._mouse.stop()
        self._drop()

    # -- what a tool says of itself

    def accepts(self, action: MouseAction) -> bool:
        """Whether a press is one for this tool; InputError where it is, and cannot be."""
        return True

    @abstractmethod
    def make_node(self, gesture: Gesture):
        """The markups that show what is dragged."""

    def stretch(self, gesture: Gesture, place: tuple[float, float, float], action: MouseAction) -> None:
        stretch_box(gesture.node, gesture.plane, gesture.places[0], place)

    @abstractmethod
    def released(self, gesture: Gesture) -> None:
        """The end of a click (``gesture.node`` is None) or a drag. After an InputError the node goes."""

    @abstractmethod
    def refused(self, error: InputError) -> None:
        """Tells the user why a press or a gesture cannot be used."""

    # -- inside

    def _handle(self, action: MouseAction) -> bool:
        if action.kind == "press":
            return self._pressed(action)
        gesture = self._gesture
        if gesture is None or action.slice_node is not gesture.slice_node:
            return False
        if gesture.node is None and _distance(gesture.xy, action.xy) >= _CLICK:
            gesture.node = self.make_node(gesture)
        if gesture.node is not None:
            self.stretch(gesture, gesture.plane.project(action.ras), action)
        if action.kind == "release":
            self._gesture = None
            try:
                self.released(gesture)
            except InputError as error:
                remove_node(gesture.node)
                self.refused(error)
        return True

    def _pressed(self, action: MouseAction) -> bool:
        self._drop()  # a release that never came, e.g. because a dialog appeared
        volume_node = self._volume()
        if volume_node is None or _slicer_wants_it(action) or not shows_volume(action.slice_node, volume_node):
            return False
        try:
            if not self.accepts(action):
                return False
            plane = view_plane(action.slice_node, volume_node)
        except InputError as error:
            self.refused(error)
            return True
        start = plane.project(action.ras)
        self._gesture = Gesture(plane, action.xy, action.slice_node, action.control, action.shift, [start])
        return True

    def _drop(self) -> None:
        gesture, self._gesture = self._gesture, None
        if gesture is not None:
            remove_node(gesture.node)


class PointingTool(DragTool):
    """Turns the mouse into points, boxes and strokes in all slice views while it is on.

    :param volume: the volume to point at, or None.
    :param points_node: the list of points of a kind ("inside points", "outside points").
    :param on_done: called with the slice node when a point, box or stroke is there.
    :param on_refused: called with a sentence when one cannot be.
    """

    def __init__(
        self,
        volume: Callable[[], object],
        points_node: Callable[[str], object],
        on_done: Callable[[object], object],
        on_refused: Callable[[str], object],
    ):
        super().__init__(volume)
        self._points_node, self._on_done, self._on_refused = points_node, on_done, on_refused

    def make_node(self, gesture: Gesture):
        kind = (OUTSIDE_STROKE if gesture.control else STROKE) if gesture.is_stroke else BOX
        node = make_prompt(kind, self._volume(), gesture.plane)
        if gesture.is_stroke:
            add_point(node, gesture.places[0])
        return node

    def stretch(self, gesture: Gesture, place: tuple[float, float, float], action: MouseAction) -> None:
        if not gesture.is_stroke:
            super().stretch(gesture, place, action)
        elif len(gesture.places) == 1 or _distance(gesture.xy, action.xy) >= _STROKE_STEP or action.kind == "release":
            gesture.places.append(place)
            gesture.xy = action.xy
            add_point(gesture.node, place)

    def released(self, gesture: Gesture) -> None:
        if gesture.node is None:
            gesture.plane.grid.voxel_at(gesture.places[0])  # beside the image: refused
            add_point(self._points_node(OUTSIDE if gesture.control else INSIDE), gesture.places[0])
        else:
            _require_use(gesture)
        self._on_done(gesture.slice_node)

    def refused(self, error: InputError) -> None:
        self._on_refused(str(error))


def _require_use(gesture: Gesture) -> None:
    grid = gesture.plane.grid
    if gesture.is_stroke:
        if not stroke_voxels(gesture.places, grid):
            raise InputError(_("the stroke lies beside {name!r}; draw it on the image").format(name=grid.name))
    else:
        box_of(gesture.node, grid).clipped(grid.extent)


def _slicer_wants_it(action: MouseAction) -> bool:
    """Whether Slicer itself has a use for the press: a point is being placed, or the cursor is on a point or on the handle of a
    side or corner of a box, which can be dragged. With Ctrl or Shift it is a prompt there, too. The point in the middle of a
    box, by which Slicer would move it, is where the object is: a click there is a point."""
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    if interaction is not None and interaction.GetCurrentInteractionMode() == interaction.Place:
        return True
    if action.modified:
        return False
    return any(_can_be_dragged(display) for display in slicer.util.getNodesByClass("vtkMRMLMarkupsDisplayNode"))


def _can_be_dragged(display) -> bool:
    """Whether the cursor is on a part of the markups that Slicer may drag."""
    component, markups = display.GetActiveComponentType(), slicer.vtkMRMLMarkupsDisplayNode
    if (node := display.GetDisplayableNode()) is not None and kind_of(node) == BOX:
        return component == markups.ComponentScaleHandle
    return component not in (markups.ComponentNone, markups.ComponentLine)


def _distance(one, other) -> float:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))
