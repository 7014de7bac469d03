"""The demo's report: report.md and a page, index.html, that shows the same in a browser."""

from __future__ import annotations

import html
from pathlib import Path

from .. import __version__
from ..engine.device import describe_device
from ..engine.images.files import replacing

EXPLANATION = (
    "Dice: overlap with the drawing that comes with the sample, 0 (none) to 1 (the same). The point is the innermost voxel "
    "of that drawing, the rough radius a guess as by dragging from it; everything else is automatic. k-means: the simple method beside it, 2 clusters for colour and 3 for "
    "grey images, from the same point. The organs of the CT were drawn by a network, not by a person. A few images show "
    "that the software works, not how well: the README has the measured table."
)
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:1560px;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse}td,th{padding:.25em .9em;border-bottom:1px solid #ddd;text-align:left}"
    "td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}img{max-width:100%;display:block}"
    "h2{margin:1.6em 0 .3em}p.caption{color:#555;margin:.3em 0}"
)


def write_report(folder: Path, results, seconds: float) -> Path:
    """Writes report.md and index.html into ``folder``; returns the path of report.md."""
    _write(folder / "index.html", _page(results, seconds))
    _write(folder / "report.md", _markdown(results, seconds))
    return folder / "report.md"


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _conditions(seconds: float) -> str:
    return f"S3NetSegment {__version__}, {describe_device()}; {seconds:.0f} s in all."


def _rows(results):
    """(sample, task, Dice, Dice of k-means, seconds of the search, seconds of the answer) as texts."""
    for result in results:
        for number, answer in enumerate(result.answers):
            yield (
                f"{result.title}" if number == 0 else "",
                answer.task,
                "nothing found" if answer.dice is None else f"{answer.dice:.2f}",
                "" if answer.baseline_dice is None else f"{answer.baseline_dice:.2f}",
                f"{result.search_seconds:.1f} s" if number == 0 else "",
                f"{answer.seconds:.2f} s",
            )


HEADS = ("sample", "task", "Dice", "Dice of k-means", "search, once", "answer")


def _markdown(results, seconds: float) -> str:
    lines = ["# S3NetSegment: demo", "", _conditions(seconds), "", EXPLANATION, ""]
    lines += ["| " + " | ".join(HEADS) + " |", "| --- | --- | ---: | ---: | ---: | ---: |"]
    lines += ["| " + " | ".join(row) + " |" for row in _rows(results)]
    for result in results:
        lines += ["", f"## {result.title}", "", _caption(result), "", f"![{result.title}]({result.picture})"]
    lines += ["", "The samples, their origins and licences: `Resources/SampleData/SOURCES.md`.", ""]
    return "\n".join(lines)


def _caption(result) -> str:
    size = " x ".join(str(n) for n in result.size if n > 1)
    return (
        f"{result.modality}, {size}. From left: {', '.join(result.panels)}. "
        f"For Slicer: `{result.segmentation}` on `Resources/SampleData/{result.image}`."
    )


def _page(results, seconds: float) -> str:
    heads = "".join(f"<th{' class=n' if n > 1 else ''}>{html.escape(head)}</th>" for n, head in enumerate(HEADS))
    rows = "\n".join(
        "<tr>" + "".join(f"<td{' class=n' if n > 1 else ''}>{html.escape(t)}</td>" for n, t in enumerate(row)) + "</tr>"
        for row in _rows(results)
    )
    samples = "\n".join(
        f'<h2>{html.escape(r.title)}</h2>\n<img src="{html.escape(r.picture)}" alt="{html.escape(r.title)}">\n'
        f'<p class="caption">{html.escape(_caption(r)).replace("`", "")}</p>'
        for r in results
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>S3NetSegment: demo</title>'
        f"<style>{STYLE}</style></head>\n<body><h1>S3NetSegment: demo</h1>\n<p>{html.escape(_conditions(seconds))}</p>\n"
        f"<p>{html.escape(EXPLANATION)}</p>\n<table><tr>{heads}</tr>\n{rows}</table>\n{samples}\n</body></html>\n"
    )
