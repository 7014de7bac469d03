"""The report as one page of HTML that needs nothing else: pictures are in it, and nothing is ever loaded from the net."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterable
from html import escape
from urllib.parse import quote

from ... import __version__
from ..images.segment_size import shown_size
from .report_style import SCRIPT, STYLE

_EXPLAINED = (
    "Confidence: Segment, how unanimous the candidates are inside the object; Few-shot, the expected Dice; a model, its mean "
    "probability inside what it found. For research, not for diagnosis."
)
_MOST_SEGMENTS = 6  # more are folded
_MOST_PICTURES = 2000  # in the page; each has some 15 KB, and a browser must hold them all
_COLUMNS = (
    # title, how it is sorted first, whether by numbers
    ("Look here first", "descending", True),
    ("Picture", None, False),
    ("Case", "ascending", False),
    ("Method", "ascending", False),
    ("Confidence", "ascending", True),
    ("Size", "descending", True),
    ("Seconds", "descending", True),
    ("Memory, MB", "descending", True),
    ("Segments and remarks", None, False),
)


def page(rows: Iterable, counts: dict[str, int]) -> str:
    """The page of ``rows`` (:class:`~.report.ReportRow`), in their order."""
    rows = list(rows)
    heads = "".join(_head(*column, sort="descending" if n == 0 else "none") for n, column in enumerate(_COLUMNS))
    told = escape(", ".join(f"{count:,} {state}" for state, count in counts.items() if count) or "no cases")
    shared = _shared_folder([row.image for row in rows])
    # Only this very script and style may act, whatever names of files and segments say.
    policy = f"default-src 'none'; img-src data:; style-src {_digest(STYLE)}; script-src {_digest(SCRIPT)}"
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>Batch: {told}</title><style>{STYLE}</style></head><body>",
            f"<h1>Batch: {told}</h1>",
            f"<p>{escape(_totals(rows))}{escape(f' Images in {shared}') if shared else ''}</p>",
            f"<p>{_EXPLAINED} S3NetSegment {escape(__version__)}</p>",
            _form(rows, counts),
            f"<table><thead><tr>{heads}</tr></thead><tbody>",
            *(_line(row, shared, number < _MOST_PICTURES) for number, row in enumerate(rows)),
            f"</tbody></table><script>{SCRIPT}</script></body></html>",
            "",
        ]
    )


def _totals(rows: list) -> str:
    """What the batch took, in one sentence."""
    seconds = sum(row.seconds or 0 for row in rows)
    memory = max((row.memory_mb for row in rows if row.memory_mb), default=None)
    look = sum(bool(row.why) for row in rows)
    took = (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )
    most = f", at most {memory:,} MB of memory" if memory else ""
    return f"{look:,} to look at. All cases together took {took}{most}."


def _shared_folder(images: list[str]) -> str:
    """The folder that all images lie in, "" if there is none that is worth telling once instead of in each line."""
    try:
        shared = os.path.commonpath([os.path.dirname(image) for image in images]) if len(images) > 1 else ""
    except ValueError:  # on several drives
        return ""
    return shared if len(shared) > 3 else ""


def _form(rows: list, counts: dict[str, int]) -> str:
    """What filters the lines; shown by the script, so that it is not there where scripts do not run."""
    states = [("", "all cases"), ("look", "to look at"), *((s, s) for s, count in counts.items() if count)]
    methods = [("", "all methods"), *((m, m) for m in sorted({row.method for row in rows}))]
    return (
        '<form hidden><input type="search" name="search" placeholder="Filter by name or remark" aria-label="Filter">'
        f"{_select('state', states)}{_select('method', methods)}<output></output></form>"
    )


def _select(name: str, options: list[tuple[str, str]]) -> str:
    inside = "".join(f'<option value="{escape(value)}">{escape(text)}</option>' for value, text in options)
    return f'<select name="{name}" aria-label="{name}">{inside}</select>'


def _head(title: str, first: str | None, by_number: bool, sort: str) -> str:
    side = ' class="number"' if by_number and title != _COLUMNS[0][0] else ""
    if first is None:
        return f'<th aria-sort="none"{side}>{title}</th>'
    kind = "number" if by_number else "text"
    return f'<th aria-sort="{sort}" data-first="{first}" data-kind="{kind}"{side}><button type="button">{title}</button></th>'


def _line(row, shared: str, with_picture: bool) -> str:
    picture = ""
    if with_picture and row.thumbnail.startswith("data:image/png;base64,"):
        picture = f'<img alt="" src="{escape(row.thumbnail)}">'
    if row.overlay:
        picture = f'<a href="{escape(_address(row.overlay))}">{picture or "picture"}</a>'
    name = escape(row.name)
    if row.status == "done":
        name = f'<a href="{escape(_address(row.output))}">{name}</a>'
    image = os.path.relpath(row.image, shared) if shared else row.image
    remarks = [
        f'<span class="error">{escape(row.error)}</span>' if row.error else "",
        _folded(escape(row.segments), row.segments.count("; ") + 1),
        f"<small>{escape(row.notes)}</small>" if row.notes else "",
    ]
    reason = row.why or (row.status if row.status != "done" else "")
    cells = [
        f'<td class="reason{" why" * bool(row.why)}" data-sort="{row.look:.4f}">{escape(reason)}</td>',
        f'<td class="picture" data-sort>{picture}</td>',
        f'<td class="name" data-sort="{escape(row.name)}">{name}<br><small>{escape(image)}</small></td>',
        f'<td data-sort="{escape(row.method)}">{escape(row.method)}</td>',
        _number(row.confidence, "{:.2f}"),
        _size(row),
        _number(row.seconds, "{:,.1f}"),
        _number(row.memory_mb, "{:,}"),
        f'<td class="remarks" data-sort>{"<br>".join(filter(None, remarks))}</td>',
    ]
    return f'<tr class="{escape(row.status)}" data-method="{escape(row.method)}">{"".join(cells)}</tr>'


def _folded(text: str, count: int) -> str:
    return text if count <= _MOST_SEGMENTS else f"<details><summary>{count} segments</summary>{text}</details>"


def _number(value: float | None, form: str) -> str:
    if value is None:
        return '<td class="number" data-sort=""></td>'
    return f'<td class="number" data-sort="{value:.6g}">{form.format(value)}</td>'


def _size(row) -> str:
    """The size in its unit; sorted by the volume, or by what stands for it in pictures."""
    if row.voxels is None:
        return _number(None, "")
    value = next(v for v in (row.volume_ml, row.area_mm2, row.voxels) if v is not None)
    size = {name: getattr(row, name) for name in ("voxels", "volume_ml", "area_mm2")}
    return f'<td class="number" data-sort="{value:.6g}">{escape(shown_size(size))}</td>'


def _address(name: str) -> str:
    return "./" + quote(name)


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
