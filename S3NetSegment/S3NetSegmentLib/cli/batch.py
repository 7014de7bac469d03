"""``s3net batch``: the methods over many images by one manifest; safe to stop and to go on with."""

from __future__ import annotations

import argparse
import os
import sys
import time

from .arguments import add_device, finish, new_command, whole
from .batch_plan import print_columns, print_plan, resources
from .terminal import ProgressDisplay, about, on_stop, report, shown_path

DESCRIPTION = """\
Runs Segment and Few-shot over many images.

MANIFEST is a CSV file with one row for each image, a JSON file, or a folder of images. Everything in it is checked before
anything runs; paths in it are relative to its own folder. Each case gives a segmentation, a picture and a record in DIR, which
appear whole or not at all, and a line in report.html, with what to look at first on top.

Stop it at any moment (Ctrl-C, a power cut); --resume goes on and skips what is finished: same content of the inputs, same
settings, same version."""
EXAMPLES = """\
examples:
  s3net batch cohort.csv -o results --dry-run
  s3net batch cohort.csv -o results --jobs 4 --keep-going
  s3net batch cohort.csv -o results --jobs 4 --keep-going --resume
  s3net batch scans -o results --pattern '*.nii.gz' --default regions=6 --default regions_only=true
  s3net batch scans -o results --default method=few-shot --default support=drawn.seg.nrrd --default support_image=a.nii.gz
  s3net batch cohort.csv -o results --scheduler tcp://node1:8786

manifest, e.g.:
  image,method,points,support,drawn,output
  ct1.nii.gz,segment,"80,150,400",,,liver/ct1
  ct2.nii.gz,few-shot,,ct2_drawn.seg.nrrd,"12,30,44",organs/ct2"""
_MOST_PROBLEMS = 50
_MOST_NOTES = 30


def register(commands) -> None:
    parser = new_command(commands, "batch", "many images by a manifest, with a report", DESCRIPTION, EXAMPLES)
    parser.add_argument("manifest", metavar="MANIFEST", nargs="?", help="a .csv or .json file, or a folder of images")
    parser.add_argument("-o", "--output", metavar="DIR", help="folder of the results; made if need be")
    group = parser.add_argument_group("what is done")
    group.add_argument("--columns", action="store_true", help="list the columns of a manifest and end")
    group.add_argument("--dry-run", action="store_true", help="check everything, print the plan and end")
    group.add_argument("--resume", action="store_true", help="skip the cases that are finished")
    group.add_argument("--keep-going", action="store_true", help="go on after a failed case; otherwise stop there")
    group.add_argument("--report-only", action="store_true", help="only write the report anew, from the records")
    group.add_argument("--pattern", metavar="GLOB", help="for a folder: which files, e.g. '*.nii.gz' or '**/*.nrrd'")
    group.add_argument(
        "--default", dest="defaults", metavar="COLUMN=VALUE", action="append", default=[],
        help="for rows that say nothing else; may be repeated; paths relative to the current folder",
    )  # fmt: skip
    group = parser.add_argument_group("where it is done")
    group.add_argument("--jobs", type=whole(1, 1024), metavar="N", default=1, help="processes at once (default 1)")
    group.add_argument(
        "--scheduler", metavar="ADDRESS", help="a running dask.distributed scheduler, e.g. tcp://node1:8786"
    )
    add_device(group)
    finish(parser, run, check)


