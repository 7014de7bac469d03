"""What is drawn and what came of it: the list of drawn slices (what is drawn where, whether all of it, which were corrected), and the
answer (accept or discard it, how good it is expected to be, where to draw next)."""

from __future__ import annotations

import html

import numpy as np
import qt
from slicer.i18n import tr as _

from ...engine import InputError
from ...engine.images.colors import hex_color
from ..widgets.choosing import SelectionTable
from ..widgets.looks import icon_of
from .presenter import FewShotPresenter, SupportRow

_SLICE, _DRAWN, _COMPLETE = range(3)
_SWATCH = 10  # pixels


class SupportTable(SelectionTable):
    """The table and its buttons.

    :param section: the :class:`FewShotSection`, whose ``go_to``, ``remove`` and ``set_complete`` get places: (axis, index).
    """

    def __init__(self, ui, section):
        tips = (
            _("Show the selected slice in its view"), _("Select one slice in the list first"),
            _("Take the selected slices out of the list; the drawing itself stays"), _("Select slices in the list first"),
        )  # fmt: skip
        super().__init__(
            ui.supportTable, ui.goToSliceButton, ui.removeSliceButton, tips,
            lambda row: section.go_to(row.slice.place), lambda rows: section.remove([row.slice.place for row in rows]),
            rows_seen=(3, 8),
        )  # fmt: skip
        self._ui, self._section, self._filling = ui, section, False
        table = ui.supportTable
        table.setIconSize(qt.QSize(5 * _SWATCH, _SWATCH))
        header = table.horizontalHeader()
        header.setSectionResizeMode(_SLICE, qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(_DRAWN, qt.QHeaderView.Stretch)
        header.setSectionResizeMode(_COMPLETE, qt.QHeaderView.ResizeToContents)
        table.connect("cellChanged(int,int)", self._changed)

    def show(self, rows: list[SupportRow], hint: str) -> None:
        """Shows ``rows``, or ``hint`` if there are none. The selection stays where it can."""
        table = self._ui.supportTable
        table.setVisible(bool(rows))
        self._ui.supportHint.setVisible(not rows)
        self._ui.supportHint.text = hint
        if rows != self.rows:
            chosen = [row.slice.place for row in self.selected()]
            self._filling = True
            try:
                table.setRowCount(len(rows))
                self.fit_height(rows)
                for number, row in enumerate(rows):
                    self._fill(number, row)
                table.clearSelection()
                self.rows = list(rows)
                for number, row in enumerate(rows):
                    if row.slice.place in chosen:
                        for column in range(table.columnCount):
                            table.item(number, column).setSelected(True)
            finally:
                self._filling = False
        self.show_buttons()

    # -- inside

    def _fill(self, number: int, row: SupportRow) -> None:
        table = self._ui.supportTable
        name = qt.QTableWidgetItem(row.title)
        name.setToolTip(_("Corrected after the last accepted answer") if row.slice.corrected else _("Drawn"))
        drawn = qt.QTableWidgetItem(row.text)
        drawn.setToolTip(row.text)
        if row.segments:
            drawn.setIcon(icon_of(_swatches([color for _name, color in row.segments])))
        else:
            font = table.font
            font.setItalic(True)
            drawn.setFont(font)
            drawn.setToolTip(_("None of the segments is on this slice; that is known now"))
        complete = qt.QTableWidgetItem("")
        if row.doubt:
            complete.setIcon(self._ui.supportTable.style().standardIcon(qt.QStyle.SP_MessageBoxWarning))
            drawn.setToolTip(row.doubt)
        complete.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable | qt.Qt.ItemIsUserCheckable)
        complete.setCheckState(qt.Qt.Checked if row.slice.complete else qt.Qt.Unchecked)
        complete.setToolTip(
            row.doubt or _("Everything is drawn on this slice. Uncheck it if only a part is.")
            if row.slice.complete
            else _("Only a part is drawn here; what lies farther away is left open.")
        )
        for column, item in enumerate((name, drawn, complete)):
            table.setItem(number, column, item)

    def _double_clicked(self, row: int, column: int) -> None:
        if column != _COMPLETE:
            super()._double_clicked(row, column)

    def _changed(self, row: int, column: int) -> None:
        if not self._filling and column == _COMPLETE:
            complete = self._ui.supportTable.item(row, column).checkState() == qt.Qt.Checked
            self._section.set_complete(self.rows[row].slice.place, complete)


