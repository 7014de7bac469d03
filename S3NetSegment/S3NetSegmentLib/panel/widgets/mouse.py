"""The mouse in the panel: actions in the slice views of the present layout, whatever the views are called; and a wheel that changes no
setting while the user scrolls through the panel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import qt
import slicer

_EVENTS = ("LeftButtonPressEvent", "MouseMoveEvent", "LeftButtonReleaseEvent")
_PRIORITY = 10.0  # before Slicer's own handlers
_NEVER = ("QComboBox", "QTabBar")  # nobody chooses in a closed list by the wheel
_IN_FOCUS = ("QAbstractSpinBox", "QAbstractSlider")
_SCROLLING = ("QScrollBar",)  # these are for the wheel


@dataclass(frozen=True)
class MouseAction:
    """``kind``: "press", "move" or "release"; ``ras``: world position in mm; ``xy``: position in the view in pixels;
    ``control``, ``shift``: the keys that are held."""

    kind: str
    ras: tuple[float, float, float]
    slice_node: object
    xy: tuple[int, int] = (0, 0)
    control: bool = False
    shift: bool = False

    @property
    def modified(self) -> bool:
        return self.control or self.shift


class SliceMouse:
    """Calls ``handler(action)`` for the left button in all slice views while it is active.

    Where the handler returns True, Slicer's own reaction (window/level, crosshair, markups) is left out.
    """

    def __init__(self, handler: Callable[[MouseAction], bool], cursor: int | None = None):
        """
        :param cursor: shape of the cursor in the views meanwhile, e.g. ``qt.Qt.CrossCursor``; None: Slicer's own.
        """
        self._handler, self._cursor = handler, cursor
        self._observers: list[tuple[object, int]] = []
        self._views: list[object] = []

    @property
    def active(self) -> bool:
        return bool(self._observers)

    def start(self) -> None:
        """Begins to listen; also to the views of any layout that comes later."""
        layout = slicer.app.layoutManager()
        if layout is None or self.active:
            return
        layout.connect("layoutChanged(int)", self._layout_changed)
        self._attach()

    def stop(self) -> None:
        if self.active:
            slicer.app.layoutManager().disconnect("layoutChanged(int)", self._layout_changed)
        self._detach()

    def _attach(self) -> None:
        layout = slicer.app.layoutManager()
        for name in layout.sliceViewNames():
            view = layout.sliceWidget(name).sliceView()
            interactor = view.interactor()
            self._views.append(view)
            if self._cursor is not None:
                view.setViewCursor(qt.QCursor(self._cursor))
            for event in _EVENTS:
                tag = interactor.AddObserver(event, self._callback(view, event), _PRIORITY)
                self._observers.append((interactor, tag))

    def _detach(self) -> None:
        for interactor, tag in self._observers:
            interactor.RemoveObserver(tag)
        if self._cursor is not None:
            for view in self._views:
                view.unsetViewCursor()
        self._observers, self._views = [], []

    def _layout_changed(self, *_) -> None:
        self._detach()
        self._attach()

    def _callback(self, view, event: str):
        kind = {"LeftButtonPressEvent": "press", "MouseMoveEvent": "move", "LeftButtonReleaseEvent": "release"}[event]

        def called(interactor, _event):
            xy = tuple(interactor.GetEventPosition())
            ras = tuple(view.convertXYZToRAS(view.convertDeviceToXYZ(list(xy))))
            keys = bool(interactor.GetControlKey()), bool(interactor.GetShiftKey())
            if self._handler(MouseAction(kind, ras, view.mrmlSliceNode(), xy, *keys)):
                for observed, tag in self._observers:
                    command = observed.GetCommand(tag)
                    if observed is interactor and command is not None:
                        command.SetAbortFlag(1)

        return called


class HarmlessWheel(qt.QObject):
    """The wheel passes lists and tabs in ``widget``, and numbers and sliders that do not have the focus, and scrolls the panel."""

    def __init__(self, widget):
        qt.QObject.__init__(self)
        self._widget, self._controls = widget, []
        self.refresh()

    def refresh(self) -> None:
        """Takes up the controls that have been added since."""
        found = [child for child in self._widget.findChildren(qt.QWidget) if _inherits(child, _NEVER + _IN_FOCUS)]
        self._controls = [child for child in found if not _inherits(child, _SCROLLING)]
        for control in self._controls:
            if control.focusPolicy == qt.Qt.WheelFocus:  # else the wheel would give it the focus first
                control.setFocusPolicy(qt.Qt.StrongFocus)
            control.installEventFilter(self)

    def stop(self) -> None:
        for control in self._controls:
            control.removeEventFilter(self)
        self._controls = []

    def eventFilter(self, watched, event):
        if event.type() != qt.QEvent.Wheel or (_inherits(watched, _IN_FOCUS) and watched.hasFocus()):
            return False
        event.ignore()  # so it goes on to the parent
        return True


def _inherits(widget, classes: tuple[str, ...]) -> bool:
    return any(widget.inherits(name) for name in classes)
