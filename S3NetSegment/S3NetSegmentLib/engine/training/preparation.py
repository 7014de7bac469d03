"""From a cohort folder to what is trained on: split, slice layout, slices."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from ... import __version__
from ..common.errors import InputError
from ..common.progress import Steps, as_part_of
from .cohort import Cohort
from .configuration import Configuration
from .layout_choice import choose_layout
from .settings import CohortSettings
from .slice_bank import SliceBank, build_bank
from .slice_layout import SliceLayout
from .split import Split, split_cohort

PREPARED = 0.01  # part of a training's progress that this is shown as: little, since the time left is told from it


@dataclass(frozen=True, eq=False)
class PreparedCohort:
    """What a training run works on.

    :param train: slices of the training cases; :param held: of the validation cases, None without any.
    :param notes: sentences that the user should read.
    """

    cohort: Cohort
    split: Split
    layout: SliceLayout
    train: SliceBank
    held: SliceBank | None
    notes: tuple[str, ...]

    @property
    def identity(self) -> str:
        """A digest of all images, labels and classes: a run goes on only on the same data."""
        digest = hashlib.sha256()
        for bank in (self.train, self.held):
            if bank is not None:
                digest.update(repr(sorted(bank.hashes.items())).encode())
                digest.update(repr((len(bank), bank.labelled.tolist())).encode())
        digest.update(repr([(c.name, c.value) for c in self.cohort.classes]).encode())
        return digest.hexdigest()

    def counts(self) -> dict[str, int]:
        """Numbers of cases and slices, for provenance."""
        labelled = {self.train.names[c] for c in self.train.case[self.train.labelled]}
        patients = {c.patient for c in self.split.train if c.name in labelled}
        return {
            "training_cases": len(self.train.names), "labelled_cases": len(labelled), "labelled_patients": len(patients),
            "labelled_slices": len(self.train.labelled), "training_slices": len(self.train),
            "validation_cases": len(self.held.names) if self.held else 0, "test_cases": len(self.split.test),
        }  # fmt: skip


def prepare_cohort(
    cohort: Cohort,
    settings: CohortSettings,
    *,
    seed: int,
    with_labels: bool,
    layout: SliceLayout | None = None,
    device: torch.device | str = "cpu",
    folder: Path | None = None,
    skip_bad: bool = False,
) -> Steps[PreparedCohort]:
    """Splits ``cohort`` and reads its slices.

    :param with_labels: keep labels and the validation cases; False: training images alone.
    :param layout: of a model that was trained before; None: the one that suits the training images.
    :param folder: for slices beyond the memory allowed.
    """
    folds = {"folds": settings.folds, "fold": settings.fold} if with_labels else {}
    split = split_cohort(cohort, seed=seed, validation=settings.validation, test=settings.test, **folds)
    notes = [*cohort.notes, *(split.notes if with_labels else ())]
    if layout is None:
        layout, said = choose_layout(
            [c.grid for c in (*split.train, *(split.validation if settings.folds else ()))],  # alike in all folds
            side=settings.slice_side,
            spacing=settings.slice_spacing,
            plane=settings.slice_plane,
            channels=cohort.channels,
            colour=settings.colour == "auto" and all(c.grid.is_rgb for c in (*split.train, *split.validation)),
            neighbours=settings.neighbours,
            depth=settings.patch_depth if settings.dimensions == 3 else 1,
        )
        notes += said
    elif settings.neighbours not in (0, layout.neighbours):
        raise InputError(
            f"setting neighbours is {settings.neighbours}, but the model to start from sees {layout.neighbours} at either side; "
            "pre-train with the same, or leave it out"
        )
    elif settings.dimensions == 3 and not layout.is_3d:
        raise InputError(
            "setting dimensions is 3, but the model to start from is one of slices (2D); leave it out, or start from nothing"
        )
    classes = cohort.classes if with_labels else ()
    limit = settings.bank_megabytes << 20
    made = partial(build_bank, device=device, folder=folder, skip_bad=skip_bad, limit_bytes=limit)
    share = len(split.train) / (len(split.train) + len(split.validation))
    train = yield from as_part_of(made(split.train, classes, layout), 0, share)
    held = None
    if with_labels and split.validation:
        held = yield from as_part_of(made(split.validation, classes, layout), share, 1)
    for bank in (train, held):
        notes += bank.notes if bank else []
    return PreparedCohort(cohort, split, layout, train, held, tuple(notes))


def provenance(method: str, configuration: Configuration, data: PreparedCohort, step: int, **more) -> dict:
    """Plain values. No names of cases are among them."""
    settings = configuration.cohort
    folds = {"folds": settings.folds, "fold": settings.fold} if settings.folds else {}
    return {
        "version": __version__, "torch": str(torch.__version__), "method": method, "preset": configuration.preset,
        "steps": step, "settings": configuration.as_dict(), "seed": configuration.trainer.seed,
        "split": {"validation": settings.validation, "test": settings.test, "listed": bool(data.cohort.listed_splits), **folds},
        **data.counts(), **more,
    }  # fmt: skip
