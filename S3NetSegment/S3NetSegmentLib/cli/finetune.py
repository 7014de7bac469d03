"""``s3net finetune``: a segmentation model from a cohort with few labels."""

from __future__ import annotations

import argparse

from ..engine.tasks.train import FinetuneTask
from .cross_validation import refuse_cross_validation, refuse_processes, run_folds
from .training import add_training, run_training

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


def register(commands) -> None:
    """Adds the command to the parser."""
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
