"""``WhyDialog``: why the object was chosen, as pictures of the candidates and a table, in a window of its own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import qt
from slicer.i18n import tr as _

from ..widgets.looks import pixmap_of
from .controller import SegmentController

_COLUMNS, _SHOWN = 4, 12  # pictures in a row and in all
_HELP = _("The candidates at the first point with their scores, and what decided between them")
_NO_OBJECT = _("Segment an object first: there is nothing to explain yet")


class WhyDialog:
    """Opens with the button "Why this answer?" of Advanced; a later answer closes it.

    Attributes: ``window`` (the open window or None), ``text`` (what it says).
    """

    def __init__(self, ui, controller: SegmentController):
        self._button, self._controller = ui.whyButton, controller
        self.window, self.text = None, ""
        self._explained = None
        self._button.connect("clicked()", self.open)

    def show(self) -> None:
        """Brings the button up to date with the controller."""
        result = self._controller.result
        choice = None if result is None else result.answer.choice
        can = choice is not None and not self._controller.running
        self._button.enabled = can
        self._button.toolTip = _HELP if can else _NO_OBJECT
        if choice is not self._explained:
            self.close()

    def open(self) -> None:
        """Draws the candidates of the live object, and shows them when they are drawn."""
        result = self._controller.result
        if result is not None and result.answer.choice is not None:
            self._controller.work_on(explained(result.answer), self._shown_with(result.answer.choice))

    def close(self) -> None:
        """Closes the window."""
        if self.window is not None:
            self.window.close()
            self.window.deleteLater()
        self.window, self.text, self._explained = None, "", None

    def _shown_with(self, choice) -> Callable[[tuple[np.ndarray, list[str]]], None]:
        def show(found: tuple[np.ndarray, list[str]]) -> None:
            self.close()
            self._explained = choice
            picture, lines = found
            self.text = "\n".join(lines)
            self.window = _window(picture, lines[-1], "\n".join(lines[:-1]), self._button.window())
            self.window.show()

        return show


def explained(answer):
    """The contact sheet and the lines of the object of ``answer``, as a generator of progress steps."""
    from ...engine.segment.explanation import contact_sheet, explain

    choice, regions = answer.choice, answer.regions
    index = regions.slice_to_show(answer.request.prompts, choice)
    explanation = explain(choice)
    picture = yield from contact_sheet(choice, explanation, regions, index, _SHOWN, _COLUMNS)
    return picture, explanation.lines(_SHOWN)


def _window(picture: np.ndarray, reason: str, rows: str, parent) -> qt.QDialog:
    window = qt.QDialog(parent)
    window.setWindowTitle(_("Why this answer?"))
    layout = qt.QVBoxLayout(window)
    legend = qt.QLabel(
        _("{reason} The pictures show the best candidates: the chosen one, the other answers, then the rest.").format(
            reason=reason
        )
    )
    legend.setWordWrap(True)
    layout.addWidget(legend)
    pictures = qt.QLabel()
    pictures.setPixmap(pixmap_of(picture))
    pictures.setFixedSize(picture.shape[1], picture.shape[0])
    area = qt.QScrollArea()
    area.setWidget(pictures)
    layout.addWidget(area, 3)
    table = qt.QPlainTextEdit(rows)
    table.setReadOnly(True)
    table.setLineWrapMode(qt.QPlainTextEdit.NoWrap)
    table.setFont(qt.QFontDatabase.systemFont(qt.QFontDatabase.FixedFont))
    layout.addWidget(table, 2)
    window.resize(800, 760)
    return window
