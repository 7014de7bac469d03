"""Fine-tuning on a cohort with few labels: a segmenter from a pre-trained encoder, or from nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from ..common.errors import InputError
from ..common.progress import Steps, as_part_of
from ..nets.architectures import describe_network, network_tensors
from .cohort import Cohort
from .configuration import FinetuningConfiguration
from .ideal.finetuning import IdealFinetuning
from .likeness import TrainingLook
from .model_file import Model, load_model, save_model
from .preparation import PREPARED, PreparedCohort, prepare_cohort
from .processes import Processes
from .provenance import provenance
from .run_folder import MODEL, PICTURES, RunFolder
from .slice_bank import SliceBank, TwoStreamBatches
from .start import Start, start_from, start_kept, with_network_of
from .trainer import Trainer, TrainingResult
from .validation import sample_picture, validate


def finetune(
    cohort: Cohort,
    configuration: FinetuningConfiguration,
    folder: RunFolder,
    *,
    init: Model | None = None,
    resume: bool = False,
    device: torch.device | str = "cpu",
    processes: Processes | None = None,
    skip_bad: bool = False,
    stop: Callable[[], bool] | None = None,
) -> Steps[TrainingResult]:
    """Trains a segmenter for the classes of ``cohort`` and writes the best (without validation: the last) to ``folder`` as
    ``model.pt``.

    :param configuration: of :func:`~.presets.finetuning_configuration`.
    :param init: a model whose U-Net encoder, and whose decoders if they are pre-trained, are the start; its slice layout is kept.
    :param stop: see :class:`~..training.trainer.Trainer`.
    :param resume: go on from the state in ``folder``; ``init`` is not needed then.
    :raises InputError: no labelled case, or an ``init`` with another kind of network.
    """
    if not cohort.labelled:
        raise InputError(
            f"no case of cohort {str(cohort.folder)!r} is labelled; draw at least one, save it as labels/<case>.seg.nrrd, or run "
            "s3net pretrain, which needs no labels"
        )
    if resume and folder.has_state:
        start = start_kept(folder.read_facts()["identity"].get("init"))
    elif init is not None:
        start, configuration = start_from(init), with_network_of(init, configuration)
    else:
        start = Start()
    settings, batches = configuration.trainer, configuration.batches
    data = yield from as_part_of(
        prepare_cohort(
            cohort, configuration.cohort, seed=settings.seed, with_labels=True, layout=start.layout, device=device,
            folder=Path(folder.path), skip_bad=skip_bad,
        ), 0, PREPARED,
    )  # fmt: skip
    task = IdealFinetuning(
        len(cohort.classes) + 1, configuration.task, in_channels=data.layout.inputs, **start.weights, seed=settings.seed
    ).to(device)
    needs_unlabelled = configuration.task.unlabelled_weight > 0 or configuration.task.spatial_weight > 0
    outcome = _Outcome(task, configuration, data, start, folder)
    trainer = Trainer(
        task,
        TwoStreamBatches(data.train, batches.batch, batches.unlabelled_batch if needs_unlabelled else 0, settings.seed),
        settings, device=device, folder=folder, processes=processes, stop=stop,
        validate=None if data.held is None else partial(outcome.measured, data.held), keep_best=outcome.keep,
        identity={**configuration.identity("finetune", data.identity), "init": start.as_dict()},
    )  # fmt: skip
    if resume:
        trainer.resume()
    for sentence in (*data.notes, *start.leaks(data)):
        trainer.note(sentence)
    result = yield from as_part_of(trainer.run(), PREPARED, 1)
    if processes is None or processes.writes:
        _doubt(result, folder, trainer)
    return dataclasses.replace(result, notes=tuple(trainer.notes))


class _Outcome:
    """What comes of a segmenter while it is trained: measures and pictures in its run's folder, and the model file."""

    def __init__(
        self,
        task: IdealFinetuning,
        configuration: FinetuningConfiguration,
        data: PreparedCohort,
        start: Start,
        folder: RunFolder,
    ):
        self._task, self._configuration, self._data, self._start, self._folder = (
            task,
            configuration,
            data,
            start,
            folder,
        )

    def measured(self, held: SliceBank, step: int) -> Steps[dict]:
        """How good it is on the validation cases."""
        measures = yield from validate(self._task.predictor(), held, self._data.cohort.classes)
        self._draw(step)
        return measures

    def keep(self, step: int, measures: dict) -> None:
        """Writes the model file; ``measures`` are {} without validation."""
        network, data, start = self._task.predictor(), self._data, self._start
        held = data.held
        save_model(Model(
            "segmenter", describe_network(network), network_tensors(network), data.layout, data.cohort.classes,
            provenance("finetune, IDEAL", self._configuration, data, step, initialised=start.layout is not None),
            tuple(sorted({*data.train.hashes.values(), *start.cases})),
            tuple(sorted(held.hashes.values())) if held else (),
            {"step": step, "cases": len(held.names), **measures} if held and measures else {},
            looks=TrainingLook.of(data.train.looks),
        ), self._folder.path / MODEL)  # fmt: skip
        if not measures:
            self._draw(step)

    def _draw(self, step: int) -> None:
        data = self._data
        picture = sample_picture(self._task.predictor(), data.held or data.train, data.cohort.classes)
        self._folder.write_picture(f"{PICTURES}/step_{step:06d}.png", picture)


def _doubt(result: TrainingResult, folder: RunFolder, trainer: Trainer) -> None:
    """Notes in the log of the run where the model that it leaves did badly."""
    path = Path(folder.path) / MODEL
    if result.reason != "stopped" and result.best_score is not None and path.exists():
        for sentence in load_model(path).doubts():
            trainer.note(sentence)
