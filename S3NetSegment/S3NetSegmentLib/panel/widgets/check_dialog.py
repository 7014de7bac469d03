"""``CheckDialog``: checks this installation and shows the report, which can be copied."""

from __future__ import annotations

from collections.abc import Callable

import qt
from slicer.i18n import tr as _

from ..run import SteppingDriver

_SIZE = (560, 300)  # pixels


class CheckDialog:
    """Opens with a button; closing the window ends the check.

    Attributes: ``window`` (the open window or None), ``report`` (its text).

    :param device: gives the device that is chosen in the panel.
    """

    def __init__(self, button, device: Callable[[], str]):
        self._button, self._device = button, device
        self.driver = SteppingDriver()
        self.window, self.report, self._text, self._copy = None, "", None, None
        button.toolTip = _(
            "Versions, torch and its device, and a short trial of each method; a report to send along with a question"
        )
        button.connect("clicked()", self.open)

    def open(self) -> None:
        """Shows the window and begins."""
        self.close()
        self.window = qt.QDialog(self._button.window())
        self.window.setWindowTitle(_("Check of this installation"))
        column = qt.QVBoxLayout(self.window)
        self._text = qt.QPlainTextEdit()
        self._text.readOnly = True
        self._copy = qt.QPushButton(_("Copy report"))
        self._copy.enabled = False
        self._copy.toolTip = _("Wait until the check has ended")
        self._copy.connect("clicked()", self._copied)
        column.addWidget(self._text)
        column.addWidget(self._copy)
        self.window.resize(*_SIZE)
        self.window.connect("finished(int)", self._closed)
        self.window.show()
        self.driver.start(
            self._steps(), on_step=self._stepped, on_done=self._done, on_error=self._failed, on_cancel=lambda: None
        )

    def close(self) -> None:
        """Ends the check and closes the window."""
        self.driver.cancel()
        window, self.window = self.window, None
        if window is not None:
            window.close()
            window.deleteLater()

    def _steps(self):
        from ...engine.check import check_installation, report_text

        lines = yield from check_installation(self._device())
        return report_text(lines)

    def _stepped(self, step, _seconds_left) -> None:
        self._text.setPlainText(f"{step.message} ...")

    def _done(self, report: str) -> None:
        self.report = report
        self._text.setPlainText(report)
        self._copy.enabled, self._copy.toolTip = True, _("Put the report into the clipboard")

    def _failed(self, error: Exception) -> None:
        self._done(f"{type(error).__name__}: {error}")

    def _copied(self) -> None:
        qt.QApplication.clipboard().setText(self.report)

    def _closed(self, _result) -> None:
        self.driver.cancel()
