#!/usr/bin/env python3
"""Texts that users see go through ``_()``, so that Slicer can translate them: finds those in the panel that do not.

    python3 Testing/translated_texts.py            # lists them
    python3 Testing/translated_texts.py --write    # puts them into _(); f-strings become _("...{name}").format(name=...)

What counts as a text: a string of at least two words, one capitalised word ("Cancel"), or any with a letter that is given to a
widget to show. What the engine
says (refusals, steps of progress) is not among it: the engine knows nothing of Slicer.
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

MODULE = Path(__file__).resolve().parents[1] / "S3NetSegment"
_FUNCTION = "_"
_IMPORT = "from slicer.i18n import tr as _\n"
# Strings in calls of these are not shown, or are translated elsewhere.
_NOT_SHOWN = {
    "RuntimeError", "TypeError", "ValueError", "QKeySequence", "SetName", "GetNodeReference", "SetNodeReferenceID", "compile",
    "info", "warning", "debug", "error", "exception", "startswith", "endswith", "partition", "split", "getattr", "setattr",
    "setStyleSheet", "loadUI", "fact", "segment_fact", "_key", "translate", "join", "AddNewNodeByClass", "GenerateUniqueName", "findChild",
}  # fmt: skip
_SHOWN_NAMES = {"text", "toolTip", "placeholderText", "windowTitle", "title"}
_SHOWN_CALLS = {"addItem", "addItems", "setToolTip", "setText", "QLabel", "QPushButton", "QCheckBox", "QTableWidgetItem", "addButton"}  # fmt: skip
_WORDS = re.compile(r"[A-Za-z][a-z]+,? +[a-zA-Z(]|^[A-Z][a-z]{2,}(\.\.\.)?$")


@dataclass(frozen=True)
class Found:
    """One text that is not translated."""

    path: Path
    line: int
    text: str
    node: ast.AST


_FOR_SCRIPTS = {"script.py", "script_checks.py", "script_support.py", "self_test.py"}  # what programs read or write
_MARK = "# no translation"  # at the end of a line whose text is a name, or is kept in a file or a tag


def files() -> list[Path]:
    """The files that hold texts for users."""
    found = [
        *sorted((MODULE / "S3NetSegmentLib" / "panel").rglob("*.py")),
        MODULE / "S3NetSegment.py",
        *sorted((MODULE / "SegmentEditorFewShotLib").glob("*.py")),
    ]
    return [path for path in found if path.name not in _FOR_SCRIPTS]


def untranslated(path: Path) -> list[Found]:
    """The texts of a file that do not go through ``_()``, and f-strings in it, which cannot be looked up."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for parent in ast.walk(tree):
        for child in ast.iter_child_nodes(parent):
            child.parent = parent
    docstrings = {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and _is_docstring(node)
    }
    marked = {n for n, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1) if _MARK in line}
    found = []
    for node in ast.walk(tree):
        if (
            not isinstance(node, (ast.Constant, ast.JoinedStr))
            or node in docstrings
            or isinstance(node.parent, (ast.JoinedStr, ast.Subscript))
            or _of_path(node.parent)
        ):
            continue
        if marked & set(range(node.lineno, node.end_lineno + 1)):
            continue
        text = re.sub(r"<[^>]*>?|[^<]*>|&\w+;|&#\d+;", "", _shown_text(node) or "") or None  # no mark-up
        if text is None or not re.search("[A-Za-z]{2}", text) or isinstance(node.parent, ast.Expr):
            continue
        call = _call_around(node)
        if call == _FUNCTION and isinstance(node, ast.Constant):
            continue
        if call == _FUNCTION or (call not in _NOT_SHOWN and (_WORDS.search(text) or _given_to_widget(node))):
            found.append(Found(path, node.lineno, text, node))
    return found


def hidden(path: Path) -> list[str]:
    """The functions of a file in which another ``_`` hides the function that translates, though they call it."""
    names = []
    for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(function, (ast.FunctionDef, ast.Lambda)):
            continue
        body = function.body if isinstance(function.body, list) else [function.body]
        inside = [node for part in body for node in ast.walk(part)]
        arguments = [a.arg for a in ast.walk(function.args) if isinstance(a, ast.arg)]
        stored = any(isinstance(n, ast.Name) and n.id == _FUNCTION and isinstance(n.ctx, ast.Store) for n in inside)
        called = any(isinstance(n, ast.Call) and getattr(n.func, "id", "") == _FUNCTION for n in inside)
        if called and (stored or _FUNCTION in arguments):
            names.append(f"{path.name}:{function.lineno}")
    return names


def _is_docstring(node) -> bool:
    first = node.body[0] if node.body else None
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)


