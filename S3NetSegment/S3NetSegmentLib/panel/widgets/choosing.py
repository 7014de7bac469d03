"""What is chosen from: a file or folder of this machine, remembered in the settings; and a table whose lines can be gone to and removed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import qt
import slicer
from slicer.i18n import tr as _

ROW_HEIGHT = 20  # pixels


def missing_path(path: str) -> str:
    """A sentence for a chosen file or folder that is not there, "" otherwise."""
    if not path or os.path.exists(path):
        return ""
    return _("There is no file or folder {path!r}; choose another one, or put it back.").format(path=path)


def chosen_file(window, title: str, start: str, pattern: str) -> str:
    """The file that the user chooses in a dialog, "" for none."""
    found = qt.QFileDialog.getOpenFileName(window, title, start, pattern)
    return found if type(found) is str else found[0]  # PythonQt gives the name, other bindings a pair


class PathRow:
    """``on_change()`` is called when another path is chosen.

    Attribute ``path``: the chosen one, "" if there is none.

    :param key: name in the application settings; "": not remembered. Paths belong to the machine, not to the scene.
    :param kind: what is looked for: "file" or "folder".
    :param pattern: the files to choose among, as Qt's dialogs take it.
    """

    def __init__(
        self, edit, button, title: str, key: str = "", kind: str = "file", pattern: str = _("All files (*)"),
        on_change: Callable[[], object] | None = None,
    ):  # fmt: skip
        self._edit, self._title, self._key, self._kind, self._pattern = edit, title, key, kind, pattern
        self._on_change = on_change or (lambda: None)
        self.path = str(qt.QSettings().value(key, "") or "") if key else ""
        edit.text = self.path
        edit.connect("editingFinished()", lambda: self.set(self._edit.text))
        button.connect("clicked()", self._browse)

    @property
    def problem(self) -> str:
        """Why nothing can be read from the path; "" if it is there, or nothing is chosen. Files go while the panel is open."""
        return missing_path(self.path)

    def set(self, path: str) -> None:
        """Takes ``path`` as if the user had chosen it."""
        path = path.strip()
        path = os.path.abspath(os.path.expanduser(path)) if path else ""
        if self._edit.text != path:
            self._edit.text = path
        if path == self.path:
            return
        self.path = path
        if self._key:
            qt.QSettings().setValue(self._key, path)
        self._on_change()

    def _browse(self) -> None:
        start = self.path
        while start and not os.path.exists(start) and os.path.dirname(start) != start:
            start = os.path.dirname(start)
        window = slicer.util.mainWindow()
        if self._kind == "file":
            found = chosen_file(window, self._title, start, self._pattern)
        else:  # the dialog lets the user make a new folder, too
            found = qt.QFileDialog.getExistingDirectory(window, self._title, start)
        if found:
            self.set(found)


class SelectionTable:
    """What such tables share; a table fills its cells itself and then calls :meth:`show_buttons`.

    Attributes: ``rows``, what its lines stand for.

    :param tips: of the button "go to", where one line is selected and where not; of "remove", with a selection and without.
    :param on_go: called with one of ``rows``. :param on_remove: with some of them.
    :param rows_seen: least and most lines without scrolling.
    """

    def __init__(
        self, table, go, remove, tips: tuple[str, str, str, str], on_go: Callable, on_remove: Callable[[list], object],
        rows_seen: tuple[int, int],
    ):  # fmt: skip
        self._table, self._go, self._remove, self._tips = table, go, remove, tips
        self._on_go, self._on_remove, self._rows_seen = on_go, on_remove, rows_seen
        self.rows: list = []
        table.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        table.connect("cellDoubleClicked(int,int)", self._double_clicked)
        table.connect("itemSelectionChanged()", self.show_buttons)
        go.connect("clicked()", self._gone_to)
        remove.connect("clicked()", self._removed)
        self._delete = qt.QShortcut(qt.QKeySequence("Del"), table)
        self._delete.setContext(qt.Qt.WidgetShortcut)
        self._delete.connect("activated()", self._removed)

    def selected(self) -> list:
        items = [self._table.item(number, 0) for number in range(len(self.rows))]
        return [row for row, item in zip(self.rows, items, strict=True) if item is not None and item.isSelected()]

    def fit_height(self, rows: Sequence) -> None:
        """Makes the table as high as ``rows`` need."""
        seen = min(max(len(rows), self._rows_seen[0]), self._rows_seen[1])
        self._table.setFixedHeight((seen + 1) * ROW_HEIGHT + 6)  # and the header

    def show_buttons(self) -> None:
        count = len(self.selected())
        self._go.enabled, self._remove.enabled = count == 1, count > 0
        go, no_go, remove, no_remove = self._tips
        self._go.toolTip, self._remove.toolTip = go if count == 1 else no_go, remove if count else no_remove

    def _double_clicked(self, row: int, _column: int) -> None:
        if row < len(self.rows):
            self._on_go(self.rows[row])

    def _gone_to(self) -> None:
        self._on_go(self.selected()[0])

    def _removed(self) -> None:
        if self.selected():
            self._on_remove(self.selected())
