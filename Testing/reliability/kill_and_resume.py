#!/usr/bin/env python3
"""A batch that is killed: one manifest with all three methods, killed three times and resumed, beside the same without a disturbance.

    python3 Testing/reliability/kill_and_resume.py                 the shipped samples, under a minute
    python3 Testing/reliability/kill_and_resume.py --data          thirty-odd cases of the larger labelled set, a model trained for 3 minutes
    python3 Testing/reliability/kill_and_resume.py --cluster       the same on a local dask cluster: a worker killed, the client interrupted
    python3 Testing/reliability/kill_and_resume.py --keep DIR      everything stays there; a model that is there is used again

A worker is killed with SIGKILL in the middle of a case, then twice the batch itself. Afterwards no finished case may be lost or
computed again, no file half-written, and all results must be those of the undisturbed run, byte by byte. Then each case's Dice
with the labels, beside that of the single command. Ends with 0, or with 1 and what was wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import sys
import tempfile
import time
from pathlib import Path

_testing = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(Path(__file__).resolve().parent), str(_testing / "support"), str(_testing.parent / "S3NetSegment")]

if __name__ == "__main__":
    from script_environment import enter_environment

    enter_environment()

import numpy as np  # noqa: E402
from command_line import s3net_here  # noqa: E402
from kill_and_resume_cohort import Cohort, Planned, sample_cohort, shared_cohort  # noqa: E402
from kills import disturbed_on_cluster, disturbed_runs, s3net  # noqa: E402

from S3NetSegmentLib.engine.images.formats.seg_nrrd import read_segmentation  # noqa: E402
from S3NetSegmentLib.engine.images.reading import read_image  # noqa: E402

METHODS = ("segment", "few-shot", "apply")


def main() -> int:
    """Runs the batch; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", action="store_true", help="the larger labelled set instead of the shipped samples")
    parser.add_argument("--minutes", type=float, default=3.0, help="training of the model with --data (default 3)")
    parser.add_argument("--cluster", action="store_true", help="the disturbed run on a local dask cluster")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--keep", metavar="DIR", help="a folder for everything; what is there already is used again")
    options = parser.parse_args()
    failures = one_batch(
        data=options.data, minutes=options.minutes, cluster=options.cluster, jobs=options.jobs, seed=options.seed, keep=options.keep
    )  # fmt: skip
    for failure in failures:
        print(f"FAILED: {failure}")
    return 1 if failures else 0


def run(count: int, seed: int) -> list[str]:
    """So many batches with the shipped samples, killed at other moments each; what was wrong."""
    if not Path("/proc/self/task").exists():
        print("kill_and_resume  LEFT OUT: the processes of a batch are found on Linux only")
        return []
    return [
        f"kill_and_resume --seed {seed + number}: {failure}"
        for number in range(count)
        for failure in one_batch(seed=seed + number, singles=False)
    ]


def one_batch(*, data=False, minutes=3.0, cluster=False, jobs=2, seed=0, keep=None, singles=True) -> list[str]:
    """The whole batch; prints what happened and returns what was wrong.

    :param singles: also run the single commands.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(keep or stack.enter_context(tempfile.TemporaryDirectory())).absolute()
        cohort = _prepared(folder, data, minutes)
        manifest, calm, stormy = (
            folder / "cohort.csv",
            folder / "undisturbed",
            folder / f"disturbed{'_cluster' * cluster}",
        )
        began = time.monotonic()
        # Small cases take less time than starting a worker; how many there are changes nothing.
        quiet = jobs if data else 1
        done = s3net("batch", manifest, "-o", calm, "--jobs", quiet, "--keep-going", "--resume", "--device", "cpu")
        if done.returncode != 1:  # the image that is cut off
            return [f"the undisturbed run ended with {done.returncode}: {done.stderr[-500:]}"]
        print(f"kill_and_resume  {len(cohort.rows)} cases, undisturbed in {time.monotonic() - began:.0f} s")
        disturb = disturbed_on_cluster if cluster else disturbed_runs
        story = disturb(manifest, stormy, len(cohort.rows), jobs, seed)
        failures = story.failures + _differences(calm, stormy) + _report_faults(stormy, cohort)
        print(f"kill_and_resume  {story.told}; lost or computed again: {story.lost} of {story.finished} finished cases")
        failures += _accuracy(cohort, stormy, folder / "single" if singles else None)
    return failures


def _prepared(folder: Path, data: bool, minutes: float) -> Cohort:
    """The cohort, its manifest and its trained model; what is there already is not made again."""
    model = folder / "run" / "model.pt"
    work = folder / "cohort"
    cohort = shared_cohort(work, minutes) if data else sample_cohort(work)
    if not model.exists():
        began = time.monotonic()
        done = s3net(
            "finetune", cohort.training, "-o", folder / "run", *cohort.training_options, "--device", "cpu", "--quiet"
        )
        if done.returncode:
            raise SystemExit(f"training ended with {done.returncode}: {done.stderr[-500:]}")
        print(f"kill_and_resume  model trained in {time.monotonic() - began:.0f} s")
    for row in cohort.rows:
        if row.columns["method"] == "apply":
            row.columns["model"] = str(model)
    cohort.write(folder / "cohort.csv")
    return cohort


# -- the same results


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of every result in an output folder, without records and reports."""
    files = [f for f in folder.rglob("*") if f.is_file() and f.parts[len(folder.parts)] != "records"]
    return {
        f.relative_to(folder).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest()
        for f in files
        if not f.name.startswith("report.")
    }