def _shown_text(node) -> str | None:
    """The constant part of a string; None for other constants."""
    if isinstance(node, ast.JoinedStr):
        return " ".join(part.value for part in node.values if isinstance(part, ast.Constant))
    return node.value if isinstance(node.value, str) else None


def _of_path(parent) -> bool:
    return isinstance(parent, ast.BinOp) and isinstance(parent.op, ast.Div)


def _call_around(node) -> str:
    """The name of the nearest call that gets the string as an argument; "" for none."""
    before, around = node, node.parent
    while isinstance(around, (ast.BinOp, ast.IfExp, ast.Tuple, ast.List, ast.keyword, ast.Starred, ast.FormattedValue, ast.JoinedStr)):  # fmt: skip
        before, around = around, around.parent
    if isinstance(around, ast.Call) and before is not around.func:
        function = around.func
        return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
    return ""


def _given_to_widget(node) -> bool:
    if _call_around(node) in _SHOWN_CALLS:
        return True
    around = node.parent
    while isinstance(around, (ast.BinOp, ast.IfExp)):
        around = around.parent
    if isinstance(around, ast.Assign):
        return any(isinstance(t, ast.Attribute) and t.attr in _SHOWN_NAMES for t in around.targets)
    return False


# -- writing


def write(path: Path) -> int:
    """Puts the texts of a file into ``_()``; returns how many."""
    done = 0
    while True:  # one after the other: positions change
        found = untranslated(path)
        if not found:
            break
        source = path.read_text(encoding="utf-8")
        node = found[-1].node
        lines = source.encode().splitlines(keepends=True)
        starts = [0]
        for line in lines:
            starts.append(starts[-1] + len(line))
        start = starts[node.lineno - 1] + node.col_offset
        stop = starts[node.end_lineno - 1] + node.end_col_offset
        own = source.encode()[start:stop].decode()
        if _call_around(node) == _FUNCTION:
            raise SystemExit(f"{path}:{node.lineno}: an f-string in _() cannot be translated; write it by hand")
        new = _formatted(node) if isinstance(node, ast.JoinedStr) else f"_({own})"
        source = (source.encode()[:start] + new.encode() + source.encode()[stop:]).decode()
        if not re.search(r"^from slicer\.i18n import tr as _$", source, re.M):
            source = _with_import(source)
        path.write_text(source, encoding="utf-8")
        done += 1
    return done


def _formatted(node: ast.JoinedStr) -> str:
    template, values = "", {}
    for part in node.values:
        if isinstance(part, ast.Constant):
            template += part.value.replace("{", "{{").replace("}", "}}")
            continue
        expression = ast.unparse(part.value)
        name = _name(part.value, expression, values)
        values[name] = expression
        conversion = {-1: "", 114: "!r", 115: "!s", 97: "!a"}[part.conversion]
        form = "".join(p.value for p in part.format_spec.values) if part.format_spec is not None else ""
        template += "{" + name + conversion + (":" + form if form else "") + "}"
    if not values:
        return f"_({_literal(template)})"
    return f"_({_literal(template)}).format({', '.join(f'{n}={e}' for n, e in values.items())})"


def _literal(text: str) -> str:
    if len(text) <= 90 or "\n" in text:
        return repr(text)
    parts = textwrap.wrap(text, 90, drop_whitespace=False, break_long_words=False, break_on_hyphens=False)
    return "\n".join(map(repr, parts))


def _name(value, expression: str, values: dict) -> str:
    inner = value
    while isinstance(inner, ast.Call) and (inner.args or isinstance(inner.func, ast.Attribute)):
        inner = inner.args[0] if inner.args else inner.func.value
    stem = inner.id if isinstance(inner, ast.Name) else inner.attr if isinstance(inner, ast.Attribute) else "value"
    stem = stem.strip("_") or "value"
    name, number = stem, 2
    while name in values and values[name] != expression:
        name, number = f"{stem}{number}", number + 1
    return name


def _with_import(source: str) -> str:
    tree = ast.parse(source)
    imports = [
        n for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom)) and getattr(n, "module", "") != "__future__"
    ]
    line = imports[0].lineno if imports else tree.body[0].end_lineno + 1
    lines = source.splitlines(keepends=True)
    return "".join([*lines[: line - 1], _IMPORT, *lines[line - 1 :]])


def main() -> int:
    if "--write" in sys.argv:
        print(sum(write(path) for path in files()), "texts put into _()")
        return 0
    found = [one for path in files() for one in untranslated(path)]
    for one in found:
        print(f"{one.path.relative_to(MODULE)}:{one.line}: {one.text}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
