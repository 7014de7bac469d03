"""``s3net finetune``: a segmentation model from a cohort with few labels; with ``--folds`` a run for each part of a cross-validation."""

from __future__ import annotations

import argparse
import copy
import json
import os
import shlex
import statistics
import sys
from pathlib import Path

from ...engine.tasks.train import FinetuneTask, of_fold
from ..terminal import about, report, shown_path
from .training import add_training, run_training

SUMMARY = "cross_validation"  # .json and .md
_FLATTERED = (
    "each fold's state was chosen by the cases that it is scored on: the scores flatter it a little. Hold out a test "
    "(--set test=0.2, or cohort.json) and evaluate the folder on it"
)

DESCRIPTION = """\
Trains a model that segments what is drawn in a few cases of a cohort; the cases without labels teach it too.

Folder COHORT: images/<case>.nii.gz (or any other format), labels/<case>.seg.nrrd or label maps for some of them, and, if you
like, cohort.json with {"patients": {case: patient}, "splits": {"test": [...]}, "classes": [{"name": ..., "value": ...}]}.

plus: two streams teach each other from weak to strong views (the default). paper: cross pseudo supervision as in IDEAL. tiny:
plus with a small network, for a CPU. Ctrl-C stops after saving; --resume goes on, to the same result as without the stop. On
several GPUs or machines start it with torchrun."""
EXAMPLES = """\
examples:
  s3net finetune cohort -o runs/model --preset tiny --minutes 10
  s3net finetune cohort -o runs/model --init runs/encoder/model.pt
  s3net finetune cohort -o runs/model --resume --minutes 120
  s3net finetune cohort -o runs/five --folds 5               cross-validation, and an ensemble for 's3net apply runs/five'
  s3net finetune cohort --preset tiny --dry-run              how long would it take here?
  torchrun --nproc-per-node=4 s3net finetune cohort -o runs/model"""


def run_folds(task: FinetuneTask, arguments: argparse.Namespace) -> int:
    """Trains ``task.folds`` models, one after the other, each in a folder ``fold_N``. Returns the exit code.

    :raises InputError: a folder that holds another training, or more folds than labelled patients.
    """
    from ...engine.training.trainer.run_folder import RunFolder

    folder = Path(arguments.output)
    assert task.folds is not None
    _check_folder(task.folds, arguments, folder)
    for fold in range(1, task.folds + 1):
        run = RunFolder(folder / f"fold_{fold}")
        if arguments.resume and run.read_status().get("status") == "finished":
            _say(arguments, f"fold {fold} of {task.folds} is finished already")
            continue
        _say(arguments, f"fold {fold} of {task.folds}")
        one = copy.copy(arguments)
        one.output = str(run.path)
        code = run_training(of_fold(task, fold), one, reports=False)
        if code:
            return code
    _report(task.folds, arguments, folder)
    return 0


