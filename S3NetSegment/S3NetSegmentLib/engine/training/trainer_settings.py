"""Settings of the trainer, and the learning rate over a run."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..common.settings_record import SettingsRecord, setting


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
        "auto", "Numbers of the network: auto (bf16 where the device has it, else fp32), fp32, bf16, fp16.",
        choices=("auto", "fp32", "bf16", "fp16"),
    )  # fmt: skip
    checkpoint_minutes: float = setting(5.0, "Minutes between two saved states.", 0.0, 1e6)
    validate_every: int = setting(200, "Steps between two validations.", 1, 100_000_000)
    patience: int = setting(0, "Validations without improvement after which training stops; 0: never.", 0, 100_000)
    log_every: int = setting(10, "Steps between two lines of the log.", 1, 1_000_000)


# What may differ from the saved state when a run goes on. The remedies against a loss that is no number are among it.
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
        return max(0.0, 1 - share) ** 0.9
    if settings.schedule == "stairs":
        return settings.decay ** (step // settings.decay_steps)
    return 1.0
