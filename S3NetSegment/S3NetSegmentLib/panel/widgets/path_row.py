"""A file or folder of this machine: a line to type or drop it in, and a button to look for it; remembered in the settings."""

from __future__ import annotations

import os
from collections.abc import Callable

import qt
import slicer
from slicer.i18n import tr as _


class PathRow:
    """``on_change()`` is called when the user has chosen another path.

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
        self._path = str(qt.QSettings().value(key, "") or "") if key else ""
        edit.text = self._path
        edit.connect("editingFinished()", lambda: self._take(self._edit.text))
        button.connect("clicked()", self._browse)

    @property
    def path(self) -> str:
        """The chosen path, "" if there is none."""
        return self._path

    def set(self, path: str) -> None:
        """Takes ``path`` as if the user had chosen it."""
        self._take(path)

    def _take(self, text: str) -> None:
        path = text.strip()
        path = os.path.abspath(os.path.expanduser(path)) if path else ""
        if self._edit.text != path:
            self._edit.text = path
        if path == self._path:
            return
        self._path = path
        if self._key:
            qt.QSettings().setValue(self._key, path)
        self._on_change()

    def _browse(self) -> None:
        start = self._path or ""
        while start and not os.path.exists(start) and os.path.dirname(start) != start:
            start = os.path.dirname(start)
        window = slicer.util.mainWindow()
        if self._kind == "file":
            found = qt.QFileDialog.getOpenFileName(window, self._title, start, self._pattern)
        else:  # the dialog lets the user make a new folder, too
            found = qt.QFileDialog.getExistingDirectory(window, self._title, start)
        found = found if type(found) is str else found[0]  # PythonQt gives the name, other bindings a pair
        if found:
            self._take(found)
