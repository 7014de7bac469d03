"""A message inside the panel: icon, text, perhaps a button, and a way to hide it."""

from __future__ import annotations

from collections.abc import Callable

import qt

from ..sentences import capital

_ICONS = {
    "information": qt.QStyle.SP_MessageBoxInformation,
    "warning": qt.QStyle.SP_MessageBoxWarning,
    "error": qt.QStyle.SP_MessageBoxCritical,
}
_ICON_SIZE = 18


class MessageRow:
    """A framed row of the .ui file; hidden while there is nothing to say."""

    def __init__(self, frame, icon, text, close_button, button=None, on_button: Callable[[], object] | None = None):
        self._frame, self._icon, self._text, self._button = frame, icon, text, button
        self._icon.setAlignment(qt.Qt.AlignTop)
        close_button.connect("clicked()", self.hide)
        if button is not None:
            button.connect("clicked()", on_button)
        self.kind = ""
        self.hide()

    @property
    def text(self) -> str:
        """What is shown, "" if nothing is."""
        return self._text.text if self.kind else ""

    def show(self, kind: str, text: str, button: str = "") -> None:
        """Shows ``text``; ``kind`` is information, warning or error."""
        self.kind = kind
        self._text.text = capital(text)
        self._icon.setPixmap(self._frame.style().standardIcon(_ICONS[kind]).pixmap(_ICON_SIZE, _ICON_SIZE))
        if self._button is not None:
            self._button.text = button
            self._button.setVisible(bool(button))
        self._frame.setVisible(True)

    def hide(self) -> None:
        self.kind = ""
        self._frame.setVisible(False)
