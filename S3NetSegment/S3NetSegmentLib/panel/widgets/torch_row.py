"""The row at the top of the panel that says that torch is missing, and offers it."""

from __future__ import annotations

from collections.abc import Callable

from .message_row import MessageRow
from .torch_support import TorchOffer


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

    def look(self, again: bool = False) -> None:
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
