"""The list of what was pointed at: points, boxes and strokes, where they are, "go to" and "remove"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import qt
from slicer.i18n import tr as _

_ROW_HEIGHT = 20
_ROWS_SEEN = (2, 5)  # least and most without scrolling


@dataclass(frozen=True)
class PromptRow:
    """One row.

    :param place: for the user, e.g. "axial 12".
    :param centre: where to look, world RAS.
    :param number: of a point in its list; -1: the node is all of it.
    """

    name: str
    place: str
    node_id: str
    centre: tuple[float, float, float]
    number: int = -1


class PromptTable:
    """The table and its buttons; hidden while there are no rows."""

    def __init__(self, ui, on_go: Callable[[PromptRow], object], on_remove: Callable[[list[PromptRow]], object]):
        self._ui, self._on_go, self._on_remove = ui, on_go, on_remove
        self.rows: list[PromptRow] = []
        table = ui.promptTable
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
        table.horizontalHeader().setHighlightSections(False)
        table.verticalHeader().setDefaultSectionSize(_ROW_HEIGHT)
        table.connect("cellDoubleClicked(int,int)", self._double_clicked)
        table.connect("itemSelectionChanged()", self._show_buttons)
        ui.goToPromptButton.connect("clicked()", self._go)
        ui.removePromptButton.connect("clicked()", self._remove)
        self._delete = qt.QShortcut(qt.QKeySequence("Del"), table)
        self._delete.setContext(qt.Qt.WidgetShortcut)
        self._delete.connect("activated()", self._remove)
        self._show_frame()

    def show(self, rows: list[PromptRow]) -> None:
        """Shows ``rows``; the selection stays where it can."""
        if rows == self.rows:
            return
        chosen = {(row.node_id, row.number) for row in self.selected()}
        table = self._ui.promptTable
        self.rows = list(rows)
        table.setRowCount(len(rows))
        table.clearSelection()
        for number, row in enumerate(rows):
            for column, text in enumerate((row.name, row.place)):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(f"{row.name}: {row.place}")
                table.setItem(number, column, item)
                item.setSelected((row.node_id, row.number) in chosen)
        self._show_frame()

    def selected(self) -> list[PromptRow]:
        table = self._ui.promptTable
        return [
            row
            for number, row in enumerate(self.rows)
            if table.item(number, 0) is not None and table.item(number, 0).isSelected()
        ]

    # -- inside

    def _show_frame(self) -> None:
        seen = min(max(len(self.rows), _ROWS_SEEN[0]), _ROWS_SEEN[1])
        self._ui.promptTable.setFixedHeight((seen + 1) * _ROW_HEIGHT + 6)  # and the header
        self._ui.promptFrame.setVisible(bool(self.rows))
        self._show_buttons()

    def _show_buttons(self) -> None:
        count = len(self.selected())
        go, remove = self._ui.goToPromptButton, self._ui.removePromptButton
        go.enabled, remove.enabled = count == 1, count > 0
        go.toolTip = _("Show it in the slice views") if count == 1 else _("Select one line of the list first")
        remove.toolTip = _("Remove it; the answer follows") if count else _("Select lines of the list first")

    def _double_clicked(self, row: int, _column: int) -> None:
        if row < len(self.rows):
            self._on_go(self.rows[row])

    def _go(self) -> None:
        self._on_go(self.selected()[0])

    def _remove(self) -> None:
        if self.selected():
            self._on_remove(self.selected())
