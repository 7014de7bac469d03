"""One turn of the loop: the next case that can be worked on, taken and proposed."""

from __future__ import annotations

from dataclasses import dataclass

from ..common.errors import InputError, ResourceError
from ..common.progress import Steps, as_part_of
from ..images import Volume
from .proposing import Proposal, image_of, propose
from .states import CohortState, cohort_state, in_order
from .store import ACCEPTED, CORRECTED, CohortStore


@dataclass(frozen=True)
class NextCase:
    """The case that comes next.

    :param case: its name; "" if none is left.
    :param proposal: None where nothing is accepted yet that it could be made from: the case is to be drawn.
    :param volume: its image; None if no case is left.
    :param notes: what the user should know.
    """

    case: str
    proposal: Proposal | None
    state: CohortState
    volume: Volume | None = None
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
                return NextCase(case, None, state, image[0], tuple(notes))
        except (InputError, ResourceError) as error:
            leave_out(case, error)
            continue
        try:
            proposal = yield from as_part_of(propose(store, case, image=image, **options), 0.1, 1.0)
            return NextCase(case, proposal, cohort_state(store), image[0], tuple(notes))
        except InputError as error:
            leave_out(case, error)