def refuse_processes(folds: int) -> None:
    """Raises InputError under torchrun."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from ...engine import InputError

        raise InputError(
            f"--folds trains one model after the other in one process; under torchrun start each fold as a run of its own: --set "
            f"folds={folds} --set fold=1 -o RUN/fold_1, and so on"
        )


def refuse_cross_validation(arguments: argparse.Namespace) -> None:
    """Raises InputError if the folder of a single run holds a cross-validation."""
    from ...engine import InputError
    from ...engine.training.model.places import fold_folders

    if arguments.output and fold_folders(Path(arguments.output)):
        raise InputError(
            f"{arguments.output!r} holds a cross-validation; go on with it with --folds and --resume, or choose another folder"
        )


def _check_folder(folds: int, arguments: argparse.Namespace, folder: Path) -> None:
    from ...engine import InputError
    from ...engine.training.model.places import fold_folders
    from ...engine.training.trainer.run_folder import RunFolder

    shown = repr(str(folder))
    if RunFolder(folder).has_state:
        raise InputError(f"{shown} holds the run of a single model; choose another folder for a cross-validation")
    begun = {n: RunFolder(path) for n, path in fold_folders(folder).items() if RunFolder(path).has_state}
    if begun and not arguments.resume:
        raise InputError(f"{shown} holds a cross-validation already; go on with --resume, or choose another folder")
    for number, run in begun.items():
        was = run.read_facts()["identity"].get("folds")
        if was != folds:
            raise InputError(
                f"fold {number} in {shown} is one of {was} folds, not of {folds}; go on with --folds {was}, or choose "
                "another folder"
            )


def _report(folds: int, arguments: argparse.Namespace, folder: Path) -> None:
    from ...engine.images.files import replace_text

    facts = _facts(arguments, folds, folder)
    replace_text(folder / f"{SUMMARY}.json", json.dumps(facts, indent=2) + "\n")
    table = _table(facts)
    replace_text(
        folder / f"{SUMMARY}.md", "\n".join(["# Cross-validation", "", *table, "", f"Note: {_FLATTERED}.", ""])
    )

    def show() -> None:
        print("\n".join(table))
        print(f"wrote {shown_path(folder / SUMMARY)}.md and .json")
        print(f"the mean of all {folds} models: s3net apply {shlex.quote(shown_path(folder))} IMAGE -o OUT")

    report(arguments, facts, show, facts["notes"])


def _facts(arguments: argparse.Namespace, count: int, folder: Path) -> dict:
    from ...engine.training.model.model_file import load_model

    folds, names = [], []
    for fold in range(1, count + 1):
        model = load_model(folder / f"fold_{fold}" / "model.pt", "segmenter")
        names = [c.name for c in model.classes]
        measured = {"all": model.validation.get("score"), **{n: model.validation.get(f"dice {n}") for n in names}}
        folds.append({
            "fold": fold, "model": f"fold_{fold}/model.pt", "steps": model.provenance.get("steps"),
            "validation_cases": model.validation.get("cases"), "dice": measured,
        })  # fmt: skip
    mean, spread = {}, {}
    for name in ("all", *names):
        values = [f["dice"][name] for f in folds if f["dice"][name] is not None]
        mean[name] = statistics.fmean(values) if values else None
        spread[name] = statistics.stdev(values) if len(values) > 1 else None
    return about(
        arguments, run=os.path.abspath(folder), folds=folds, mean=mean, standard_deviation=spread, notes=[_FLATTERED]
    )


def _table(facts: dict) -> list[str]:
    """The Dice of each fold as a table of Markdown."""
    from ...engine.common.json_file import markdown_cell

    names = list(facts["mean"])
    shown = ["mean of the structures", *(markdown_cell(n) for n in names[1:])]
    rows = [
        [str(f["fold"]), str(f["validation_cases"]), *(_number(f["dice"][n]) for n in names)] for f in facts["folds"]
    ]
    both = zip(facts["mean"].values(), facts["standard_deviation"].values(), strict=True)
    rows.append(["all", "", *(f"{_number(m)} ± {_number(s)}" for m, s in both)])
    return [
        f"| fold | validation cases | {' | '.join(f'Dice, {name}' for name in shown)} |",
        "|---" * (2 + len(names)) + "|",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _say(arguments: argparse.Namespace, text: str) -> None:
    if not arguments.quiet:
        print(f"s3net: {text}", file=sys.stderr, flush=True)


def register(commands) -> None:
    add_training(
        commands, FinetuneTask, "train a segmentation model from few labelled cases", DESCRIPTION, EXAMPLES, run
    )


def run(task: FinetuneTask, arguments: argparse.Namespace) -> int:
    """Trains, with --folds once for each fold. Returns the exit code; errors pass through."""
    if not task.folds:
        refuse_cross_validation(arguments)
        return run_training(task, arguments)
    refuse_processes(task.folds)
    return run_training(task, arguments) if arguments.dry_run else run_folds(task, arguments)
