"""The demo's report: report.md and a page, index.html, that shows the same in a browser."""

from __future__ import annotations

import html
from pathlib import Path

from .. import __version__
from ..engine.common.device import describe_device
from ..engine.images.files import replace_text

EXPLANATION = (
    "Dice: overlap with the drawing that comes with the sample, 0 (none) to 1 (the same). The point is the innermost voxel "
    "of that drawing, the rough radius a guess as by dragging from it; everything else is automatic. k-means: the simple method beside it, 2 clusters for colour and 3 for "
    "grey images, from the same point. The organs of the CT were drawn by a network, not by a person. A few images show "
    "that the software works, not how well: the measured tables are in Resources/Documentation/benchmarks.md."
)
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:1560px;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse}td,th{padding:.25em .9em;border-bottom:1px solid #ddd;text-align:left}"
    "td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}img{max-width:100%;display:block}"
    "h2{margin:1.6em 0 .3em}p.caption{color:#555;margin:.3em 0}"
)


def write_report(folder: Path, results, few_shot, seconds: float) -> Path:
    """Writes report.md and index.html into ``folder``; returns the path of report.md."""
    replace_text(folder / "index.html", _page(results, few_shot, seconds))
    replace_text(folder / "report.md", _markdown(results, few_shot, seconds))
    return folder / "report.md"


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


def _few_shot_rows(few_shot):
    """(sample, drawn slices, segment, Dice, Dice of the nearest slice, Dice that was expected, seconds) as texts."""
    for result in few_shot:
        for number, segment in enumerate(result.segments):
            first = number == 0
            yield (
                result.title if first else "",
                ", ".join(map(str, result.drawn)) if first else "",
                segment.name,
                f"{segment.dice:.2f}",
                f"{segment.nearest_dice:.2f}",
                f"{segment.expected_dice:.2f}",
                f"{result.seconds:.1f} s" if first else "",
            )


FEW_SHOT_HEADS = (
    "sample", "drawn slices", "segment", "Dice", "Dice of the nearest slice", "expected by the software", "seconds",
)  # fmt: skip
FEW_SHOT_EXPLANATION = (
    "Three slices of the labels that come with the sample are taken for a drawing; all other slices are found from them and "
    "compared with the labels there (the drawn slices do not count). The simple method beside it repeats the nearest drawn "
    "slice. Expected: what the software itself expects of its answer, without knowing the labels."
)
HEADS = ("sample", "task", "Dice", "Dice of k-means", "search, once", "answer")


def _markdown(results, few_shot, seconds: float) -> str:
    lines = ["# S3NetSegment: demo", "", _conditions(seconds), "", EXPLANATION, ""]
    lines += ["| " + " | ".join(HEADS) + " |", "| --- | --- | ---: | ---: | ---: | ---: |"]
    lines += ["| " + " | ".join(row) + " |" for row in _rows(results)]
    for result in results:
        lines += ["", f"## {result.title}", "", _caption(result), "", f"![{result.title}]({result.picture})"]
    lines += ["", "## Few-shot: three drawn slices, then the volume", "", FEW_SHOT_EXPLANATION, ""]
    lines += ["| " + " | ".join(FEW_SHOT_HEADS) + " |", "| --- | --- | --- | ---: | ---: | ---: | ---: |"]
    lines += ["| " + " | ".join(row) + " |" for row in _few_shot_rows(few_shot)]
    for result in few_shot:
        lines += ["", f"### {result.title}", "", _few_shot_caption(result), "", f"![{result.title}]({result.picture})"]
    lines += ["", "The samples, their origins and licences: `Resources/SampleData/SOURCES.md`.", ""]
    return "\n".join(lines)


def _caption(result) -> str:
    size = " x ".join(str(n) for n in result.size if n > 1)
    return (
        f"{result.modality}, {size}. From left: {', '.join(result.panels)}. "
        f"For Slicer: `{result.segmentation}` on `Resources/SampleData/{result.image}`."
    )


def _few_shot_caption(result) -> str:
    return (
        f"{result.modality}. From left: {'; '.join(result.panels)}. To repeat it: `s3net few-shot "
        f"Resources/SampleData/{result.image} --support {result.drawing} --axis {result.axis} -o organs.seg.nrrd`. "
        f"For Slicer: `{result.segmentation}`."
    )


def _page(results, few_shot, seconds: float) -> str:
    samples, volumes = (
        "\n".join(_html_picture(r, caption(r)) for r in each)
        for each, caption in ((results, _caption), (few_shot, _few_shot_caption))
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>S3NetSegment: demo</title>'
        f"<style>{STYLE}</style></head>\n<body><h1>S3NetSegment: demo</h1>\n<p>{html.escape(_conditions(seconds))}</p>\n"
        f"<p>{html.escape(EXPLANATION)}</p>\n{_html_table(HEADS, _rows(results), 2)}\n{samples}\n"
        f"<h1>Few-shot: three drawn slices, then the volume</h1>\n<p>{html.escape(FEW_SHOT_EXPLANATION)}</p>\n"
        f"{_html_table(FEW_SHOT_HEADS, _few_shot_rows(few_shot), 3)}\n{volumes}\n</body></html>\n"
    )


def _html_table(heads, rows, words: int) -> str:
    """A table whose first ``words`` columns are text and the others numbers."""

    def line(tag: str, cells) -> str:
        texts = (f"<{tag}{' class=n' if n >= words else ''}>{html.escape(t)}</{tag}>" for n, t in enumerate(cells))
        return f"<tr>{''.join(texts)}</tr>"

    return f"<table>{line('th', heads)}\n" + "\n".join(line("td", row) for row in rows) + "</table>"


def _html_picture(result, caption: str) -> str:
    title, picture = html.escape(result.title), html.escape(result.picture)
    text = html.escape(caption).replace("`", "")
    return f'<h2>{title}</h2>\n<img src="{picture}" alt="{title}">\n<p class="caption">{text}</p>'
