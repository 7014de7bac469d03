"""The progress of the present run: a bar, what is done, and the time left."""

from __future__ import annotations

from slicer.i18n import tr as _

from ..run import time_left_text


class ProgressRow:
    """Hidden while nothing runs."""

    def __init__(self, ui):
        self._ui = ui
        self._ui.progressRow.setVisible(False)

    def begin(self) -> None:
        """A run begins."""
        if not self._ui.progressRow.visible:
            self._ui.progressBar.value = 0
            self._ui.progressText.text = _("Starting")
        self._ui.progressRow.setVisible(True)

    def show(self, step, seconds_left: float | None) -> None:
        """One step of it."""
        self._ui.progressBar.value = int(1000 * min(max(step.fraction, 0), 1))
        left = time_left_text(seconds_left)
        self._ui.progressText.text = f"{step.message}, {left}" if left else step.message

    def end(self) -> None:
        self._ui.progressRow.setVisible(False)
