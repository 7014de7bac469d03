"""What the panel says: sentences, the message row, the progress row."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable

import qt
import slicer
from slicer.i18n import tr as _

from .run import time_left_text

_ICONS = {
    "information": qt.QStyle.SP_MessageBoxInformation,
    "warning": qt.QStyle.SP_MessageBoxWarning,
    "error": qt.QStyle.SP_MessageBoxCritical,
}
_ICON_SIZE = 18


def capital(text: str) -> str:
    """``text`` with a capital at its beginning."""
    return text[:1].upper() + text[1:]


def sentence(text: str) -> str:
    return f"{capital(text)}."


def log_failure(error: Exception, what: str) -> str:
    """Writes an unexpected ``error`` in ``what`` to Slicer's log, once, with where it came from; returns that."""
    details = "".join(traceback.format_exception(error))
    logging.error("S3NetSegment: %s failed unexpectedly\n%s", what, details)
    return details


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


class PanelMessage(MessageRow):
    """The message row, which knows what was chosen when its message was read."""

    def __init__(self, ui):
        self._cause: tuple | None = None  # what was chosen; None: what is changing just now is why it is said
        super().__init__(ui.messageFrame, ui.messageIcon, ui.messageText, ui.messageCloseButton)

    def show(self, kind: str, text: str, button: str = "") -> None:
        super().show(kind, text, button)
        self._cause = None

    def failed(self, error: Exception, what: str) -> None:
        """Shows and logs an unexpected error in ``what``, one of the uses of the panel."""
        details = log_failure(error, what)
        self.show(
            "error", _("something unexpected went wrong: {error}. The scene was not changed.").format(error=error)
        )
        # Not errorDisplay, which would log it once more.
        if not slicer.app.testingEnabled() and slicer.util.mainWindow() is not None:
            slicer.util.messageBox(
                _("{what} failed unexpectedly: {error}\n\nThe scene was not changed.").format(what=what, error=error),
                icon=qt.QMessageBox.Critical, detailedText=details,
            )  # fmt: skip

    def refresh(self, parameter_node) -> None:
        """Notes what is chosen once the changes around the message are over; to be called often."""
        if self.kind and self._cause is None:
            self._cause = _choices(parameter_node)

    def follow(self, parameter_node) -> None:
        if self.kind and self._cause not in (None, _choices(parameter_node)):
            self.hide()


def _choices(node) -> tuple:
    """What the user has chosen: a message goes when it changes."""
    if node is None:
        return ()
    nodes = (node.volume, node.segmentation, node.roi, node.otherVolume)
    return (
        *(n.GetID() if n is not None else "" for n in nodes), node.scope, node.axis, node.firstSlice, node.lastSlice,
        node.preset, node.settings, node.fewShotSettings, node.encoder, node.propagateTo, node.mode, node.keepOut,
    )  # fmt: skip


class ProgressRow:
    """Hidden while nothing runs."""

    def __init__(self, ui):
        self._ui = ui
        self._ui.progressRow.setVisible(False)

    def begin(self) -> None:
        if not self._ui.progressRow.visible:
            self._ui.progressBar.value = 0
            self._ui.progressText.text = _("Starting")
        self._ui.progressRow.setVisible(True)

    def show(self, step, seconds_left: float | None) -> None:
        self._ui.progressBar.value = int(1000 * min(max(step.fraction, 0), 1))
        left = time_left_text(seconds_left)
        self._ui.progressText.text = capital(f"{step.message}, {left}" if left else step.message)

    def end(self) -> None:
        self._ui.progressRow.setVisible(False)