def _swatches(colors: list[tuple[float, float, float]]) -> np.ndarray:
    """One square for each colour, at most five, on white: uint8 ``[H, W, 3]``."""
    colors = colors[:5]
    picture = np.full((_SWATCH, len(colors) * _SWATCH, 3), 255, np.uint8)
    for number, color in enumerate(colors):
        start = number * _SWATCH
        picture[1:-1, start + 1 : start + _SWATCH - 1] = np.round(255 * np.array(color)).astype(np.uint8)
    return picture


class FewShotAnswerSection:
    """Hidden while there is no answer.

    :param section: the :class:`FewShotSection`, which accepts, shows slices and says what is refused.
    """

    def __init__(self, ui, section, presenter: FewShotPresenter):
        self._ui, self._section, self._presenter, self._controller = ui, section, presenter, section.controller
        self._node, self._active, self._overlaid = None, False, None
        ui.answerCollapsibleButton.setVisible(False)
        ui.acceptButton.connect("clicked()", section.accept)
        ui.discardButton.connect("clicked()", section.controller.discard)
        ui.nextSliceButton.connect("clicked()", self._go)
        ui.fewShotConfidenceCheckBox.connect("clicked(bool)", self.show_confidence)

    def set_active(self, active: bool) -> None:
        self._active = active
        self.show(self._node)

    def show(self, parameter_node) -> None:
        self._node = parameter_node
        ui, result, running = self._ui, self._controller.result, self._controller.running
        there = result is not None and result.answer is not None and parameter_node is not None
        ui.answerCollapsibleButton.setVisible(self._active and there)
        if not there:
            self._take_overlay_away()
            return
        ui.answerText.text = self._presenter.state()
        ui.acceptRow.setVisible(self._presenter.can_accept)
        qualities = result.qualities()
        ui.qualityText.setVisible(bool(qualities))
        ui.qualityText.text = _quality_table(qualities)
        ui.nextSliceButton.setVisible(self._presenter.next_slice() is not None)
        ui.nextSliceButton.text, ui.nextSliceButton.toolTip = self._presenter.next_texts()
        ui.fewShotConfidenceCheckBox.setVisible(not running)

    def show_confidence(self, on: bool) -> None:
        result = self._controller.result
        if not on or result is None or result.answer is None:
            self._take_overlay_away()
            return
        try:
            result.show_confidence()
            self._overlaid = result.overlay
        except InputError as error:
            self._section.refused(str(error))

    def answer_came(self) -> None:
        if self._node is not None and self._node.fewShotConfidence:
            self.show_confidence(True)

    def _go(self) -> None:
        place = self._presenter.next_slice()
        if place is not None:
            self._section.go_to(place, self._controller.result.request.target_node)

    def _take_overlay_away(self) -> None:
        if self._overlaid is not None:
            self._overlaid.hide()
        self._overlaid = None


def _quality_table(qualities) -> str:
    """The expected quality as rich text; colours as in the views."""
    rows = "".join(
        f'<tr><td><span style="color:{hex_color(q.color)}">&#9632;</span>&nbsp;{html.escape(q.name)}</td>'
        f"<td align='right'>&nbsp;&nbsp;{100 * q.dice:.0f}&nbsp;%</td><td>&nbsp;&nbsp;{q.word}</td></tr>"
        for q in qualities
    )
    return _("Expected quality:") + f"<table>{rows}</table>"
