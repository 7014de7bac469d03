"""One turn of the loop: the next case that can be worked on, taken and proposed."""

from __future__ import annotations

from dataclasses import dataclass

from ..common.errors import InputError, ResourceError
from ..common.progress import Steps, within
from .proposing import Proposal, note_failure, propose
from .states import CohortState, cohort_state, in_order
from .store import ACCEPTED, CORRECTED, CohortStore


@dataclass(frozen=True)
class NextCase:
    """The case that comes next.

    :param case: its name; "" if none is left.
    :param proposal: None where nothing is accepted yet that it could be made from: the case is to be drawn.
    :param notes: what the user should know.
    """

    case: str
    proposal: Proposal | None
    state: CohortState
    notes: tuple[str, ...] = ()


def next_case(store: CohortStore, order: str = "helps", **options) -> Steps[NextCase]:
    """Takes the next case for the present user and proposes it. Cases that cannot be read are noted and left out.

    :param order: see :func:`in_order`. ``options``: see :func:`propose`.
    """
    notes: list[str] = []
    failed: set[str] = set()
    while True:
        state = cohort_state(store)
        names = yield from within(in_order(store, state, order), 0.0, 0.1)
        case = next((name for name in names if name not in failed), "")
        if not case:
            return NextCase("", None, state, tuple(notes))
        with store.shared_lock():
            if store.taken_by(case) or store.is_accepted(case):  # somebody was faster
                continue
            store.take(case)
        if not state.count(ACCEPTED) and not store.segmentation_path(CORRECTED, case).is_file():
            if readable := _readable(store, case, notes):
                return NextCase(case, None, state, tuple(notes))
        else:
            try:
                proposal = yield from within(propose(store, case, **options), 0.1, 1.0)
                return NextCase(case, proposal, cohort_state(store), tuple(notes))
            except InputError as error:
                notes.append(f"case {case!r} is left out: {error}")
                readable = False
        if not readable:
            failed.add(case)
            store.release(case)


def _readable(store: CohortStore, case: str, notes: list[str]) -> bool:
    """Whether the image of ``case`` can be read; else that is noted."""
    from ..images.image_warnings import collected_image_warnings
    from ..images.reading import read_image

    try:
        with collected_image_warnings():
            read_image(store.image_of(case))
    except (InputError, ResourceError) as error:
        note_failure(store, case, str(error))
        notes.append(f"case {case!r} is left out: {error}")
        return False
    return True
