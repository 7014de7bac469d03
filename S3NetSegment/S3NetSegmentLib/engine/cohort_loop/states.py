"""The state of each case of a cohort, the one that comes next, and the way from one to the other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..common.errors import InputError, ResourceError
from ..common.progress import Steps, as_part_of
from .choosing import most_helpful
from .proposing import Proposal, image_of, propose
from .store import ACCEPTED, CORRECTED, FAILED, PROPOSED, CaseImage, CohortStore

TO_DO, UNREADABLE, MISSING = "to do", "unreadable", "image missing"
STATES = (TO_DO, PROPOSED, CORRECTED, ACCEPTED, UNREADABLE, MISSING)
OPEN = (TO_DO, PROPOSED, CORRECTED)  # a user has still to do something
ORDERS = ("helps", "name")


@dataclass(frozen=True)
class CaseState:
    """What is known of one case.

    :param image: None if it is no longer in the folder.
    :param state: one of :data:`STATES`; "unreadable": a proposal was tried and the image could not be read.
    :param expected: expected Dice of its proposal, 0 to 1; None without one.
    :param changed: of an accepted case the share of the proposal that was changed before, 0 to 1.
    :param picture: of its proposal; None without one.
    :param by: who accepted it, or who works on it now.
    :param notes: what the user should know.
    """

    name: str
    image: Path | None
    state: str
    expected: float | None = None
    changed: float | None = None
    picture: Path | None = None
    by: str = ""
    next_slices: tuple[int, ...] = ()
    way: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class CohortState:
    """All cases in the order of their names, and what was left out of the folder."""

    cases: tuple[CaseState, ...]
    notes: tuple[str, ...] = ()

    def count(self, *states: str) -> int:
        return sum(case.state in states for case in self.cases)

    @property
    def left(self) -> int:
        """Patients that have still to be accepted."""
        return self.count(*OPEN)

    @property
    def progress(self) -> str:
        """How far the cohort is, in words."""
        accepted = self.count(ACCEPTED)
        bad = self.count(UNREADABLE)
        more = f", {bad} unreadable" if bad else ""
        total = accepted + self.left
        return f"{accepted} of {total} accepted, {self.left} patient{'' if self.left == 1 else 's'} left{more}"


def cohort_state(store: CohortStore) -> CohortState:
    """The state of all cases, from the names of the files and the records; no image is read. InputError for a folder that
    cannot be opened."""
    found = store.found()
    names = dict.fromkeys([*found.images, *store.accepted()])
    cases = [_state_of(store, name, found.images.get(name), found.beside.get(name)) for name in sorted(names)]
    return CohortState(tuple(cases), found.notes)


def _state_of(store: CohortStore, name: str, image: Path | None, beside: Path | None) -> CaseState:
    proposal, accepted = store.record(PROPOSED, name), store.is_accepted(name)
    has_proposal = store.segmentation_path(PROPOSED, name).is_file()
    picture = store.picture_path(name)
    notes = [str(note) for note in proposal.get("notes") or ()] if has_proposal else []
    state, by, changed = TO_DO, store.taken_by(name), None
    if accepted:
        record = store.record(ACCEPTED, name)
        state, by, changed = ACCEPTED, str(record.get("by", "")), _share(record.get("changed"))
        if record and record.get("segmentation_sha256") != store.digest(ACCEPTED, name):
            notes.append(
                "the accepted file is not the one of its record: it was changed outside of this program, or accepting another was "
                "broken off; look at it"
            )
        elif image is not None and store.is_replaced(image, record.get("image")):
            notes.append(
                "its image has been replaced since it was accepted, so it helps no other case; segment it anew, and accept that with "
                "--replace"
            )
        if image is None:
            state = MISSING
            notes.append("its image is no longer in the folder; it helps no other case until it is back")
    elif (failed := store.record(FAILED, name)) and not _changed_since(store, name, image, failed):
        state, notes = UNREADABLE, [str(failed.get("error", ""))]
    elif store.segmentation_path(CORRECTED, name).is_file():
        state = CORRECTED
    elif has_proposal:
        state = PROPOSED
    if not accepted and has_proposal and image is not None and store.is_replaced(image, proposal.get("image")):
        notes.append("its image has been replaced since it was proposed; propose it again")
    if beside is not None and not accepted:
        notes.append(f"{beside.name} lies beside it: accept it with --segmentation, if it is right")
    return CaseState(
        name, image, state, _share(proposal.get("expected_dice")), changed, picture if picture.is_file() else None, by,
        tuple(n for n in proposal.get("next_slices") or () if isinstance(n, int)), str(proposal.get("way", "")), tuple(notes),
    )  # fmt: skip


def _share(value) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _changed_since(store: CohortStore, case: str, image: Path | None, record: dict) -> bool:
    """Whether the image of a case is another one than that which could not be read."""
    found = record.get("image")
    known = found if isinstance(found, dict) else {}
    try:
        return store.image_facts(case, known, image).get("sha256") != known.get("sha256")
    except (InputError, ResourceError):
        return False


def open_cases(state: CohortState) -> list[CaseState]:
    """The cases that are still to be accepted and that nobody else works on."""
    return [case for case in state.cases if case.state in OPEN and not case.by]


def in_order(store: CohortStore, state: CohortState, order: str = "helps") -> Steps[list[str]]:
    """The open cases, the next one first.

    :param order: "helps": the one first whose acceptance helps the others most; "name": as the names sort.
    :raises InputError: another order.
    """
    if order not in ORDERS:
        raise InputError(f"order is {order!r}; it must be one of {', '.join(ORDERS)}")
    names = [case.name for case in open_cases(state)]
    if order == "name" or len(names) < 2:
        return names
    accepted = [case.name for case in state.cases if case.state == ACCEPTED]
    return (yield from most_helpful(store, names, accepted))


@dataclass(frozen=True)
class NextCase:
    """The case that comes next.

    :param case: its name; "" if none is left.
    :param proposal: None where nothing is accepted yet that it could be made from: the case is to be drawn.
    :param image: its image; None if no case is left.
    :param notes: what the user should know.
    """

    case: str
    proposal: Proposal | None
    state: CohortState
    image: CaseImage | None = None
    notes: tuple[str, ...] = ()


def next_case(store: CohortStore, order: str = "helps", **options) -> Steps[NextCase]:
    """Takes the next case for the present user and proposes it. Cases that cannot be read are noted and left out.

    :param order: see :func:`in_order`. ``options``: see :func:`propose`.
    """
    notes: list[str] = []
    failed: set[str] = set()

    def leave_out(case: str, error: Exception) -> None:
        notes.append(f"case {case!r} is left out: {error}")
        failed.add(case)
        store.release(case)

    while True:
        state = cohort_state(store)
        names = yield from as_part_of(in_order(store, state, order), 0.0, 0.1)
        case = next((name for name in names if name not in failed), "")
        if not case:
            return NextCase("", None, state, notes=tuple(notes))
        with store.shared_lock():
            if store.taken_by(case) or store.is_accepted(case):  # somebody was faster
                continue
            store.take(case)
        try:
            image = image_of(store, case)
            if not state.count(ACCEPTED) and not store.segmentation_path(CORRECTED, case).is_file():
                return NextCase(case, None, state, image, tuple(notes))
        except (InputError, ResourceError) as error:
            leave_out(case, error)
            continue
        try:
            proposal = yield from as_part_of(propose(store, case, image=image, **options), 0.1, 1.0)
            return NextCase(case, proposal, cohort_state(store), image, tuple(notes))
        except InputError as error:
            leave_out(case, error)
