"""``--dry-run`` of the training commands: everything is read and a few steps are made, but nothing is kept."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import secrets
import shutil
import tempfile
import time

from ...engine.tasks.train import FinetuneTask, TrainTask, of_fold
from ..terminal import ProgressDisplay, about, tell_notes

_STEPS = 6  # the first one, in which much is made ready, does not count
_SECONDS = 45.0  # after which fewer do


def try_training(task: TrainTask, arguments: argparse.Namespace) -> int:
    """Begins the training in a folder that is thrown away, and says how long the whole one would take on this machine; of a
    cross-validation one fold is tried. Raises InputError for whatever would stop it."""
    from ...engine.training.run import train
    from ...engine.training.trainer.processes import joined_processes
    from ...engine.training.trainer.run_folder import RunFolder

    folds = (isinstance(task, FinetuneTask) and task.folds) or 0
    one = of_fold(task, 1) if folds else task
    folder = RunFolder(os.path.join(tempfile.gettempdir(), f"s3net-{secrets.token_hex(6)}"))  # made when the run begins
    try:
        with joined_processes(task.device) as (processes, where):
            if processes.count > 1:
                from ...engine import InputError

                raise InputError("--dry-run is for one process; leave torchrun out")
            logging = dataclasses.replace(one, settings=(*one.settings, "log_every=1"), minutes=None)
            steps = train(logging, folder, device=where, processes=processes, begun=lambda _: folder.take())
            made = _first_steps(steps, folder, arguments.quiet)
            notes = [e["text"] for e in folder.entries() if e.get("event") == "note"]
    finally:
        folder.give_back()
        shutil.rmtree(folder.path, ignore_errors=True)
    seconds = (made[-1]["seconds"] - made[0]["seconds"]) / (len(made) - 1) if len(made) > 1 else made[-1]["seconds"]
    _report(one, folds, arguments, seconds, made[-1]["steps"], str(where), notes)
    tell_notes(notes)
    return 0


def _first_steps(steps, folder, quiet: bool) -> list[dict]:
    """What the log says of the first few of ``steps``."""
    began, made = time.monotonic(), []
    with ProgressDisplay(quiet) as display:
        for step in steps:
            display(step)
            made = [e for e in folder.entries() if "loss" in e and "event" not in e]
            if len(made) >= _STEPS or (len(made) > 1 and time.monotonic() - began > _SECONDS):
                break
    steps.close()
    return made


def _report(
    task: TrainTask,
    folds: int,
    arguments: argparse.Namespace,
    seconds: float,
    steps: int,
    device: str,
    notes: list[str],
) -> None:
    total = seconds * steps
    facts = about(
        arguments, device=device, seconds_per_step=round(seconds, 4), steps=steps, seconds=round(total, 1),
        duration=duration(total), notes=notes,
    )  # fmt: skip
    if folds:
        facts |= {"folds": folds, "seconds": round(folds * total, 1), "duration": duration(folds * total)}
    if task.minutes:
        facts["steps_in_time"] = min(steps, int(60 * task.minutes / seconds))
    if arguments.json:
        print(json.dumps(facts, indent=2))
        return
    print(
        f"{seconds:.2g} s per step on {device}: all {steps} steps {f'of all {folds} folds ' if folds else ''}take about "
        f"{facts['duration']}, validation not counted"
    )
    if task.minutes:
        print(f"in {task.minutes:g} min{' for each fold' if folds else ''} about {facts['steps_in_time']} steps fit")


def duration(seconds: float) -> str:
    """``seconds`` for people: "40 s", "12 min", "5 h", "3 days"."""
    for unit, length in (("s", 1.0), ("min", 60.0), ("h", 3600.0)):
        if seconds < 100 * length or (unit == "h" and seconds < 48 * length):
            return f"{max(1, round(seconds / length))} {unit}"
    return f"{round(seconds / 86400)} days"
