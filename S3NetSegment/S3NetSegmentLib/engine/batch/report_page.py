"""The report as one page of HTML that needs nothing else: pictures are in it, and nothing is ever loaded from the net."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from html import escape
from urllib.parse import quote

from ... import __version__

_STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 1.5rem; color: #1c1c1c; background: #fff; }
h1 { font-size: 1.3rem; margin: 0 0 .3rem; }
p { margin: 0 0 1rem; color: #555; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: .35rem .6rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top; }
th { position: sticky; top: 0; background: #f4f4f4; }
th button { font: inherit; font-weight: 600; border: 0; padding: 0; background: none; cursor: pointer; }
th[aria-sort=ascending] button::after { content: " \\25b2"; }
th[aria-sort=descending] button::after { content: " \\25bc"; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.name { overflow-wrap: anywhere; min-width: 9rem; }
img { display: block; max-width: 176px; max-height: 176px; background: #eee; }
.failed td { background: #fdecea; } .waiting td { color: #888; }
.why { color: #8a4b00; } .error { color: #a01818; } small { color: #666; }
""".strip()

_SCRIPT = """
document.querySelectorAll("th button").forEach(function (button) {
  button.addEventListener("click", function () {
    var head = button.parentNode, body = document.querySelector("tbody");
    var column = Array.prototype.indexOf.call(head.parentNode.children, head);
    var up = head.getAttribute("aria-sort") === "descending" ||
      (head.getAttribute("aria-sort") === "none" && head.dataset.first === "ascending");
    document.querySelectorAll("th").forEach(function (other) { other.setAttribute("aria-sort", "none"); });
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    var rows = Array.prototype.slice.call(body.rows).map(function (row, place) {
      return [row.cells[column].dataset.sort, place, row];
    });
    rows.sort(function (a, b) {
      if (a[0] === "" || b[0] === "") return (a[0] === "") - (b[0] === "") || a[1] - b[1];
      var x = Number(a[0]), y = Number(b[0]);
      var order = isNaN(x) || isNaN(y) ? a[0].localeCompare(b[0]) : x - y;
      return (up ? order : -order) || a[1] - b[1];
    });
    rows.forEach(function (row) { body.appendChild(row[2]); });
  });
});
""".strip()

_EXPLAINED = (
    "Confidence: Segment, how unanimous the candidates are inside the object; Few-shot, the expected Dice. "
    "For research, not for diagnosis."
)
_COLUMNS = (
    ("Look here first", "descending"),
    ("Picture", None),
    ("Case", "ascending"),
    ("Status", "ascending"),
    ("Method", "ascending"),
    ("Confidence", "ascending"),
    ("Volume, ml", "descending"),
    ("Seconds", "descending"),
    ("Segments and remarks", None),
)


def page(rows: Iterable, counts: dict[str, int]) -> str:
    """The page of ``rows`` (:class:`~.report.ReportRow`), in their order."""
    heads = "".join(
        _head(title, first, sort="descending" if n == 0 else "none") for n, (title, first) in enumerate(_COLUMNS)
    )
    told = ", ".join(f"{count} {state}" for state, count in counts.items())
    # Only this very script and style may act, whatever names of files and segments say.
    policy = f"default-src 'none'; img-src data:; style-src {_digest(_STYLE)}; script-src {_digest(_SCRIPT)}"
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>Batch: {escape(told)}</title><style>{_STYLE}</style></head><body>",
            f"<h1>Batch: {escape(told)}</h1>",
            f"<p>{_EXPLAINED} S3NetSegment {escape(__version__)}</p>",
            f"<table><thead><tr>{heads}</tr></thead><tbody>",
            *map(_line, rows),
            f"</tbody></table><script>{_SCRIPT}</script></body></html>",
            "",
        ]
    )


def _head(title: str, first: str | None, sort: str) -> str:
    if first is None:
        return f'<th aria-sort="none">{title}</th>'
    return f'<th aria-sort="{sort}" data-first="{first}"><button type="button">{title}</button></th>'


def _line(row) -> str:
    picture = (
        f'<img alt="" src="{escape(row.thumbnail)}">' if row.thumbnail.startswith("data:image/png;base64,") else ""
    )
    if picture and row.overlay:
        picture = f'<a href="{escape(_address(row.overlay))}">{picture}</a>'
    name = escape(row.name)
    if row.status == "done":
        name = f'<a href="{escape(_address(row.output))}">{name}</a>'
    remarks = [
        f'<span class="error">{escape(row.error)}</span>' if row.error else "",
        escape(row.segments),
        f"<small>{escape(row.notes)}</small>" if row.notes else "",
    ]
    cells = [
        f'<td class="why" data-sort="{row.look:.4f}">{escape(row.why)}</td>',
        f"<td data-sort>{picture}</td>",
        f'<td class="name" data-sort="{escape(row.name)}">{name}<br><small>{escape(row.image)}</small></td>',
        f'<td data-sort="{escape(row.status)}">{escape(row.status)}</td>',
        f'<td data-sort="{escape(row.method)}">{escape(row.method)}</td>',
        _number(row.confidence, "{:.2f}"),
        _number(row.volume_ml, "{:,.2f}"),
        _number(row.seconds, "{:,.1f}"),
        f"<td data-sort>{'<br>'.join(filter(None, remarks))}</td>",
    ]
    return f'<tr class="{escape(row.status)}">{"".join(cells)}</tr>'


def _number(value: float | None, form: str) -> str:
    if value is None:
        return '<td class="number" data-sort=""></td>'
    return f'<td class="number" data-sort="{value:.6g}">{form.format(value)}</td>'


def _address(name: str) -> str:
    return "./" + quote(name)


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
