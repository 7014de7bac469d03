"""``CohortController``: one patient of a folder after another, step by step; knows no widgets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from slicer.i18n import tr as _

from ...engine import InputError, Step
from ...engine.cohort_loop.accepting import accept, of_another_image, undo
from ...engine.cohort_loop.segment_names import UnknownSegmentsError
from ...engine.cohort_loop.states import CohortState, cohort_state
from ...engine.cohort_loop.store import ACCEPTED, PROPOSED, CohortStore
from ...scene.loop_case import LoopCase, case_segmentation, corrected_slices, open_case
from ..messages import sentence
from ..run import Controller, Listener


@dataclass(frozen=True, eq=False)
class FoundCase:
    """A case that is to be shown: its image and what is known of its segments; ``text`` says how good that is, ``accepted``
    that they are what was accepted."""

    name: str
    image: object
    segmentation: object
    axis: str
    text: str
    notes: tuple[str, ...] = ()
    accepted: bool = False


class CohortController(Controller):
    """The runs of a cohort. The folder is written at the end of a run, whole or not at all.

    Attributes: ``store`` (None: no folder is chosen), ``case`` (the one that is open in the scene, or None), ``text`` (about it),
    ``accepted`` (whether it shows what is accepted, so that accepting it again is meant).

    :param ask: ``ask(text)`` -> whether the user agrees.
    """

    def __init__(self, listener: Listener, ask: Callable[[str], bool]):
        super().__init__(listener)
        self._ask = ask
        self.store: CohortStore | None = None
        self.case: LoopCase | None = None
        self.text, self.accepted = "", False
        self._read = None  # accepted cases, kept for the next proposal

    def choose(self, folder: str) -> None:
        """Works in ``folder`` from now on; "": in none. InputError if it is none."""
        self.case, self.text, self._read = None, "", None
        self.store = None
        self.store = CohortStore(folder) if folder else None

    def state(self) -> CohortState | None:
        """The state of all cases, read anew; None without a folder. InputError where it can no longer be opened."""
        return None if self.store is None else cohort_state(self.store)

    def next(self) -> None:
        self._begin(self._next_steps(), self._show)

    def open(self, name: str) -> None:
        self._begin(self._open_steps(name), self._show)

    def propose_again(self) -> None:
        """Proposes the open case again, from the accepted patients and the slices that the user has changed."""
        self._begin(self._again_steps(self.case), self._show)

    def accept(self) -> None:
        """Accepts the open case as it is now."""
        self._begin(self._accept_steps(self.case), self._accepted)

    def undo(self, name: str) -> None:
        self._begin(self._undo_steps(name), lambda text: [text])

    def stop(self) -> None:
        self.cancel()
        self.case, self.text = None, ""

    # -- the runs

    def _next_steps(self):
        from ...engine.cohort_loop.states import next_case

        found = yield from next_case(self.store, read=self._kept())
        if not found.case:
            raise InputError(_("no case is open: {progress}").format(progress=found.state.progress))
        if found.proposal is not None:
            return self._proposed(found.proposal, found.notes)
        text = _(
            "{case}: nothing is accepted yet. Draw its segments, all slices or with Few-shot, and accept it."
        ).format(case=found.case)
        return FoundCase(found.case, found.image, None, "auto", text, found.notes)

    def _open_steps(self, name: str):
        from ...engine.cohort_loop.proposing import read_case
        from ...engine.images.formats.seg_nrrd import on_grid_of, read_segmentation
        from ...scene.batch import with_packages

        yield Step(0.0, _("Reading the image"))
        image = with_packages(lambda: read_case(self.store, name))
        yield Step(0.5, _("Reading the segments"))
        accepted = self.store.is_accepted(name)
        kind = ACCEPTED if accepted else PROPOSED
        path = self.store.segmentation_path(kind, name)
        record, segmentation = self.store.record(kind, name), None
        replaced = path.is_file() and of_another_image(record, image.facts)
        if path.is_file() and not replaced:
            segmentation = on_grid_of(read_segmentation(path), image.volume)
        self.store.take(name)
        if replaced:
            text = _("{name}: its image has been replaced since it was segmented; nothing is shown of that.")
        elif segmentation is None:
            text = _("{name}, not proposed yet.")
        else:
            text = _("{name}, as accepted.") if accepted else _("{name}, as proposed.")
        axis = str(record.get("axis") or "auto")
        return FoundCase(name, image, segmentation, axis, text.format(name=name), image.warned, accepted=accepted)

    def _again_steps(self, case: LoopCase):
        from ...engine.cohort_loop.proposing import drawing_of, kept_drawing, propose

        yield Step(0.0, _("Reading the segments"))
        self.store.same_image_facts(case.name, case.image.facts)
        now = case_segmentation(case)
        slices = corrected_slices(case, now)
        drawn, notes = None, []
        if slices:
            earlier, notes = kept_drawing(self.store, case.name, case.image)  # those slices count as they are now
            if earlier is not None and earlier.axis == case.axis:
                slices = sorted({*earlier.slices, *slices})
            drawn = drawing_of(self.store, case.name, now, case.volume, case.axis, slices)
        work = propose(self.store, case.name, drawn, image=case.image, read=self._kept())
        return self._proposed((yield from work), notes)

    def _accept_steps(self, case: LoopCase):
        yield Step(0.0, _("Reading the segments"))
        segmentation = case_segmentation(case)
        yield Step(0.3, _("Writing the case"))
        options = {"image": case.image, "source": _("the panel"), "replace": self.accepted}
        try:
            return accept(self.store, case.name, segmentation, **options)
        except UnknownSegmentsError as error:
            names, known = ", ".join(error.unknown), ", ".join(error.known)
            if not self._ask(
                _(
                    "{names}: the cohort does not know {value}; its segments are {known}. Add to the cohort? If"
                    " one of its segments is meant, press Cancel and give the segment that name."
                ).format(names=names, value="it" if len(error.unknown) == 1 else "them", known=known)
            ):
                raise InputError(
                    _("nothing was accepted; rename {names} to what the cohort calls it ({known})").format(
                        names=names, known=known
                    )
                ) from None
            return accept(self.store, case.name, segmentation, new_segments=True, **options)

    def _undo_steps(self, name: str):
        yield Step(0.0, _("Taking it back"))
        return _("case {name} is {store} again; what was accepted is kept in s3net-cohort/history.").format(
            name=name, store=undo(self.store, name)
        )

    # -- inside

    def _kept(self):
        from ...engine.cohort_loop.proposing import ReadCases

        self._read = self._read or ReadCases()
        return self._read

    @staticmethod
    def _proposed(proposal, notes) -> FoundCase:
        expected = (
            "" if proposal.expected is None else _(", expected Dice {expected:.2f}").format(expected=proposal.expected)
        )
        source = ", ".join(proposal.supports) or _("its drawn slices")
        text = _("{case}: proposed from {source} ({way}){expected}.").format(
            case=proposal.case, source=source, way=proposal.way, expected=expected
        )
        if proposal.next_slices:
            text += _(" Correct slice {str} first.").format(str=", ".join(map(str, proposal.next_slices[:3])))
        return FoundCase(
            proposal.case, proposal.image, proposal.segmentation, proposal.axis, text, (*notes, *proposal.notes)
        )

    def _begin(self, steps, finish: Callable[[object], list[str]]) -> None:
        if not self.running and self.store is not None:
            self._run.start(steps, finish)

    def _show(self, found: FoundCase) -> list[str]:
        former = self.case
        self.case = open_case(found.name, found.image, found.segmentation, found.axis)
        self.text, self.accepted = found.text, found.accepted
        if former is not None and (former.name == found.name or self.store.is_accepted(former.name)):
            former.remove()
        return [" ".join(map(sentence, found.notes))] if found.notes else []

    def _accepted(self, accepted) -> list[str]:
        self.text, self.accepted = _("{name}, as accepted.").format(name=self.case.name), True
        changed = (
            ""
            if accepted.changed is None
            else _("; {changed:.0%} of the proposal was changed").format(changed=accepted.changed)
        )
        notes = "".join(f" {sentence(note)}" for note in accepted.notes)
        text = _("case {name} is accepted{changed}.{notes}")
        return [text.format(name=self.case.name, changed=changed, notes=notes)]
