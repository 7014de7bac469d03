"""Text in columns (CSV), as spreadsheets write and read it."""

from __future__ import annotations

import re

_TOLD = re.compile(r'"?sep=([^\s\w"]|\t)"?[ ,;\t]*', re.IGNORECASE)
COMMENTS = ("#", "//")


def lines_and_delimiter(text: str) -> tuple[list[str], str]:
    """The lines of ``text`` with their ends, and what separates its columns: what a first line such as ``sep=;``, which is for
    spreadsheets and becomes empty, says; else that of comma, semicolon and tab which its first line that is no comment holds most
    often, a comma where there is none."""
    lines = text.splitlines(keepends=True)
    told = _TOLD.fullmatch(lines[0].rstrip("\r\n")) if lines else None
    if told:
        return ["\n", *lines[1:]], told[1]
    first = next((line for line in lines if line.strip() and not line.lstrip().startswith(COMMENTS)), "")
    return lines, max(",;\t", key=first.count)
