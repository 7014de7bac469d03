"""Which cases are trained on, which choose the best state, and which only tell how good the model is; by patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..common.errors import InputError
from ..common.tensors import numpy_generator
from .cohort import SPLITS, Case, Cohort

_STREAM = 4_000_000


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
