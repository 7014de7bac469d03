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
_RESTART = _("Restart")
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


class TorchOffer:
    """What the panel says and offers about torch: ``text`` and ``button`` (both "" when there is nothing to say).

    :meth:`accept` does what the button says: installs the PyTorch extension (then Slicer has to restart), or torch with
    that extension's own dialog.
    """

    def __init__(self):
        self.refresh()

    def refresh(self) -> None:
        """Looks again."""
        self.text = self.button = ""
        if has_torch():
            return
        why = _("PyTorch is not installed. Grey images can be segmented without it; colour images and S3-Net need it.")
        if self._extension() is not None:
            self.text, self.button = why, _("Install PyTorch")
        elif slicer.app.extensionsManagerModel().isExtensionInstalled("PyTorch"):
            self.text, self.button = _("The PyTorch extension is installed. Restart Slicer to go on."), _RESTART
        else:
            self.text, self.button = why + _(" It comes with the PyTorch extension."), _("Install extension")

    def accept(self) -> str:
        """Does the next step; returns what to tell the user ("" if nothing). RuntimeError with the reason if it fails."""
        button = self.button
        if button == _RESTART:
            if slicer.util.confirmOkCancelDisplay(_("Slicer will restart now. Unsaved data will be lost.")):
                slicer.util.restart()
            return ""
        if button == _("Install PyTorch"):
            self._extension().PyTorchUtilsLogic().installTorch(
                askConfirmation=True, torchVersionRequirement=torch_requirement()
            )
            self.refresh()
            return "" if self.text else _("PyTorch is installed.")
        restart = False  # not at once: the user may have unsaved work
        if not slicer.app.extensionsManagerModel().installExtensionFromServer("PyTorch", restart):
            raise RuntimeError(
                _(
                    "The PyTorch extension was not installed. Check the internet connection and try again, or install it "
                    "by hand: View > Extensions Manager > PyTorch."
                )
            )
        self.refresh()
        return ""

    @staticmethod
    def _extension():
        """The PyTorch extension's module, or None."""
        try:
            return importlib.import_module("PyTorchUtils")
        except ImportError:
            return None


class TorchRow:
    """Hidden where torch is there, and after the user has closed it.

    :param on_accepted: called with what to tell the user after a step of the installation.
    """

    def __init__(self, ui, on_error: Callable[[str], object], on_accepted: Callable[[str], object]):
        self._on_error, self._on_accepted = on_error, on_accepted
        self._row = MessageRow(
            ui.torchFrame, ui.torchIcon, ui.torchText, ui.torchCloseButton, ui.torchButton, self._accept
        )
        self._offer = TorchOffer()
        self._closed = False
        ui.torchCloseButton.connect("clicked()", self._close)

    def refresh(self, again: bool = False) -> None:
        """Looks whether torch is there. ``again``: it is needed now, also if the row was closed before."""
        self._closed = self._closed and not again
        self._offer.refresh()
        if not self._closed:
            self._show()

    def _show(self) -> None:
        if self._offer.text:
            self._row.show("information", self._offer.text, self._offer.button)
        else:
            self._row.hide()

    def _close(self) -> None:
        self._closed = True

    def _accept(self) -> None:
        try:
            said = self._offer.accept()
        except Exception as error:  # whatever pip or the network come up with
            self._on_error(str(error))
            return
        self._show()
        self._on_accepted(said)


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
