"""The presets of pre-training and fine-tuning: all settings of a run by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal, overload

from ..common.errors import InputError
from ..tasks.train import PretrainTask, TrainTask
from .alpnet.training import AlpnetSettings, alpnet_preset
from .configuration import AlpnetConfiguration, Configuration, FinetuningConfiguration, IdealConfiguration
from .data_settings import BatchSettings, CohortSettings, EncoderSettings, TwoStreamBatchSettings
from .ideal.finetuning_settings import finetuning_preset
from .ideal.pretraining_settings import pretraining_preset
from .trainer_settings import TrainerSettings

METHODS = ("ideal", "alpnet")
PRETRAINING_PRESETS = {"ideal": ("default", "paper", "tiny"), "alpnet": ("default", "paper", "tiny")}
FINETUNING_PRESETS = ("plus", "paper", "tiny")
_TINY_SIDE = 64  # pixels; a step of fine-tuning then takes 0.1 s of one CPU thread


@overload
def pretraining_configuration(method: Literal["ideal"] = "ideal", preset: str = "default") -> IdealConfiguration: ...


@overload
def pretraining_configuration(method: str, preset: str = "default") -> IdealConfiguration | AlpnetConfiguration: ...


def pretraining_configuration(
    method: str = "ideal", preset: str = "default"
) -> IdealConfiguration | AlpnetConfiguration:
    """All settings of ``s3net pretrain``. Raises InputError for an unknown method or preset."""
    if method not in METHODS:
        raise InputError(f"method is {method!r}; it must be one of {', '.join(METHODS)}")
    if preset not in PRETRAINING_PRESETS[method]:
        raise InputError(
            f"preset is {preset!r}; for the method {method} it must be one of {', '.join(PRETRAINING_PRESETS[method])}"
        )
    tiny = preset == "tiny"
    cohort = CohortSettings(slice_side=_TINY_SIDE) if tiny else CohortSettings()
    if method == "ideal":
        trainer = TrainerSettings(steps=1500 if tiny else 8000, learning_rate=1e-3, weight_decay=1e-4)
        batch = 16 if tiny else 32
        if preset == "paper":  # the schedule of Chaitanya et al., on whom the paper builds; AdamW without decay is Adam
            trainer = dataclasses.replace(trainer, steps=10_001, weight_decay=0.0, schedule="constant", warmup=0.0)
            batch = 12
        return IdealConfiguration(preset, trainer, cohort, pretraining_preset(preset), BatchSettings(batch=batch))
    settings, trainer = alpnet_preset("default" if tiny else preset)
    if tiny:
        settings = AlpnetSettings(side=_TINY_SIDE, grid=16, prototype_grid=4)
        trainer = dataclasses.replace(trainer, steps=400, learning_rate=1e-3)
    encoder = EncoderSettings(network="tiny", level=-1) if tiny else EncoderSettings()
    return AlpnetConfiguration(preset, trainer, cohort, settings, encoder)


def finetuning_configuration(preset: str = "plus") -> FinetuningConfiguration:
    """All settings of ``s3net finetune``. Raises InputError for an unknown preset."""
    task = finetuning_preset(preset)
    cohort, batches = CohortSettings(), TwoStreamBatchSettings()
    trainer = TrainerSettings(steps=10_000, learning_rate=1e-3, validate_every=250)
    if preset == "paper":
        trainer = dataclasses.replace(
            trainer, steps=30_000, optimizer="sgd", learning_rate=0.01, schedule="poly", warmup=0.0, validate_every=200
        )
        batches = TwoStreamBatchSettings(batch=12)
    if preset == "tiny":
        trainer = dataclasses.replace(trainer, steps=2000, learning_rate=2e-3, validate_every=200)
        cohort = CohortSettings(slice_side=_TINY_SIDE)
        batches = TwoStreamBatchSettings(batch=8, unlabelled_batch=4)
    return FinetuningConfiguration(preset, trainer, cohort, task, batches)


def configuration_of(task: TrainTask, kept: Mapping | None = None) -> Configuration:
    """The settings that ``task`` asks for.

    :param kept: settings, preset and method of the run that is gone on with; None: a new one.
    :raises InputError: unknown settings, wrong values, or a run of another kind.
    """
    begun = kept or {}
    if isinstance(task, PretrainTask):
        method = str(begun["method"]).split()[-1] if kept else task.method
        configuration: Configuration = pretraining_configuration(method, begun.get("preset", task.preset))
    else:
        configuration = finetuning_configuration(begun.get("preset", task.preset))
    if kept:
        names = configuration.as_dict()
        configuration = configuration.with_kept({n: v for n, v in begun.items() if n in names})
    return configuration.with_texts(task.settings).replaced(**task.changes)
