"""Several models that answer together: their mean probabilities. A single model is an ensemble of one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ...common.errors import InputError
from ..cohort.label_classes import LabelClass
from ..slices.likeness import ImageLook
from .model_file import Model, load_model
from .places import model_files


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Segmenters with the same classes, channels and plane of slices; sizes and spacings of slices may differ.

    :param paths: their files, () if they come of none.
    :raises InputError: models that cannot answer together, or one that is no segmenter.
    """

    members: tuple[Model, ...]
    paths: tuple[Path, ...] = field(default=())

    def __post_init__(self):
        for number, model in enumerate(self.members):
            if model.kind != "segmenter":
                raise InputError(f"a model of kind {model.kind} cannot segment; fine-tune it first")
            self._check_like_the_first(number, model)

    def _check_like_the_first(self, number: int, model: Model) -> None:
        first, names = self.members[0], self.names
        told = [[c.name for c in m.classes] for m in (first, model)]
        planes = [m.layout.plane for m in (first, model)]
        seen = ["colour" if m.layout.colour else _counted(m.layout.channels) for m in (first, model)]
        differences = (
            (told, f"find other classes ({', '.join(told[0])}; {', '.join(told[1])})"),
            (planes, f"look at {planes[0]} and {planes[1]} slices"),
            (seen, f"look at {seen[0]} and {seen[1]}"),
        )
        for (one, other), text in differences:
            if one != other:
                raise InputError(
                    f"the models {names[0]} and {names[number]} {text}: their answers cannot be averaged. Apply them one by one"
                )

    @property
    def names(self) -> tuple[str, ...]:
        """What to call each member: the name of its file, with its folder where several have it."""
        if not self.paths:
            return tuple(f"model {number}" for number in range(1, len(self.members) + 1))
        alike = len({path.name for path in self.paths}) < len(self.paths)
        return tuple(f"{path.resolve().parent.name}/{path.name}" if alike else path.name for path in self.paths)

    @property
    def classes(self) -> tuple[LabelClass, ...]:
        return self.members[0].classes

    @property
    def plane(self) -> str:
        return self.members[0].layout.plane

    @property
    def channels(self) -> int:
        """Images of each case that the models look at."""
        return self.members[0].layout.channels

    @property
    def know_mirrored(self) -> bool:
        """Whether all models were trained on mirrored slices, too."""
        return all(m.provenance.get("settings", {}).get("flip") for m in self.members)

    @property
    def provenance(self):
        return self.members[0].provenance

    @cached_property
    def training_cases(self) -> tuple[str, ...]:
        """Of all members; see :class:`~.model_file.Model`."""
        return tuple(sorted({case for m in self.members for case in m.training_cases}))

    @cached_property
    def validation_cases(self) -> tuple[str, ...]:
        """Those that chose the state of a member and trained none."""
        return tuple(sorted({c for m in self.members for c in m.validation_cases} - set(self.training_cases)))

    def doubts(self) -> list[str]:
        """As :meth:`~.model_file.Model.doubts`, with the model that they are about where there are several."""
        if len(self.members) == 1:
            return self.members[0].doubts()
        each = zip(self.names, self.members, strict=True)
        return [f"{name}: {sentence}" for name, model in each for sentence in model.doubts()]

    def unlikeness(self, look: ImageLook) -> str | None:
        """A sentence for the user if an image that looks like this is unlike those that the models were trained on."""
        found = [w for m in self.members if m.looks is not None and (w := m.looks.warning(look)) is not None]
        if not found:
            return None
        return found[0] if len(self.members) == 1 else f"for {len(found)} of {len(self.members)} models: {found[0]}"

    def summary(self) -> dict:
        """What a person wants to know, plain values: of the only model, or of each under "models"."""
        if len(self.members) == 1:
            return self.members[0].summary()
        classes = [c.as_dict() for c in self.classes]
        members = zip(self.names, self.members, strict=True)
        return {"classes": classes, "models": [{"file": name, **model.summary()} for name, model in members]}


def _counted(channels: int) -> str:
    return f"{channels} channel{'' if channels == 1 else 's'}"


def load_ensemble(paths: str | os.PathLike | Sequence[str | os.PathLike]) -> Ensemble:
    """The segmenters in the files that ``paths`` mean, see :func:`~.places.model_files`.

    :raises InputError: as there and :func:`~.model_file.load_model`, or models that cannot answer together.
    """
    files = model_files(paths)
    return Ensemble(tuple(load_model(file, "segmenter") for file in files), files)
