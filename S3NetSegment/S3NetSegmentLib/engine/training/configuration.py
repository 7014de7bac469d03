"""All settings of a training run, from several records, as one list of names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from ..common.errors import InputError
from ..common.settings_record import SettingsRecord
from .alpnet.training import AlpnetSettings
from .data_settings import BatchSettings, CohortSettings, EncoderSettings, TwoStreamBatchSettings
from .ideal.finetuning_settings import FinetuningSettings
from .ideal.pretraining_settings import PretrainingSettings
from .trainer_settings import TrainerSettings


class Configuration:
    """What all trainings have; a subclass is a frozen dataclass of settings records in which every name occurs once.

    Attributes: ``preset``, where the values come from; ``trainer``; ``cohort``.
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

    def _with_records(self, records: Mapping[str, SettingsRecord]) -> Self:
        return type(self)(preset=self.preset, **records)  # type: ignore[call-arg]  # a dataclass of these fields


@dataclass(frozen=True)
class IdealConfiguration(Configuration):
    """An encoder by IDEAL's dense contrast."""

    command = "pretrain"
    preset: str
    trainer: TrainerSettings
    task: PretrainingSettings
    cohort: CohortSettings
    batches: BatchSettings


@dataclass(frozen=True)
class AlpnetConfiguration(Configuration):
    """An encoder by ALPNet's episodes."""

    command = "pretrain"
    preset: str
    trainer: TrainerSettings
    task: AlpnetSettings
    cohort: CohortSettings
    encoder: EncoderSettings


@dataclass(frozen=True)
class FinetuningConfiguration(Configuration):
    """A segmenter."""

    command = "finetune"
    preset: str
    trainer: TrainerSettings
    task: FinetuningSettings
    cohort: CohortSettings
    batches: TwoStreamBatchSettings
