"""What PythonQt does not forgive and the stand-in for tests does: found in the source, without running it.

``problems(source, widget_classes)`` lists them as texts "line N: ...".
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping

# Gone or changed between Qt 5.15 and 6.8, or other in PythonQt than in PyQt; each with what to use instead.
FORBIDDEN_NAMES = {
    "QRegExp": "QRegularExpression",
    "QDesktopWidget": "slicer.app.screens()",
    "QTextCodec": "bytes.decode",
    "QTime": "QElapsedTimer",
    "QFormLayout": "QGridLayout (hidden rows of a form keep their spacing)",
    "QSignalMapper": "one slot for each sender",
    "QStringRef": "str",
    "setMargin": "setContentsMargins",
    "setRowVisible": "setVisible of both widgets (Qt 6.4 and later only)",
    "setStyleSheet": "the style that the user has chosen",
    "processEvents": "the stepping driver",
    "sizeHint": "boundingRect of the font metrics (a property here, a method there)",
    "pyqtSignal": "a plain Python callback",
    "StandardButton": "the short name: qt.QMessageBox.Ok",
    "AlignmentFlag": "the short name: qt.Qt.AlignTop",
    "ItemDataRole": "the short name: qt.Qt.UserRole",
}
FORBIDDEN_SIGNALS = {
    "currentIndexChanged(QString)": "currentTextChanged(QString)",
    "activated(QString)": "activated(int)",
    "buttonClicked(int)": "idClicked(int)",
    "valueChanged(QString)": "valueChanged(int) or valueChanged(double)",
}
# Qt properties: attributes in PythonQt, not to be called.
PROPERTIES = {
    "text", "value", "currentText", "currentIndex", "checked", "checkable", "enabled", "visible", "toolTip", "maximum",
    "minimum", "title", "font", "icon", "collapsed", "count", "placeholderText", "singleStep", "decimals", "objectName",
}  # fmt: skip
VIEW_NAMES = {"Red", "Green", "Yellow"}


def problems(source: str, widget_classes: Mapping[str, str], signals: Mapping[str, set[str]]) -> list[str]:
    """
    :param widget_classes: name of a widget of the .ui file -> its class.
    :param signals: class -> the signatures of its signals, e.g. "clicked(bool)"; "" -> those of all classes.
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        found += [f"line {node.lineno}: {text}" for text in _of_node(node, widget_classes, signals)]
    return found


def _of_node(node: ast.AST, widget_classes, signals) -> Iterator[str]:
    if isinstance(node, ast.Call):
        yield from _of_call(node, widget_classes, signals)
    if isinstance(node, ast.Attribute) and node.attr in FORBIDDEN_NAMES:
        yield f"{node.attr} must not be used; use {FORBIDDEN_NAMES[node.attr]}"
    if isinstance(node, ast.Constant) and node.value in VIEW_NAMES:
        yield f"the slice view {node.value!r} is named; other layouts have other views"


def _of_call(node: ast.Call, widget_classes, signals) -> Iterator[str]:
    name = ast.unparse(node.func)
    if re.match(r"(qt|ctk)\.|slicer\.q(MRML|Slicer)", name) and node.keywords:
        yield f"{name}({', '.join(k.arg or '**' for k in node.keywords)}=...): PythonQt takes no keyword arguments"
    if name == "isinstance" and re.search(r"\b(qt|ctk)\.|slicer\.q(MRML|Slicer)", ast.unparse(node.args[1])):
        yield "isinstance of a Qt class is false in PythonQt; use inherits(), isWidgetType() or className()"
    if isinstance(node.func, ast.Attribute):
        if node.func.attr in PROPERTIES and not node.args and not node.keywords and _may_be_widget(node.func.value):
            yield f"{name}(): {node.func.attr} is a property in PythonQt; leave the brackets out"
        if node.func.attr in ("connect", "disconnect") and node.args and isinstance(node.args[0], ast.Constant):
            yield from _of_connection(node, widget_classes, signals)


def _of_connection(node: ast.Call, widget_classes, signals) -> Iterator[str]:
    signal = node.args[0].value
    if signal in FORBIDDEN_SIGNALS:
        yield f"{signal} is gone in Qt 6; use {FORBIDDEN_SIGNALS[signal]}"
        return
    sender = ast.unparse(node.func.value).rsplit(".", 1)[-1]
    owner = widget_classes.get(sender, "")
    if not _known(signal, signals.get(owner, signals[""])):
        yield f"{owner or 'no class'} has {'no' if owner else 'a'} signal {signal}"


def _known(signal: str, signatures: set[str]) -> bool:
    """``clicked()`` is known if there is ``clicked(bool)``: slots may take fewer arguments."""
    name, _, arguments = signal.partition("(")
    if arguments == ")":
        return any(signature.partition("(")[0] == name for signature in signatures)
    return signal in signatures


def _may_be_widget(value: ast.expr) -> bool:
    """Not the result of another call, e.g. a QRect, whose width() is a method."""
    return not isinstance(value, (ast.Call, ast.Constant))
