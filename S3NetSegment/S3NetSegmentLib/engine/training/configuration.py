"""All settings of a training run, from several records, as one list of names; the presets."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, overload

from ..common.errors import InputError
from ..common.settings_record import SettingsRecord
from ..tasks.train import PretrainTask, TrainTask
from .alpnet import AlpnetSettings, alpnet_preset
from .ideal.settings import FinetuningSettings, PretrainingSettings, finetuning_preset, pretraining_preset
from .settings import BatchSettings, CohortSettings, EncoderSettings, TrainerSettings, TwoStreamBatchSettings

METHODS = ("ideal", "alpnet")
PRETRAINING_PRESETS = {"ideal": ("default", "paper", "tiny"), "alpnet": ("default", "paper", "tiny")}
FINETUNING_PRESETS = ("plus", "paper", "tiny")
_TINY_DEPTH = 16  # slices of a patch
_TINY_SIDE = 64  # pixels; a step of fine-tuning then takes 0.1 s of one CPU thread


@dataclass(frozen=True)
class Configuration:
    """What all trainings have; subclasses add settings records of their own. Every name occurs once among all records.

    :param preset: where the values come from.
    """

    command: ClassVar[str]  # what is trained, for messages
    preset: str
    trainer: TrainerSettings
    cohort: CohortSettings

    @property
    def records(self) -> dict[str, SettingsRecord]:
        """The settings records by what they are for."""
        return {name: value for name, value in vars(self).items() if isinstance(value, SettingsRecord)}

    def replaced(self, **values) -> Self:
        """A copy with these settings. Raises InputError for unknown names and wrong values."""
        known = self.as_dict()
        unknown = next((n for n in values if n not in known), None)
        if unknown is not None:
            raise InputError(f"there is no setting {unknown!r} for {self.command}; there are {', '.join(known)}")
        return self._with_records(
            {
                key: dataclasses.replace(r, **{n: v for n, v in values.items() if hasattr(r, n)})
                for key, r in self.records.items()
            }
        )

    def with_texts(self, assignments: Sequence[str]) -> Self:
        """A copy with ``name=value`` texts applied. Raises InputError for unknown names and wrong values."""
        known = self.as_dict()
        records = self.records
        for text in assignments:
            name = text.partition("=")[0].strip().replace("-", "_")
            if "=" not in text or name not in known:
                raise InputError(
                    f"setting {text!r} is not understood; write name=value with a name of: {', '.join(known)}"
                )
            key = next(k for k, r in records.items() if hasattr(r, name))
            records[key] = records[key].with_texts([text])
        return self._with_records(records)

    def as_dict(self) -> dict:
        """All settings by name, plain values for JSON."""
        values = {n: v for r in self.records.values() for n, v in dataclasses.asdict(r).items()}
        return {n: list(v) if isinstance(v, tuple) else v for n, v in values.items()}

    def with_kept(self, kept: Mapping) -> Self:
        """A copy with the settings of :meth:`as_dict` that a run has kept. Raises InputError if they are of another method."""
        known = self.as_dict()
        if kept.keys() != known.keys():
            other = sorted(kept.keys() ^ known.keys())
            raise InputError(
                f"the run was begun with other settings than {self.command} has ({', '.join(other[:4])}): begin anew in another folder"
            )
        return self.replaced(**{n: tuple(v) if isinstance(v, list) else v for n, v in kept.items()})

    def identity(self, method: str, cohort: str) -> dict:
        """What makes a run this one, plain values: a state of any other is not gone on from.

        :param method: what is trained, and how. :param cohort: a digest of the data.
        """
        own = {name: value for name, value in self.as_dict().items() if not hasattr(self.trainer, name)}
        return {**own, "method": method, "preset": self.preset, "cohort": cohort}

    def _with_records(self, records: Mapping[str, Any]) -> Self:
        return dataclasses.replace(self, **records)


@dataclass(frozen=True)
class IdealConfiguration(Configuration):
    """An encoder by IDEAL's dense contrast."""

    command = "pretrain"
    task: PretrainingSettings
    batches: BatchSettings


@dataclass(frozen=True)
class AlpnetConfiguration(Configuration):
    """An encoder by ALPNet's episodes."""

    command = "pretrain"
    task: AlpnetSettings
    encoder: EncoderSettings


@dataclass(frozen=True)
class FinetuningConfiguration(Configuration):
    """A segmenter."""

    command = "finetune"
    task: FinetuningSettings
    batches: TwoStreamBatchSettings


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
        cohort = CohortSettings(slice_side=_TINY_SIDE, patch_depth=_TINY_DEPTH)
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
