"""The list of drawn slices: what is drawn where, whether all of it, and which slices were corrected."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import qt
from slicer.i18n import tr as _

from ..widgets.looks import icon_of
from ..widgets.selection_table import SelectionTable
from .presenter import SupportRow

_SLICE, _DRAWN, _COMPLETE = range(3)
_SWATCH = 10  # pixels


class SupportTable(SelectionTable):
    """The table and its buttons. The callbacks get places: (axis, index)."""

    def __init__(
        self,
        ui,
        on_go: Callable[[tuple[str, int]], object],
        on_remove: Callable[[list[tuple[str, int]]], object],
        on_complete: Callable[[tuple[str, int], bool], object],
    ):
        tips = (
            _("Show the selected slice in its view"), _("Select one slice in the list first"),
            _("Take the selected slices out of the list; the drawing itself stays"), _("Select slices in the list first"),
        )  # fmt: skip
        super().__init__(
            ui.supportTable, ui.goToSliceButton, ui.removeSliceButton, tips,
            lambda row: on_go(row.slice.place), lambda rows: on_remove([row.slice.place for row in rows]), rows_seen=(3, 8),
        )  # fmt: skip
        self._ui, self._on_complete, self._filling = ui, on_complete, False
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
            self._on_complete(self.rows[row].slice.place, complete)


def _swatches(colors: list[tuple[float, float, float]]) -> np.ndarray:
    """One square for each colour, at most five, on white: uint8 ``[H, W, 3]``."""
    colors = colors[:5]
    picture = np.full((_SWATCH, len(colors) * _SWATCH, 3), 255, np.uint8)
    for number, color in enumerate(colors):
        start = number * _SWATCH
        picture[1:-1, start + 1 : start + _SWATCH - 1] = np.round(255 * np.array(color)).astype(np.uint8)
    return picture
