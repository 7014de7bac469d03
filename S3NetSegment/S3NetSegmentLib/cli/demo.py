"""``s3net demo``: the main job on the shipped samples, with a report."""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path

from .arguments import add_device, finish, new_command
from .environment import REPOSITORY
from .terminal import ProgressDisplay, about, report, shown_path

DEFAULT_FOLDER = "S3NetSegment-demo"
SAMPLES = REPOSITORY / "Resources" / "SampleData"
_SAMPLES_SHARE = 0.7  # of the time; few-shot has the rest

DESCRIPTION = f"""\
Segments the real images that come with the software: automatically, with one point, and into regions, in 2D and in 3D,
and by few-shot: three drawn slices become the organs of the whole volume.
Writes a .seg.nrrd for Slicer and a picture for each, and a report (report.md, index.html) that compares the results with
the drawings that come with the samples and with simple methods. The folder is ./{DEFAULT_FOLDER} unless -o names another;
files of an earlier demo there are replaced, others stay."""


def register(commands) -> None:
    """Adds the command to the parser."""
    parser = new_command(commands, "demo", "try it on the samples that come with it", DESCRIPTION)
    parser.add_argument("-o", "--output", metavar="DIR", default=DEFAULT_FOLDER, help="where the results go")
    add_device(parser)
    finish(parser, run)


def run(arguments: argparse.Namespace) -> int:
    """Runs all samples, writes the report, says where it is."""
    from ..engine import InputError, run_to_end
    from ..engine.common.progress import as_part_of
    from ..engine.images.files import check_output_path

    started = time.perf_counter()
    folder = Path(arguments.output)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"output {str(folder)!r} is a file; give the name of a folder")
    check_output_path(folder / "report.png", (".png",))
    from .demo_few_shot import run_few_shot
    from .demo_report import write_report
    from .demo_samples import run_samples

    with ProgressDisplay(arguments.quiet) as progress:
        results = run_to_end(as_part_of(run_samples(SAMPLES, folder, arguments.device), 0.0, _SAMPLES_SHARE), progress)
        few_shot = run_to_end(as_part_of(run_few_shot(SAMPLES, folder), _SAMPLES_SHARE, 1.0), progress)
        seconds = time.perf_counter() - started
        report_file = write_report(folder, results, few_shot, seconds)
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
