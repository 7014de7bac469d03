"""The message of the panel: it goes when what the user has chosen since is no longer what it spoke of."""

from __future__ import annotations

import logging
import traceback

import slicer
from slicer.i18n import tr as _

from .widgets.message_row import MessageRow


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
        details = "".join(traceback.format_exception(error))
        logging.error(details)
        self.show(
            "error", _("something unexpected went wrong: {error}. The scene was not changed.").format(error=error)
        )
        slicer.util.errorDisplay(
            _("{what} failed unexpectedly: {error}\n\nThe scene was not changed.").format(what=what, error=error),
            detailedText=details,
        )

    def look(self, parameter_node) -> None:
        """Notes what is chosen once the changes around the message are over; to be called often."""
        if self.kind and self._cause is None:
            self._cause = _choices(parameter_node)

    def follow(self, parameter_node) -> None:
        """Hides the message if something else is chosen now."""
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
