"""Which cases are trained on, which choose the best state, and which only tell how good the model is; by patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InputError
from ..randomness import numpy_generator
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


def split_cohort(cohort: Cohort, *, seed: int = 0, validation: float = 0.2, test: float = 0.0) -> Split:
    """The split that cohort.json lists, else one by ``seed``.

    :param validation, test: parts of the labelled patients, 0 to 1, rounded; with fewer than four labelled patients there
        is no validation. One labelled patient at least is trained on. A listed split needs neither.
    :raises InputError: no patient is left for training.
    """
    if cohort.listed_splits:
        names = {split: set(cohort.listed_splits.get(split, ())) for split in SPLITS}
        held = names["validation"] | names["test"]
        chosen = _by_patients(cohort, {c.patient for c in cohort.cases if c.name in held}, names)
        if "train" in cohort.listed_splits:
            chosen["train"] = tuple(c for c in chosen["train"] if c.name in names["train"])
    else:
        patients = sorted({c.patient for c in cohort.labelled})
        order = numpy_generator(seed, _STREAM).permutation(len(patients))
        counts = _held_out(len(patients), validation, test)
        shuffled = [patients[i] for i in order]
        held = {"test": set(shuffled[: counts[1]]), "validation": set(shuffled[counts[1] : sum(counts)])}
        members = {split: {c.name for c in cohort.labelled if c.patient in held[split]} for split in held}
        chosen = _by_patients(cohort, held["test"] | held["validation"], members)
    if not chosen["train"]:
        raise InputError("no case is left for training; hold out fewer, or list training cases in cohort.json")
    return Split(**chosen, notes=tuple(_notes(chosen)))


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


def _notes(chosen: dict[str, Sequence[Case]]) -> list[str]:
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
        notes.append("no labelled case is left for validation: training cannot stop early, and its last state is kept")
    return notes
