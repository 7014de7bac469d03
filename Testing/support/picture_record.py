"""What the pictures of the documentation show of the panel: its widgets and the program's texts, by which a test sees that one is old.

``Resources/Pictures/record.json`` is written with the pictures. Pixels are not compared: fonts and styles differ between machines.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from pathlib import Path

import translated_texts
from paths import MODULE, REPOSITORY

PICTURES = REPOSITORY / "Resources" / "Pictures"
RECORD = PICTURES / "record.json"
_LEAST = 6  # letters besides what is filled in, by which a text is known


def read_record() -> dict:
    """``pictures``: name -> ``sha256`` of the file, ``containers`` and ``texts`` that it shows; ``containers``: name of a widget ->
    those in it. {} of each before the first picture."""
    return json.loads(RECORD.read_text(encoding="utf8")) if RECORD.exists() else {"pictures": {}, "containers": {}}


def note_picture(path: Path, panel=None, parts: Iterable = ()) -> None:
    """To be called when a picture was made; one that lies elsewhere is no picture of the documentation.

    :param panel: the PanelDriver; None: the picture shows none. ``parts``: its widgets that are shown.
    """
    if not path.resolve().is_relative_to(PICTURES):
        return
    record, containers, shown = read_record(), {}, []
    known = list(text_patterns())
    for part in parts:
        containers.update(containers_of(part, panel.panel.editor.widget))
        shown += [text for text in texts_of(part, panel.panel.editor.widget) if _is_known(text, known)]
    entry = {"sha256": _digest(path), "containers": sorted(containers), "texts": list(dict.fromkeys(shown))}
    record["pictures"][path.relative_to(PICTURES).as_posix()] = entry
    record["containers"].update(containers)
    named = {name for picture in record["pictures"].values() for name in picture["containers"]}
    record["containers"] = {name: held for name, held in sorted(record["containers"].items()) if name in named}
    record["pictures"] = dict(sorted(record["pictures"].items()))
    RECORD.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf8")


def problems(record: dict, panel) -> Iterator[str]:
    """What the pictures do not show as it is now.

    :param panel: a PanelDriver, all tabs of which were opened.
    """
    there = {path.relative_to(PICTURES).as_posix(): path for path in PICTURES.rglob("*.png")}
    yield from (f"{name} is in the record and not in the folder" for name in record["pictures"].keys() - there.keys())
    yield from (f"{name} is in the folder and not in the record" for name in there.keys() - record["pictures"].keys())
    now, known = containers_of(panel.widget.parent, panel.panel.editor.widget, hidden=True), list(text_patterns())
    for name, picture in record["pictures"].items():
        if name in there and _digest(there[name]) != picture["sha256"]:
            yield f"{name} is not the picture that was made with the record"
        for container in picture["containers"]:
            before, after = record["containers"][container], now.get(container, [])
            if before != after:
                gone, new = ([w for w in a if w not in b] for a, b in ((before, after), (after, before)))
                yield (
                    f"{name}: in {container} {gone or 'nothing'} went, {new or 'nothing'} came"
                    + " or the order changed" * (not (gone or new))
                )
        yield from (
            f"{name}: the panel says no longer {text!r}" for text in picture["texts"] if not _is_known(text, known)
        )


def containers_of(part, editor, hidden: bool = False) -> dict[str, list[str]]:
    """Name -> the named widgets directly in it, as "class name", for ``part`` and all named widgets in it that are visible (or all)
    and hold such; Slicer's own editor is left out."""
    from PyQt5 import QtWidgets

    found: dict[str, list[str]] = {}
    for widget in part.findChildren(QtWidgets.QWidget):
        if not _has_name(widget) or widget is editor or editor.isAncestorOf(widget):
            continue
        around = widget.parentWidget()
        while around is not part and not _has_name(around):
            around = around.parentWidget()
        if _has_name(around) and (hidden or around.isVisible()):
            found.setdefault(around.objectName, []).append(f"{widget.metaObject().className()} {widget.objectName}")
    return found


def _has_name(widget) -> bool:
    """Whether we gave it a name, and not Qt to a part of another widget."""
    name = widget.objectName
    return name == "S3NetSegment" or (name[:1].islower() and not name.startswith("qt_"))


def texts_of(part, editor) -> list[str]:
    """The lines that a user reads on ``part``, but for Slicer's own editor."""
    from PyQt5 import QtWidgets

    shown = [w for w in part.findChildren(QtWidgets.QWidget) if w.isVisible() and not editor.isAncestorOf(w)]
    return [
        line for widget in [part, *shown] for text in texts_on(widget) for line in re.split(r"\n|<br/?>", text) if line
    ]


def texts_on(widget) -> list[str]:
    """What a widget lets the user read, tooltips aside: in them methods have their names."""
    from PyQt5 import QtWidgets

    if isinstance(widget, QtWidgets.QComboBox):
        return [widget.itemText(n) for n in range(widget.count)]
    if isinstance(widget, QtWidgets.QTableWidget):
        return [widget.horizontalHeaderItem(n).text() for n in range(widget.columnCount)]
    if isinstance(widget, QtWidgets.QTabBar):
        return [widget.tabText(n) for n in range(widget.count)]
    if isinstance(widget, QtWidgets.QLineEdit):
        return [widget.placeholderText]
    if isinstance(widget, (QtWidgets.QAbstractButton, QtWidgets.QLabel)):
        return [widget.text]
    return []


def text_patterns() -> Iterator[re.Pattern]:
    """A pattern for each line of the texts of the panel that the program fills in or shows as they are."""
    for template in _templates():
        for line in template.splitlines():
            parts = re.split(r"\{[^{}]*\}", line)
            if len(parts) == 1 or len(re.findall("[A-Za-z]", "".join(parts))) >= _LEAST:
                yield re.compile(".*".join(map(re.escape, parts)))


def _templates() -> Iterator[str]:
    for path in translated_texts.files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
            if (
                isinstance(node, ast.Call)
                and getattr(node.func, "id", "") == "_"
                and isinstance(node.args[0], ast.Constant)
            ):
                yield node.args[0].value
    for path in sorted((MODULE / "Resources" / "UI").glob("*.ui")):
        yield from (string.text or "" for string in ElementTree.parse(path).iter("string"))


def _is_known(text: str, patterns: Iterable[re.Pattern]) -> bool:
    return any(pattern.fullmatch(text) for pattern in patterns)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
