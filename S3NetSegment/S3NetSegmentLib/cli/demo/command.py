"""``s3net demo``: the main job on the shipped samples, with a report (report.md and a page, index.html, that shows the same)."""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path

from ... import __version__
from ..arguments import add_device, finish, new_command
from ..environment import REPOSITORY
from ..terminal import ProgressDisplay, about, report, shown_path

DEFAULT_FOLDER = "S3NetSegment-demo"
SAMPLES = REPOSITORY / "Resources" / "SampleData"
_SAMPLES_SHARE = 0.7  # of the time; few-shot has the rest

DESCRIPTION = f"""\
Segments the real images that come with the software: automatically, with one point, and into regions, in 2D and in 3D,
and by few-shot: three drawn slices become the organs of the whole volume.
Writes a .seg.nrrd for Slicer and a picture for each, and a report (report.md, index.html) that compares the results with
the drawings that come with the samples and with simple methods. The folder is ./{DEFAULT_FOLDER} unless -o names another;
files of an earlier demo there are replaced, others stay."""
EXPLANATION = (
    "Dice: overlap with the drawing that comes with the sample, 0 (none) to 1 (the same). The point is the innermost voxel "
    "of that drawing, the rough radius a guess as by dragging from it; everything else is automatic. k-means: the simple method beside it, 2 clusters for colour and 3 for "
    "grey images, from the same point. The organs of the CT were drawn by a network, not by a person. A few images show "
    "that the software works, not how well: the measured tables are in Resources/Documentation/benchmarks.md."
)
HEADS = ("sample", "task", "Dice", "Dice of k-means", "search, once", "answer")
FEW_SHOT_EXPLANATION = (
    "Three slices of the labels that come with the sample are taken for a drawing; all other slices are found from them and "
    "compared with the labels there (the drawn slices do not count). The simple method beside it repeats the nearest drawn "
    "slice. Expected: what the software itself expects of its answer, without knowing the labels."
)
FEW_SHOT_HEADS = (
    "sample", "drawn slices", "segment", "Dice", "Dice of the nearest slice", "expected by the software", "seconds",
)  # fmt: skip


def register(commands) -> None:
    parser = new_command(commands, "demo", "try it on the samples that come with it", DESCRIPTION)
    parser.add_argument("-o", "--output", metavar="DIR", default=DEFAULT_FOLDER, help="where the results go")
    add_device(parser)
    finish(parser, run)


def run(arguments: argparse.Namespace) -> int:
    """Runs all samples, writes the report, says where it is."""
    from ...engine import InputError, run_to_end
    from ...engine.common.progress import as_part_of
    from ...engine.images.files import check_output_path

    started = time.perf_counter()
    folder = Path(arguments.output)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"output {str(folder)!r} is a file; give the name of a folder")
    check_output_path(folder / "report.png", (".png",))
    from .few_shot import run_few_shot
    from .samples import run_samples

    with ProgressDisplay(arguments.quiet) as progress:
        results = run_to_end(as_part_of(run_samples(SAMPLES, folder, arguments.device), 0.0, _SAMPLES_SHARE), progress)
        few_shot = run_to_end(as_part_of(run_few_shot(SAMPLES, folder), _SAMPLES_SHARE, 1.0), progress)
        seconds = time.perf_counter() - started
        report_file = _write_report(folder, results, few_shot, seconds)
    summary = _summary(arguments, folder, report_file, results, few_shot, seconds)
    return report(arguments, summary, lambda: _print(report_file, results, few_shot, seconds))


def _summary(arguments, folder: Path, report: Path, results, few_shot, seconds: float) -> dict:
    return {
        **about(arguments),
        "folder": str(folder.absolute()),
        "report": str(report.absolute()),
        "samples": [{**dataclasses.asdict(result), "mean_dice": result.mean_dice} for result in results],
        "few_shot": [dataclasses.asdict(result) for result in few_shot],
        "seconds": {"total": round(seconds, 3)},
    }


def _print(report: Path, results, few_shot, seconds: float) -> None:
    print(f"{'sample':<36} {'task':<42} {'Dice':>5} {'k-means':>8}")
    for result in results:
        for answer in result.answers:
            dice = "  -  " if answer.dice is None else f"{answer.dice:5.2f}"
            baseline = "   -  " if answer.baseline_dice is None else f"{answer.baseline_dice:5.2f}"
            print(f"{result.title:<36} {answer.task:<42} {dice:>5} {baseline:>8}")
    print(f"\n{'few-shot, three slices drawn':<36} {'segment':<42} {'Dice':>5} {'nearest slice':>14}")
    for result in few_shot:
        for segment in result.segments:
            print(f"{result.title:<36} {segment.name:<42} {segment.dice:5.2f} {segment.nearest_dice:14.2f}")
    page = report.with_name("index.html")
    print(f"{seconds:.0f} s in all. Pictures and figures: {shown_path(page)} (or {report.name} there)")
    print(f"Open {shown_path(report.parent)}/*.seg.nrrd together with Resources/SampleData/* in 3D Slicer.")


def _write_report(folder: Path, results, few_shot, seconds: float) -> Path:
    """Writes report.md and index.html into ``folder``; returns the path of report.md."""
    from jinja2 import Environment

    from ...engine.common.device import describe_device
    from ...engine.images.files import replace_text

    conditions = f"S3NetSegment {__version__}, {describe_device()}; {seconds:.0f} s in all."
    title = "Few-shot: three drawn slices, then the volume"
    parts = [  # words: how many of the first columns are text
        {"title": "", "text": EXPLANATION, "words": 2, "rows": [HEADS, *_rows(results)],
         "pictures": [(r.title, r.picture, _caption(r)) for r in results]},
        {"title": title, "text": FEW_SHOT_EXPLANATION, "words": 3, "rows": [FEW_SHOT_HEADS, *_few_shot_rows(few_shot)],
         "pictures": [(r.title, r.picture, _few_shot_caption(r)) for r in few_shot]},
    ]  # fmt: skip
    page = Environment(autoescape=True, trim_blocks=True).from_string(
        Path(__file__).with_name("report.html.j2").read_text("utf-8")
    )
    replace_text(folder / "index.html", page.render(conditions=conditions, parts=parts))
    lines = ["# S3NetSegment: demo", "", conditions]
    for part in parts:
        lines += ["", f"## {part['title']}"] * bool(part["title"]) + ["", part["text"], ""]
        heads, *rows = ("| " + " | ".join(row) + " |" for row in part["rows"])
        lines += [heads, "| --- " * part["words"] + "| ---: " * (len(part["rows"][0]) - part["words"]) + "|", *rows]
        for title, picture, caption in part["pictures"]:
            lines += ["", f"{'###' if part['title'] else '##'} {title}", "", caption, "", f"![{title}]({picture})"]
    lines += ["", "The samples, their origins and licences: `Resources/SampleData/SOURCES.md`.", ""]
    replace_text(folder / "report.md", "\n".join(lines))
    return folder / "report.md"


def _rows(results):
    for result in results:
        for number, answer in enumerate(result.answers):
            yield (
                result.title if number == 0 else "",
                answer.task,
                "nothing found" if answer.dice is None else f"{answer.dice:.2f}",
                "" if answer.baseline_dice is None else f"{answer.baseline_dice:.2f}",
                f"{result.search_seconds:.1f} s" if number == 0 else "",
                f"{answer.seconds:.2f} s",
            )


def _few_shot_rows(few_shot):
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
