"""Files that others write or open: JSON that may be damaged, bounded in size and with one kind of error for all that is wrong; and
names in tables, in which nothing may act."""

from __future__ import annotations

import html
import json
import os
from pathlib import Path
from typing import Any

from ..images.files import refuse_devices
from .errors import InputError

LARGEST = 64 << 20  # bytes


def read_json(path: str | os.PathLike, remedy: str = "correct or remove it"):
    """The content of the JSON file at ``path``.

    :param remedy: what the message of an error advises.
    :raises InputError: missing, unreadable, larger than 64 MB, no UTF-8 text, no JSON, a name that is given twice, or nested too deeply.
    """
    shown = repr(os.fspath(path))
    try:
        refuse_devices(path)
        size = os.path.getsize(path)
        if size > LARGEST:
            raise InputError(f"{shown} has {size >> 20:,} MB, more than such a file ever needs; {remedy}")
        return json.loads(Path(path).read_text(encoding="utf-8-sig"), object_pairs_hook=without_repeats)
    except InputError:
        raise
    except RecursionError:
        raise InputError(f"{shown} is nested too deeply to be read; {remedy}") from None
    except (ValueError, OSError) as error:
        raise InputError(f"{shown} is not readable JSON ({error}); {remedy}") from None


def without_repeats(pairs: list[tuple[str, Any]]) -> dict:
    """The object of ``pairs``, for ``json.loads``. ValueError for a name that is given twice: the last would win in silence."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"a name is given twice among {', '.join(repr(name) for name, _ in pairs)[:200]}")
    return found


def json_object(path: str | os.PathLike) -> dict:
    """The JSON object in the file at ``path``; {} where it is not there, damaged, or something else."""
    try:
        content = read_json(path)
    except InputError:
        return {}
    return content if isinstance(content, dict) else {}


def spreadsheet_cell(value):
    """``value`` for a CSV file: a text that spreadsheets would run as a formula gets an apostrophe before it."""
    return (
        f"'{value}"
        if isinstance(value, str) and value.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r"))
        else value
    )


def markdown_cell(text: str) -> str:
    """``text`` for a table in Markdown: one line, no HTML, no end of the cell, no address that is loaded."""
    plain = html.escape(" ".join(text.split()), quote=False)
    return "".join(f"\\{c}" if c in "\\|[]`*_!" else c for c in plain)
