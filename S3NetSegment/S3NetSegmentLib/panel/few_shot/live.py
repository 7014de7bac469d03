"""The live preview: after each stroke, and when the user scrolls, the answer for the shown slice comes by itself."""

from __future__ import annotations

from collections.abc import Callable

import qt

from ...engine import InputError
from .controller import FewShotController
from .request import FewShotRequest

_AFTER = 400  # ms after the last stroke or the last turn of the wheel


class LivePreview:
    """
    :param is_wanted: whether the user wants it now.
    :param make_request: what to preview; InputError where nothing can be.
    """

    def __init__(
        self,
        controller: FewShotController,
        is_wanted: Callable[[], bool],
        make_request: Callable[[], FewShotRequest],
    ):
        self._controller, self._is_wanted, self._make_request = controller, is_wanted, make_request
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(_AFTER)
        self._timer.connect("timeout()", self._preview)

    @property
    def active(self) -> bool:
        return self._timer.active

    def soon(self) -> None:
        """Something changed: previews when things have calmed down."""
        if self._is_wanted() and not self._controller.running:
            self._timer.start()

    def drawn_on(self) -> None:
        """A stroke: a preview of the drawing before it is out of date."""
        if self._controller.is_live:
            self._controller.cancel()
        self.soon()

    def stop(self) -> None:
        """No preview any more; what is shown stays."""
        self._timer.stop()
        if self._controller.is_live:
            self._controller.cancel()

    def _preview(self) -> None:
        if not self._is_wanted() or self._controller.running:
            return
        self._controller.look()
        try:
            request = self._make_request()
        except InputError:
            return  # nothing is drawn yet; the Propagate button says it
        self._controller.preview(request)
