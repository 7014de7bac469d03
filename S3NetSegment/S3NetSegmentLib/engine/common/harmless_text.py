"""Names of files and segments in tables that other programs open: nothing in them may act there."""

from __future__ import annotations

import html


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
