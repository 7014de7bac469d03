"""Settings of what is trained, and on what: the slices, the held-out cases, the batches, the encoder."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..common.settings_record import SettingsRecord, setting

MOST_NEIGHBOURS = 8
MOST_DEPTH = 512  # slices of a patch
SGD_MOMENTUM = 0.9
POLY_POWER = 0.9


@dataclass(frozen=True)
class CohortSettings(SettingsRecord):
    """How a cohort becomes slices, and which cases are held out where cohort.json does not list them."""

    slice_side: int = setting(256, "Largest side of a slice in pixels; smaller where no image needs it.", 16, 2048)
    slice_spacing: float = setting(
        0.0,
        "mm per pixel of a slice; 0: the images' own, made coarser only as far as the largest one needs to fit.",
        0.0,
        100.0,
    )
    slice_plane: str = setting(
        "auto", "Plane of the slices; auto: that in which most images were made.",
        choices=("auto", "axial", "coronal", "sagittal"),
    )  # fmt: skip
    neighbours: int = setting(
        0, "Slices at either side that the network sees, too, as further channels (2.5D).", 0, MOST_NEIGHBOURS
    )
    dimensions: int = setting(
        2,
        "2: a network of slices. 3: one of patches, slices on top of each other, for volumes; fine-tuning alone.",
        2,
        3,
    )
    patch_depth: int = setting(32, "Slices of a patch in 3D; fewer where no image has as many.", 4, MOST_DEPTH)
    colour: str = setting(
        "auto", "What is seen of images in colour: auto (red, green and blue where all images are in colour), or their lightness.",
        choices=("auto", "lightness"),
    )  # fmt: skip
    validation: float = setting(
        0.2, "Part of the labelled patients that only chooses the best state (none below four patients).", 0.0, 0.9
    )
    test: float = setting(0.0, "Part of the labelled patients that training never sees.", 0.0, 0.9)
    folds: int = setting(
        0, "Parts of a cross-validation into which the labelled patients are divided, instead of the setting validation; 0: none.",
        0, 100,
    )  # fmt: skip
    fold: int = setting(0, "Which of them chooses the best state; the others are trained on. 1 is the first.", 0, 100)
    bank_megabytes: int = setting(
        2048, "Memory for slices; beyond it they are kept in a file of the run folder.", 1, 1_000_000
    )


@dataclass(frozen=True)
class BatchSettings(SettingsRecord):
    """Batches of slices without labels."""

    batch: int = setting(32, "Slices in a step.", 1, 4096)


@dataclass(frozen=True)
class TwoStreamBatchSettings(SettingsRecord):
    """Batches of labelled and unlabelled slices."""

    batch: int = setting(24, "Labelled slices in a step; in 3D in so many patches, two at least.", 1, 4096)
    unlabelled_batch: int = setting(
        12, "Unlabelled slices in a step; with the setting trust they take the place of labelled ones.", 1, 4096
    )

    def patches(self, depth: int) -> tuple[int, int]:
        """Labelled and unlabelled patches in a step, each of ``depth`` slices; of one slice: as many as the settings say."""
        if depth == 1:
            return self.batch, self.unlabelled_batch
        return max(2, round(self.batch / depth)), max(1, round(self.unlabelled_batch / depth))


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


@dataclass(frozen=True)
class TrainerSettings(SettingsRecord):
    """How any task is trained."""

    seed: int = setting(
        0,
        "Random seed. Same cohort, settings and seed: same model on a CPU, and nearly so on a GPU (it adds in changing order).",
        0,
        2**31 - 1,
    )
    steps: int = setting(6000, "Optimisation steps, if the minutes suffice for them.", 1, 100_000_000)
    minutes: float = setting(
        0.0, "Time for the whole run; the steps that fit are measured and planned. 0: no limit.", 0.0, 1e6
    )
    optimizer: str = setting("adamw", "How weights are changed.", choices=("adamw", "sgd"))
    learning_rate: float = setting(1e-3, "Highest learning rate.", 1e-8, 10.0)
    weight_decay: float = setting(1e-4, "Weight decay.", 0.0, 1.0)
    schedule: str = setting(
        "cosine",
        "How the learning rate falls: cosine (to 0), poly (power 0.9, to 0), stairs (by decay every decay_steps), constant.",
        choices=("cosine", "poly", "stairs", "constant"),
    )
    warmup: float = setting(0.05, "Part of the run in which the learning rate rises.", 0.0, 0.9)
    decay: float = setting(0.95, "Factor of the learning rate at each stair.", 0.01, 1.0)
    decay_steps: int = setting(1000, "Steps of each stair.", 1, 100_000_000)
    clip: float = setting(0.0, "Largest norm of the gradient; 0: any.", 0.0, 1e6)
    precision: str = setting(
        "auto", "Numbers of the network: auto (bf16 where the device has it, but in 3D not on a CPU, else fp32), fp32, bf16, fp16.",
        choices=("auto", "fp32", "bf16", "fp16"),
    )  # fmt: skip
    checkpoint_minutes: float = setting(5.0, "Minutes between two saved states.", 0.0, 1e6)
    validate_every: int = setting(200, "Steps between two validations.", 1, 100_000_000)
    patience: int = setting(0, "Validations without improvement after which training stops; 0: never.", 0, 100_000)
    log_every: int = setting(10, "Steps between two lines of the log.", 1, 1_000_000)


# What may differ from the saved state when a run goes on. The remedies against a loss that is not a finite number are among it.
REMEDIES = ("learning_rate", "clip", "precision")
CHANGEABLE = ("steps", "minutes", "checkpoint_minutes", "validate_every", "patience", "log_every", *REMEDIES)


def rate_factor(settings: TrainerSettings, step: int, steps: int) -> float:
    """The learning rate of step ``step`` (from 0) of ``steps`` as a part of the highest."""
    rising = settings.warmup * steps
    if step < rising:
        return (step + 1) / (rising + 1)
    share = (step - rising) / max(1.0, steps - rising)
    if settings.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
    if settings.schedule == "poly":
        return max(0.0, 1 - share) ** POLY_POWER
    if settings.schedule == "stairs":
        return settings.decay ** (step // settings.decay_steps)
    return 1.0
