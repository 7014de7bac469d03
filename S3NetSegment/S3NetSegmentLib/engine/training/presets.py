"""The presets of pre-training and fine-tuning: all settings of a run by name."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from ..common.errors import InputError
from ..common.settings_record import SettingsRecord, setting
from .alpnet.training import AlpnetSettings, alpnet_preset
from .configuration import Configuration
from .data_settings import BatchSettings, CohortSettings, TwoStreamBatchSettings
from .ideal.finetuning_settings import finetuning_preset
from .ideal.pretraining_settings import pretraining_preset
from .trainer_settings import TrainerSettings

METHODS = ("ideal", "alpnet")
PRETRAINING_PRESETS = {"ideal": ("default", "paper", "tiny"), "alpnet": ("default", "paper", "tiny")}
FINETUNING_PRESETS = ("plus", "paper", "tiny")
_TINY_SIDE = 64  # pixels; a step of fine-tuning then takes 0.1 s of one CPU thread


@dataclass(frozen=True)
class EncoderSettings(SettingsRecord):
    """Which encoder ALPNet trains, where none is given."""

    network: str = setting(
        "unet",
        "Size of the U-Net encoder: unet or tiny. A given encoder (DINOv2) is taken instead.",
        choices=("unet", "tiny"),
    )
    level: int = setting(
        -2, "Level of a U-Net encoder whose features are trained: 0 the finest; -1, -2: from the coarsest.", -5, 4
    )
    lora: int = setting(
        4,
        "Rank of the low-rank adapters of a given transformer, whose own weights stay frozen; 0: all are trained.",
        0,
        256,
    )


def pretraining_configuration(method: str = "ideal", preset: str = "default") -> Configuration:
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
        return Configuration(
            "pretrain", preset, trainer=trainer, task=pretraining_preset(preset), cohort=cohort,
            batches=BatchSettings(batch=batch),
        )  # fmt: skip
    settings, trainer = alpnet_preset("default" if tiny else preset)
    if tiny:
        settings = AlpnetSettings(side=_TINY_SIDE, grid=16, prototype_grid=4)
        trainer = dataclasses.replace(trainer, steps=400, learning_rate=1e-3)
    encoder = EncoderSettings(network="tiny", level=-1) if tiny else EncoderSettings()
    return Configuration("pretrain", preset, trainer=trainer, task=settings, cohort=cohort, encoder=encoder)


def finetuning_configuration(preset: str = "plus") -> Configuration:
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
    return Configuration("finetune", preset, trainer=trainer, task=task, cohort=cohort, batches=batches)
