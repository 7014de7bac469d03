"""Fine-tuning on a cohort with few labels: a segmenter from a pre-trained encoder, or from nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from ..common.errors import InputError
from ..common.progress import Steps, within
from ..nets.architectures import describe_network, network_tensors
from ..nets.unet import CHANNELS, UNetEncoder, UNetFeatures
from .cohort import Cohort
from .configuration import FinetuningConfiguration
from .ideal.finetuning import IdealFinetuning
from .likeness import TrainingLook
from .model_file import Model, load_model, save_model
from .preparation import PreparedCohort, prepare_cohort
from .processes import Processes
from .provenance import provenance
from .run_folder import MODEL, PICTURES, RunFolder
from .slice_bank import TwoStreamBatches
from .trainer import Trainer, TrainingResult
from .validation import sample_picture, validate

_PREPARED = (
    0.01  # part of the progress that reading the slices is shown as: little, since the time left is told from it
)


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
    kept = folder.read_state()["identity"] if resume and folder.has_state else {}
    weights, init_layout, init_cases = _start(init, kept)
    configuration = _same_network(configuration, init, kept)
    settings = configuration.trainer
    data = yield from within(
        prepare_cohort(
            cohort, configuration.cohort, seed=settings.seed, with_labels=True, layout=init_layout, device=device,
            folder=Path(folder.path), skip_bad=skip_bad,
        ), 0, _PREPARED,
    )  # fmt: skip
    classes = cohort.classes
    task = IdealFinetuning(
        len(classes) + 1, configuration.task, in_channels=data.layout.inputs, **weights, seed=settings.seed
    ).to(device)
    batches = configuration.batches
    unlabelled = batches.unlabelled_batch if configuration.task.unlabelled_weight > 0 else 0
    if configuration.task.spatial_weight > 0:
        unlabelled = batches.unlabelled_batch

    held = data.held

    def check(step: int) -> Steps[dict]:
        measures = (yield from validate(task.predictor(), held, classes)) if held else {}
        _draw(step)
        return measures

    def _draw(step: int) -> None:
        picture = sample_picture(task.predictor(), held or data.train, classes)
        folder.write_picture(f"{PICTURES}/step_{step:06d}.png", picture)

    def keep_best(step: int, measures: Mapping) -> None:
        network = task.predictor()
        save_model(Model(
            "segmenter", describe_network(network), network_tensors(network), data.layout, classes,
            provenance("finetune, IDEAL", configuration, data, step, initialised=bool(weights) or bool(kept.get("init"))),
            tuple(sorted({*data.train.hashes.values(), *init_cases})),
            tuple(sorted(held.hashes.values())) if held else (),
            {"step": step, "cases": len(held.names), **measures} if held and measures else {},
            looks=TrainingLook.of(data.train.looks),
        ), folder.path / MODEL)  # fmt: skip
        if not measures:
            _draw(step)

    trainer = Trainer(
        task, TwoStreamBatches(data.train, batches.batch, unlabelled, settings.seed), settings, device=device, folder=folder,
        processes=processes, stop=stop, validate=check if held else None, keep_best=keep_best,
        identity=_identity(configuration, data, None if init_layout is None else (init_layout, init_cases)),
    )  # fmt: skip
    if resume:
        trainer.resume()
    for sentence in (*data.notes, *_leaks(data, init_cases)):
        trainer.note(sentence)
    result = yield from within(trainer.run(), _PREPARED, 1)
    if processes is None or processes.writes:
        _doubt(result, folder, trainer)
    return dataclasses.replace(result, notes=tuple(trainer.notes))


def _identity(configuration: FinetuningConfiguration, data: PreparedCohort, init) -> dict:
    """What makes a run this one: a state of any other is not gone on from.

    :param init: layout and cases of the model that it starts from; None: none.
    """
    trainer = configuration.trainer
    return {
        **{n: v for n, v in configuration.as_dict().items() if not hasattr(trainer, n)},
        "method": "finetune", "preset": configuration.preset, "cohort": data.identity,
        "init": None if init is None else {"layout": init[0].as_dict(), "cases": sorted(init[1])},
    }  # fmt: skip


def _doubt(result: TrainingResult, folder: RunFolder, trainer: Trainer) -> None:
    """Notes in the log of the run where the model that it leaves did badly."""
    path = Path(folder.path) / MODEL
    if result.reason != "stopped" and result.best_score is not None and path.exists():
        for sentence in load_model(path).doubts():
            trainer.note(sentence)


def _start(init: Model | None, kept: Mapping):
    """Weights by the part of the network that they are for, slice layout and training cases of what the run starts from."""
    from .slice_layout import SliceLayout

    if kept.get("init"):
        return {}, SliceLayout(**kept["init"]["layout"]), tuple(kept["init"]["cases"])
    if init is None or kept:
        return {}, None, ()
    network = init.build()
    encoder = network if isinstance(network, UNetEncoder) else getattr(network, "encoder", None)
    if not isinstance(encoder, UNetEncoder):
        raise InputError(
            f"the model to start from holds a {init.network.get('name')}; fine-tuning starts from a U-Net encoder, as "
            "s3net pretrain makes it"
        )
    weights = {"encoder": encoder.state_dict()}
    if isinstance(network, UNetFeatures):
        weights["decoders"] = network.decoders.state_dict()
    return weights, init.layout, init.training_cases


def _same_network(configuration: FinetuningConfiguration, init: Model | None, kept: Mapping) -> FinetuningConfiguration:
    """``configuration`` with the size and normalisation of the network to start from."""
    if init is None or kept:
        return configuration
    network = init.network
    size = next((name for name, channels in CHANNELS.items() if list(channels) == list(network["channels"])), None)
    if size is None:
        raise InputError(f"the encoder to start from has {network['channels']} channels, which is no known size")
    return configuration.replaced(network=size, normalization=network["normalization"])


def _leaks(data: PreparedCohort, init_cases) -> list[str]:
    if data.held is None:
        return []
    seen = len(set(data.held.hashes.values()) & set(init_cases))
    sentence = (
        f"the model to start from has seen {seen} of {len(data.held.names)} validation images (without their labels): the "
        "validation scores flatter the model"
    )
    return [sentence] if seen else []
