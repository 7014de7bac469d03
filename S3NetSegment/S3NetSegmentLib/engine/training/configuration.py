"""All settings of a training run, from several records, as one list of names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from ..common.errors import InputError
from ..common.settings_record import SettingsRecord
from .alpnet.training import AlpnetSettings
from .data_settings import BatchSettings, CohortSettings, EncoderSettings, TwoStreamBatchSettings
from .ideal.finetuning_settings import FinetuningSettings
from .ideal.pretraining_settings import PretrainingSettings
from .trainer_settings import TrainerSettings


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
