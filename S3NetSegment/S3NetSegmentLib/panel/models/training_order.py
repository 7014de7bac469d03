"""What is to be trained, as the command line is told it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _

from ...engine import InputError
from .training_kinds import KINDS


@dataclass(frozen=True)
class TrainingOrder:
    """What is to be trained.

    :param kind: one of :data:`~.training_kinds.KINDS`.
    :param minutes: time for the whole run; 0: as long as the preset says.
    :param start_from: model file of an encoder, "": none.
    :param settings: "name=value name=value" that differ from the preset.
    """

    kind: str
    cohort: str
    preset: str
    minutes: float = 0.0
    start_from: str = ""
    settings: str = ""
    device: str = "auto"

    def arguments(self) -> list[str]:
        """The arguments of ``s3net``, without the run's folder. Raises InputError for settings that are none."""
        kind = KINDS[self.kind]
        command, *options = kind.command
        texts = [command, self.cohort, *options, "--preset", self.preset, "--device", self.device]
        if self.minutes > 0:
            texts += ["--minutes", f"{self.minutes:g}"]
        if self.start_from and kind.start_option:
            texts += [kind.start_option, self.start_from]
        for setting in shlex.split(self.settings):
            if "=" not in setting:
                raise InputError(
                    _("setting {setting!r} is not of the form name=value, e.g. batch=4").format(setting=setting)
                )
            texts += ["--set", setting]
        return texts

    def check(self) -> None:
        """Raises InputError for a cohort that is none."""
        if not self.cohort:
            raise InputError(_("no training folder is chosen; choose the one to train on"))
        if not (Path(self.cohort) / "images").is_dir():
            raise InputError(
                _("{cohort!r} is no training folder: it has no folder 'images'; add cases to it first").format(
                    cohort=self.cohort
                )
            )
