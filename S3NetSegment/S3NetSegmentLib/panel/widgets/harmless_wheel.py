"""``HarmlessWheel``: who scrolls through the panel changes no setting on the way."""

from __future__ import annotations

import qt

_NEVER = ("QComboBox", "QTabBar")  # nobody chooses in a closed list by the wheel
_IN_FOCUS = ("QAbstractSpinBox", "QAbstractSlider")
_SCROLLING = ("QScrollBar",)  # these are for the wheel


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
        """The panel is unloaded."""
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