def _differences(calm: Path, stormy: Path) -> list[str]:
    one, two = contents(calm), contents(stormy)
    print(
        f"kill_and_resume  {len(one)} files of results, {sum(two.get(n) == h for n, h in one.items())} of them the same byte by byte"
    )
    wrong = sorted(n for n in one.keys() | two.keys() if one.get(n) != two.get(n))
    return [f"{name} is not the same after the kills" for name in wrong[:5]]


def _report_faults(folder: Path, cohort: Cohort) -> list[str]:
    counts = json.loads((folder / "report.json").read_text())["counts"]
    expected = {"done": len(cohort.rows) - 1, "failed": 1, "waiting": 0}
    page = (folder / "report.html").read_text(encoding="utf-8")
    faults = [] if counts == expected else [f"the report counts {counts}, not {expected}"]
    return faults + ([] if page.count("<tr class=") == len(cohort.rows) else ["the page does not show every case"])


# -- the truth


def _accuracy(cohort: Cohort, folder: Path, singles: Path | None) -> list[str]:
    """Prints each method's Dice; returns cases whose single command gives something else."""
    found: dict[str, list[float]] = {method: [] for method in METHODS}
    alone: dict[str, list[float]] = {method: [] for method in METHODS}
    failures = []
    for row in cohort.rows:
        result = folder / f"{row.columns['output']}.seg.nrrd"
        if not result.exists():
            continue
        method = row.columns["method"]
        dice = _dice(result, row)
        found[method] += dice
        if singles is not None:
            other = singles / f"{row.columns['output']}.seg.nrrd"
            failures += _single(row, other) or _other_labels(result, other)
            alone[method] += _dice(other, row) if other.exists() else []
    for method in METHODS:
        cases = sum(r.columns["method"] == method and bool(r.values) for r in cohort.rows)
        print(
            f"kill_and_resume  {method:<8}  {cases:>2} cases, {len(found[method]):>2} segments, mean Dice {np.mean(found[method]):.3f}"
            + (f", by the single command {np.mean(alone[method]):.3f}" if alone[method] else "")
        )
    return failures


def _dice(result: Path, row: Planned) -> list[float]:
    """Dice of each segment with its labels, drawn slices left out."""
    if not row.values:
        return []
    segmentation = read_segmentation(result)
    masks = {s.name: segmentation.mask(s) for s in segmentation.segments}
    if row.truth.name.endswith(".seg.nrrd"):
        drawn = read_segmentation(row.truth)
        truth = {value: drawn.mask(s) for s, value in zip(drawn.segments, (1,), strict=True)}
    else:
        labels = read_image(row.truth)
        array = labels.array.max(-1) if labels.is_rgb else labels.array
        truth = {value: array == value for values in row.values.values() for value in values}
    scores = []
    for name, values in row.values.items():
        true = np.logical_or.reduce([truth[value] for value in values])
        mask = masks.get(name, np.zeros_like(true))
        open_slices = np.setdiff1d(np.arange(len(true)), row.left_out)
        true, mask = true[open_slices], mask[open_slices]
        if true.any() or mask.any():
            scores.append(2 * np.count_nonzero(true & mask) / (np.count_nonzero(true) + np.count_nonzero(mask)))
    return scores


def _single(row: Planned, out: Path) -> list[str]:
    """Runs the single command that means the same as the row."""
    if out.exists():
        return []
    out.parent.mkdir(parents=True, exist_ok=True)
    c = row.columns
    command = [
        c["method"],
        *([c["model"]] if c["method"] == "apply" else []),
        c["image"],
        "-o",
        out,
        "--device",
        "cpu",
        "--quiet",
    ]
    options = {"pixels": "--pixel", "radius": "--radius", "support": "--support", "support_image": "--support-image"}
    options |= {"drawn": "--drawn", "axis": "--axis"}
    for column, option in options.items():
        command += [option, c[column]] if column in c else []
    for setting in c.get("settings", "").split(";") if c.get("settings") else []:
        command += ["--set", setting.strip()]
    done = s3net_here(*command)
    return (
        [f"{out.name}: the single command ended with {done.returncode}: {done.stderr[-300:]}"]
        if done.returncode
        else []
    )


def _other_labels(result: Path, other: Path) -> list[str]:
    one, two = read_segmentation(result), read_segmentation(other)
    same = [s.name for s in one.segments] == [s.name for s in two.segments] and all(
        np.array_equal(one.mask(a), two.mask(b)) for a, b in zip(one.segments, two.segments, strict=True)
    )
    return [] if same else [f"{result.name}: the single command gives other labels"]


if __name__ == "__main__":
    sys.exit(main())
