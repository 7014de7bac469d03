"""From a cohort folder to what is trained on: split, the layout of slices or patches that suits its images, slices.
The split is by patient: which cases are trained on, which choose the best state, and which only tell how good the model is."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ... import __version__
from ..common.errors import InputError
from ..common.progress import Steps, as_part_of
from ..common.tensors import numpy_generator
from ..images import Volume
from .cohort.folder import DESCRIPTION, SPLITS, Case, Cohort
from .configuration import Configuration
from .settings import CohortSettings
from .slices.bank import SliceBank, build_bank
from .slices.layout import (
    LEAST_DEPTH,
    PLANES,
    SliceLayout,
    across_slices,
    is_made_in_slices,
    orientation,
    plane_of,
)

PREPARED = 0.01  # part of a training's progress that this is shown as: little, since the time left is told from it
_STREAM = 4_000_000


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
    if held:
        notes += _seen_under_other_names(train, held)
    return PreparedCohort(cohort, split, layout, train, held, tuple(notes))


def _seen_under_other_names(train: SliceBank, held: SliceBank) -> list[str]:
    name_of = {digest: name for name, digest in train.hashes.items()}
    same = [f"{name!r} is {name_of[digest]!r}" for name, digest in held.hashes.items() if digest in name_of]
    if not same:
        return []
    more = f" and {len(same) - 3} more" if len(same) > 3 else ""
    sentence = (
        f"{len(same)} of {len(held.names)} validation images are trained on under another name ({', '.join(same[:3])}{more}): the "
        f"validation scores flatter the model; remove one of the two, or give both the same patient in {DESCRIPTION}"
    )
    return [sentence]


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


def choose_layout(
    volumes: Sequence[Volume], *, side: int = 256, spacing: float = 0.0, plane: str = "auto", depth: int = 1, **more
) -> tuple[SliceLayout, list[str]]:
    """The layout that suits ``volumes`` (only their grids are looked at), and sentences about what differs among them.

    :param side: largest side of a slice in pixels; it is made smaller, to a multiple of 16, where no volume needs it.
    :param spacing: mm per pixel; 0: the finest common one, the median of the volumes, made coarser only as far as the
        largest volume needs to fit into ``side``.
    :param plane: one of :data:`PLANES`, or "auto": that in which most volumes were made.
    :param depth: largest number of slices in a patch (3D), made smaller where no volume needs it; 1: slices by themselves.
    :param more: ``channels``, ``colour`` and ``neighbours`` of :class:`SliceLayout`.
    :raises InputError: patches of volumes that have one slice alone.
    """
    made = [plane_of(v) for v in volumes if is_made_in_slices(v)]
    notes = []
    if plane == "auto":
        known = made or [plane_of(v) for v in volumes]
        plane = max(PLANES, key=known.count)
    others = len(made) - made.count(plane)
    if others:
        notes.append(
            f"{others} of {len(volumes)} images were made in other than {plane} slices; they are cut into such slices"
        )
    across = PLANES[plane]
    pixel, extent, turned = [], [], set()
    for volume in volumes:
        axes, flips = orientation(volume.ijk_to_ras)
        sides = [(volume.spacing[axes[a]], volume.size[axes[a]]) for a in range(3) if a != across]
        pixel.append(min(s for s, _ in sides))
        extent.append(max(s * n for s, n in sides))
        turned.add((axes, flips))
    if len(turned) > 1:
        notes.append(f"the images lie in {len(turned)} different orientations; their slices are all turned alike")
    if spacing <= 0:
        spacing = max(float(np.median(pixel)), max(extent) / side)
        if max(pixel) > 1.02 * min(pixel):
            notes.append(
                f"the pixel sizes differ, {min(pixel):.3g} to {max(pixel):.3g} mm; all slices are resampled to {spacing:.3g} mm"
            )
    needed = max(round(e / spacing) for e in extent)
    side = min(side, math.ceil(needed / 16) * 16)
    if needed > side:
        notes.append(
            f"the largest image has {needed} pixels of {spacing:.3g} mm along a slice; only the middle {side} are used, and what "
            "lies beside it is not learnt; set a larger slice_side, or leave slice_spacing at 0"
        )
    if depth > 1:
        thickness, depth, said = _stacks(volumes, plane, spacing, depth)
        more, notes = {**more, "depth": depth, "thickness": thickness}, [*notes, *said]
    return SliceLayout(plane, round(spacing, 6), side, **more), notes


def _stacks(volumes: Sequence[Volume], plane: str, spacing: float, depth: int) -> tuple[float, int, list[str]]:
    """The thickness and the depth of patches, see :func:`choose_layout`: slices lie as far apart as in most volumes, but not
    closer than their pixels."""
    each = [across_slices(volume, plane) for volume in volumes]
    flat = [volume.name for volume, (count, _) in zip(volumes, each, strict=True) if count == 1]
    if flat:
        raise InputError(
            f"{len(flat)} of {len(volumes)} images are single {plane} slices ({flat[0]!r} is one), from which a 3D network cannot learn; "
            "set dimensions=2, or take them out"
        )
    thick = [mm for _, mm in each]
    thickness = round(max(float(np.median(thick)), spacing), 6)
    notes = []
    if max(thick) > 1.02 * min(thick):
        notes.append(
            f"the distances of slices differ, {min(thick):.3g} to {max(thick):.3g} mm; all patches are resampled to {thickness:.3g} mm"
        )
    needed = max(round(count * mm / thickness) for count, mm in each)
    return thickness, max(LEAST_DEPTH, min(depth, math.ceil(needed / LEAST_DEPTH) * LEAST_DEPTH)), notes


@dataclass(frozen=True, eq=False)
class Split:
    """Cases of a cohort by their use. Unlabelled cases only ever serve training; those of held-out patients serve nothing.

    :param notes: sentences that the user should read.
    """

    train: tuple[Case, ...]
    validation: tuple[Case, ...]
    test: tuple[Case, ...]
    notes: tuple[str, ...] = ()

    def names(self) -> dict[str, list[str]]:
        return {split: [c.name for c in getattr(self, split)] for split in SPLITS}

    @property
    def labelled(self) -> tuple[Case, ...]:
        """Labelled training cases."""
        return tuple(c for c in self.train if c.label is not None)


def split_cohort(
    cohort: Cohort, *, seed: int = 0, validation: float = 0.2, test: float = 0.0, folds: int = 0, fold: int = 0
) -> Split:
    """The split that cohort.json lists; what it does not list is held out of the other labelled patients by ``seed``.

    :param validation, test: parts of these labelled patients, 0 to 1, rounded; with fewer than four of them there is no
        validation. One labelled patient at least is trained on. Neither counts for a split that cohort.json lists (also as
        an empty list), nor where it lists the training cases.
    :param folds: where it is above 0, the labelled patients that are not held out for the test are divided into so many parts of
        a cross-validation, and those of part ``fold`` (1 is the first) are the validation; ``validation`` does not count then.
    :raises InputError: no patient is left for training; folds that the cohort or cohort.json does not allow.
    """
    listed = cohort.listed_splits
    if folds:
        check_folds(cohort, folds, fold)
    members = {split: set(listed.get(split, ())) for split in SPLITS}
    taken = {c.patient for c in cohort.cases if c.name in members["validation"] | members["test"]}
    patients = sorted({c.patient for c in cohort.labelled} - taken)
    if "train" not in listed:
        order = numpy_generator(seed, _STREAM).permutation(len(patients))
        checked, tested = _held_out(
            len(patients), 0 if "validation" in listed else validation, 0 if "test" in listed else test
        )
        shuffled = [patients[i] for i in order]
        left = shuffled[tested:]
        if folds > len(left):
            raise InputError(
                f"{folds} folds need {folds} labelled patients beside the test, and there are {len(left)}"
                + (f"; use --folds {len(left)} or fewer" if len(left) > 1 else "; label more, or leave the folds out")
            )
        chosen = {
            "test": set(shuffled[:tested]),
            "validation": set(left[fold - 1 :: folds] if folds else left[:checked]),
        }
        for split, drawn in chosen.items():
            members[split] |= {c.name for c in cohort.labelled if c.patient in drawn}
            taken |= drawn
    parts = _by_patients(cohort, taken, members)
    if "train" in listed:
        parts["train"] = tuple(c for c in parts["train"] if c.name in members["train"])
    if not parts["train"]:
        raise InputError("no case is left for training; hold out fewer, or list training cases in cohort.json")
    notes = _notes(parts, _why_no_validation(listed, validation))
    if test > 0 and {"train", "test"} & listed.keys():
        notes.append("cohort.json lists the split, so the setting test has no effect; leave one of the two out")
    return Split(**parts, notes=tuple(notes))


def check_folds(cohort: Cohort, folds: int, fold: int = 1) -> None:
    """Raises InputError if there can be no such part of a cross-validation of ``cohort``."""
    if folds == 1 or not 1 <= fold <= folds:
        raise InputError(f"fold is {fold} of {folds} folds; a cross-validation has at least two, counted from 1")
    listed = [split for split in ("train", "validation") if split in cohort.listed_splits]
    if listed:
        raise InputError(
            f"cohort.json lists the split {listed[0]!r}, and a cross-validation divides the patients by itself; take it out of "
            "cohort.json, or leave the folds out (a listed test is kept)"
        )


def _by_patients(cohort: Cohort, held: set[str], names: dict[str, set[str]]) -> dict[str, tuple[Case, ...]]:
    return {
        "train": tuple(c for c in cohort.cases if c.patient not in held),
        **{s: tuple(c for c in cohort.labelled if c.name in names[s]) for s in ("validation", "test")},
    }


def _held_out(patients: int, validation: float, test: float) -> tuple[int, int]:
    tested = min(round(test * patients), max(0, patients - 1))
    left = patients - tested
    checked = (
        min(max(1, round(validation * patients)), left - 1) if patients >= 4 and left >= 2 and validation > 0 else 0
    )
    return checked, tested


def _why_no_validation(listed: Mapping[str, Sequence[str]], validation: float) -> str:
    if "validation" in listed:
        return "cohort.json lists none"
    if "train" in listed:
        return "cohort.json lists the training cases and none for it, so the setting validation has no effect"
    return (
        "it takes at least four labelled patients beside the test" if validation > 0 else "the setting validation is 0"
    )


def _notes(chosen: Mapping[str, Sequence[Case]], why: str) -> list[str]:
    """``why``: there is no validation, if there is none."""
    drawn = sorted({c.patient for c in chosen["train"] if c.label is not None})
    held = [*chosen["validation"], *chosen["test"]]
    notes = []
    if drawn and not held:
        amount = "one patient is" if len(drawn) == 1 else f"{len(drawn)} patients are"
        notes.append(
            f"{amount} labelled and all of them are trained on: no accuracy can be claimed for the model. Label further cases "
            "and hold them out"
        )
    elif drawn and not chosen["validation"]:
        notes.append(
            f"no labelled case is held out for validation ({why}): training cannot stop early, and its last state is kept"
        )
    return notes
