"""``s3net finetune``: a segmentation model from a cohort with few labels."""

from __future__ import annotations

import argparse
import os

from .arguments import add_label_names, whole
from .cross_validation import of_fold, refuse_cross_validation, run_folds
from .training import add_run_options, check_run_options, configured, mark_running, refuse_used_folder, run_training

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
    parser = commands.add_parser(
        "finetune", help="train a segmentation model from few labelled cases", description=DESCRIPTION, epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add_run_options(parser, ("plus", "paper", "tiny"), "plus", "see above; default plus")
    parser.add_argument("--init", metavar="MODEL", help="start from the encoder in this model file of 's3net pretrain'")
    parser.add_argument(
        "--folds", type=whole(2, 100), metavar="K",
        help="cross-validation: K models, each validated on its part of the labelled patients, in RUN/fold_1 to RUN/fold_K, which "
        "'s3net apply RUN' averages; the minutes are for all of them",
    )  # fmt: skip
    add_label_names(parser, "the cohort's label maps, instead of classes in cohort.json")
    parser.set_defaults(run=run, check=lambda arguments: _check(arguments, parser))


def _check(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    check_run_options(arguments, parser)
    if arguments.folds and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        parser.error(
            f"--folds trains one model after the other in one process; under torchrun start each fold as a run of its own: --set "
            f"folds={arguments.folds} --set fold=1 -o RUN/fold_1, and so on"
        )


def run(arguments: argparse.Namespace) -> int:
    """Trains. Returns the exit code; errors pass through."""
    if arguments.folds and arguments.dry_run:
        return run_training(of_fold(arguments, 1), _steps)
    if arguments.folds:
        return run_folds(arguments, lambda one, report: run_training(one, _steps, report))
    refuse_cross_validation(arguments)
    return run_training(arguments, _steps)


def _steps(arguments: argparse.Namespace, folder, device, processes, stop):
    from ..engine.common.progress import within
    from ..engine.training.cohort import read_cohort
    from ..engine.training.finetune import finetune
    from ..engine.training.model_file import load_model
    from ..engine.training.presets import finetuning_configuration
    from ..engine.training.split import split_cohort

    if processes.writes:
        refuse_used_folder(arguments, folder)

    def configuration(kept):
        return finetuning_configuration(arguments.preset if kept is None else kept["preset"])

    settings = configured(arguments, configuration, folder)
    init = load_model(arguments.init) if arguments.init else None
    reading = read_cohort(arguments.cohort, skip_bad=arguments.skip_bad, names_file=arguments.labels)
    cohort = yield from within(reading, 0, 0.01)
    prepared = settings["cohort"]
    split_cohort(  # which refuses what is not possible before the folder is made
        cohort, seed=settings["trainer"].seed, validation=prepared.validation, test=prepared.test, folds=prepared.folds,
        fold=prepared.fold,
    )  # fmt: skip
    if processes.writes:
        mark_running(folder, "s3net finetune")
    return (
        yield from finetune(
            cohort, settings, folder, init=init, resume=arguments.resume, device=device, processes=processes,
            skip_bad=arguments.skip_bad, stop=stop,
        )
    )  # fmt: skip
