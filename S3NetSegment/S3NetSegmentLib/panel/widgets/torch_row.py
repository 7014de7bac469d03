"""Whether torch is there, the row at the top of the panel that offers it, and the check of this installation with its report. Nothing
is imported or installed until the user asks."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable

import qt
import slicer
from slicer.i18n import tr as _

from ..messages import MessageRow
from ..run import SteppingDriver

_OLDEST = "2.2"
_SIZE = (560, 300)  # pixels


def has_torch() -> bool:
    """Whether torch is installed; does not import it."""
    if "torch" in sys.modules:
        return sys.modules["torch"] is not None
    importlib.invalidate_caches()
    return importlib.util.find_spec("torch") is not None


def torch_requirement() -> str:
    """The versions of torch to ask for. From 2.13 on its wheels cannot be unpacked on Windows inside Slicer: their paths
    are too long (Slicer/light-the-torch#176)."""
    return f">={_OLDEST},<2.13" if sys.platform == "win32" else f">={_OLDEST}"


class TorchRow:
    """Says that torch is missing and offers the next step: the PyTorch extension (then Slicer has to restart), or torch with that
    extension's own dialog. Hidden where torch is there, and after the user has closed it.

    :param on_accepted: called with what to tell the user after a step of the installation.
    """

    def __init__(self, ui, on_error: Callable[[str], object], on_accepted: Callable[[str], object]):
        self._on_error, self._on_accepted = on_error, on_accepted
        self._row = MessageRow(
            ui.torchFrame, ui.torchIcon, ui.torchText, ui.torchCloseButton, ui.torchButton, self._accept
        )
        self._step: Callable[[], object] = lambda: None  # what the button does
        self._closed = False
        ui.torchCloseButton.connect("clicked()", self._close)

    def refresh(self, again: bool = False) -> None:
        """Looks whether torch is there. ``again``: it is needed now, also if the row was closed before."""
        self._closed = self._closed and not again
        if not self._closed:
            self._show()

    def _show(self) -> None:
        if has_torch():
            self._row.hide()
            return
        text = _("PyTorch is not installed. Grey images can be segmented without it; colour images and S3-Net need it.")
        button, self._step = _("Install PyTorch"), self._install
        if self._extension() is None and slicer.app.extensionsManagerModel().isExtensionInstalled("PyTorch"):
            text, button = _("The PyTorch extension is installed. Restart Slicer to go on."), _("Restart")
            self._step = self._restart
        elif self._extension() is None:
            text += _(" It comes with the PyTorch extension.")
            button, self._step = _("Install extension"), self._install_extension
        self._row.show("information", text, button)

    def _close(self) -> None:
        self._closed = True

    def _accept(self) -> None:
        try:
            self._step()
        except Exception as error:  # whatever pip or the network come up with
            self._on_error(str(error))
            return
        self._show()
        self._on_accepted(_("PyTorch is installed.") if has_torch() else "")

    def _install(self) -> None:
        logic = self._extension().PyTorchUtilsLogic()
        logic.installTorch(askConfirmation=True, torchVersionRequirement=torch_requirement())

    @staticmethod
    def _install_extension() -> None:
        restart = False  # not at once: the user may have unsaved work
        if not slicer.app.extensionsManagerModel().installExtensionFromServer("PyTorch", restart):
            raise RuntimeError(
                _(
                    "The PyTorch extension was not installed. Check the internet connection and try again, or install it "
                    "by hand: View > Extensions Manager > PyTorch."
                )
            )

    @staticmethod
    def _restart() -> None:
        if slicer.util.confirmOkCancelDisplay(_("Slicer will restart now. Unsaved data will be lost.")):
            slicer.util.restart()

    @staticmethod
    def _extension():
        """The PyTorch extension's module, or None."""
        try:
            return importlib.import_module("PyTorchUtils")
        except ImportError:
            return None


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
        self.driver.start(self._steps(), self._stepped, self._done, self._failed)

    def close(self) -> None:
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