def check(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuses arguments that contradict each other, before anything is read. Exits with code 2."""
    if arguments.columns:
        return
    if not arguments.manifest:
        parser.error("MANIFEST is missing: a .csv or .json file, or a folder of images")
    if not arguments.output:
        parser.error("-o DIR is missing: the folder of the results")
    if arguments.scheduler is not None and arguments.jobs != 1:
        parser.error("--jobs is for this machine; with --scheduler the cluster has its own workers: leave one out")
    if arguments.scheduler is not None and not arguments.scheduler.strip():
        parser.error("--scheduler needs an address, e.g. tcp://node1:8786")
    for text in arguments.defaults:
        if not text.partition("=")[1] or not text.partition("=")[2].strip():
            parser.error(f"--default {text!r} is not understood; write COLUMN=VALUE, e.g. --default regions=6")


def run(arguments: argparse.Namespace) -> int:
    """Reads the manifest, runs it, reports. Returns the exit code; errors pass through."""
    if arguments.columns:
        return print_columns(arguments)
    from ..engine.batch.columns import column_name
    from ..engine.batch.manifest import ManifestError, read_manifest
    from ..engine.batch.resume import make_plan

    defaults = {column_name(name): value.strip() for name, _, value in (t.partition("=") for t in arguments.defaults)}
    if os.path.exists(arguments.output) and not os.path.isdir(arguments.output):
        return _refused([f"output {arguments.output!r} is a file; give a folder"])
    try:
        cases = read_manifest(arguments.manifest, arguments.output, pattern=arguments.pattern, defaults=defaults)
    except ManifestError as error:
        return _refused(error.problems)
    if arguments.report_only:
        return _report_only(arguments, cases)
    plan = make_plan(cases, arguments.output, arguments.resume)
    if arguments.dry_run:
        return print_plan(arguments, plan)
    return _run_plan(arguments, plan)


def _refused(problems: list[str]) -> int:
    for problem in problems[:_MOST_PROBLEMS]:
        print(f"s3net: error: {problem}", file=sys.stderr)
    if len(problems) > _MOST_PROBLEMS:
        print(f"s3net: error: and {len(problems) - _MOST_PROBLEMS} more", file=sys.stderr)
    return 2


def _run_plan(arguments: argparse.Namespace, plan) -> int:
    from ..engine.batch.report import count_states, report_rows
    from ..engine.batch.run import records_of, run_plan

    started, total = time.monotonic(), len(plan.todo)
    workers = _workers(arguments, plan.todo)
    display = _Display(arguments.quiet, total)
    display.say(f"{len(plan.cases)} cases: {total} to do, {len(plan.finished)} finished")
    for line in resources(arguments, workers, plan.todo):
        display.say(line)
    code, stopped = 0, []

    def stop(number: int) -> None:
        if not stopped:  # while it is stopping, further signals count for nothing
            stopped.append(number)
            raise KeyboardInterrupt

    with on_stop(stop):
        try:
            records = run_plan(
                plan,
                arguments.output,
                workers,
                keep_going=arguments.keep_going,
                on_event=display.show,
                on_note=display.say,
            )
        except BaseException:
            if not stopped:  # an interrupt inside an import can surface as another error
                raise
            code = 128 + stopped[0]
            records = records_of(plan.cases, arguments.output)
    display.close()
    counts = count_states(report_rows(plan.cases, records))
    code = code or (1 if counts["failed"] or counts["waiting"] else 0)
    _summarise(arguments, plan, records, counts, code, time.monotonic() - started)
    return code


def _workers(arguments: argparse.Namespace, cases: list):
    if arguments.scheduler is not None:
        from ..engine.batch.cluster import Cluster

        return Cluster(arguments.output, arguments.scheduler, arguments.device)
    from ..engine.batch.workers import Processes

    named = any((case.device or "").startswith("cuda:") for case in cases)
    return Processes(arguments.output, arguments.jobs, arguments.device, all_cards=named)


class _Display:
    def __init__(self, quiet: bool, total: int):
        self._bar, self._quiet = ProgressDisplay(quiet or not sys.stderr.isatty()), quiet
        self._total, self._done, self._running = max(total, 1), 0, {}

    def say(self, text: str) -> None:
        if not self._quiet:
            self._bar.clear()
            print(f"s3net: {text}", file=sys.stderr, flush=True)

    def show(self, event) -> None:
        from ..engine.common.progress import Step

        name = event.case.name
        if event.kind in ("started", "step"):
            self._running[name] = event.step.fraction if event.step else 0.0
        elif event.kind == "lost":
            self._running.pop(name, None)
            self.say(f"{name}: its worker died; it is tried once more")
        elif event.kind == "finished":
            from ..engine.batch.report import one_line

            self._running.pop(name, None)
            self._done += 1
            self.say(f"[{self._done}/{self._total}] {name}: {one_line(event.record)}")
        self._bar(Step((self._done + sum(self._running.values())) / self._total, ", ".join(self._running)))

    def close(self) -> None:
        self._bar.clear()


def _summarise(arguments, plan, records: dict, counts: dict, code: int, seconds: float) -> None:
    path = os.path.join(arguments.output, "report.html")

    def show() -> None:
        told = ", ".join(f"{count} {state}" for state, count in counts.items() if count or state == "done")
        print(f"{told}; {len(plan.finished)} were finished before; {seconds:.1f} s")
        for case in plan.cases:
            record = records.get(case.name)
            if record is not None and record["status"] != "done":
                print(f"  failed: {case.row}, {case.name}: {' '.join(record['error'].split())}")
        print(f"wrote {shown_path(path)}")

    facts = about(
        arguments, manifest=os.path.abspath(arguments.manifest), folder=os.path.abspath(arguments.output), counts=counts,
        computed=len(plan.todo), skipped=len(plan.finished), seconds=round(seconds, 3), report=os.path.abspath(path),
        cases=[_facts(case, records.get(case.name)) for case in plan.cases],
    )  # fmt: skip
    report(arguments, facts, show, _notes_of(plan, records))
    if code in (130, 143):
        print("s3net: stopped; what is finished is kept, --resume goes on", file=sys.stderr, flush=True)


def _notes_of(plan, records: dict) -> list[str]:
    """What the cases of this run have to tell, each sentence once, with the cases that it is about."""
    cases_of: dict[str, list[str]] = {}
    for case in plan.todo:
        for note in (records.get(case.name) or {}).get("notes", ()):
            cases_of.setdefault(note, []).append(case.name)
    told = []
    for note, names in cases_of.items():
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        told.append(f"{shown}{f' ({len(names)} cases)' if len(names) > 1 else ''}: {note}")
    more = len(told) - _MOST_NOTES
    return told if more <= 0 else [*told[:_MOST_NOTES], f"{more} further notes, see the report"]


def _facts(case, record: dict | None) -> dict:
    kept = ("status", "error", "confidence", "segments", "outputs", "seconds", "memory_mb", "notes", "attempt")
    facts = {"name": case.name, "row": case.row, "image": case.image, "method": case.method}
    return facts | ({"status": "waiting"} if record is None else {name: record[name] for name in kept})


def _report_only(arguments: argparse.Namespace, cases) -> int:
    from ..engine.batch.report import count_states, write_report
    from ..engine.batch.run import records_of

    counts = count_states(write_report(arguments.output, cases, records_of(cases, arguments.output)))
    path = os.path.join(arguments.output, "report.html")

    def show() -> None:
        print(", ".join(f"{count} {state}" for state, count in counts.items()))
        print(f"wrote {shown_path(path)}")

    return report(arguments, {"command": "batch", "counts": counts, "report": os.path.abspath(path)}, show)
