"""Accepting a case, and taking an acceptance back. Each hangs on one rename: a program that is killed has done it or not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from ..common.errors import InputError
from ..common.json_file import read_json
from ..images import Segmentation
from ..images.files import rename_over, replacing
from ..images.formats.seg_nrrd import note_covered_part, on_grid_of, read_segmentation
from ..images.reading import read_alone
from .segment_names import CohortSegments, paired
from .store import ACCEPTED, HISTORY, PROPOSED, CaseImage, CohortStore, now, who

SEGMENTS = "segments.json"
_REPLACED, _TAKEN_BACK = "replaced", "taken-back"


@dataclass(frozen=True)
class Accepted:
    """What was written.

    :param changed: share of the proposal that was changed, 0 to 1 (1 - Dice over all segments); None without a proposal.
    """

    path: Path
    changed: float | None
    notes: tuple[str, ...]


def cohort_segments(store: CohortStore) -> CohortSegments:
    """The segments of the cohort. InputError where the list of them is damaged: names could get lost."""
    path = store.work / SEGMENTS
    if not path.exists():
        return CohortSegments()
    content = read_json(path, "restore it from a backup, or remove it: then the next acceptance names the segments")
    return CohortSegments.of(content if isinstance(content, dict) else {})


def accept(
    store: CohortStore,
    case: str,
    segmentation: Segmentation | None = None,
    *,
    image: CaseImage | None = None,
    same: Mapping[str, str] | None = None,
    new_segments: bool = False,
    replace: bool = False,
    empty: bool = False,
    source: str = "",
    file: str | os.PathLike | None = None,
) -> Accepted:
    """Accepts ``segmentation`` (None: the proposal) for ``case``.

    :param image: the one in which was drawn, where it has been read already.
    :param same: other name of a segment -> its name in the cohort; kept for all later cases.
    :param new_segments: segments that the cohort does not know are added to it.
    :param replace: also if the case is accepted already; what it was is kept in its history.
    :param empty: also if the segmentation holds nothing.
    :param source: what the segmentation is, for the record; ``file``: where it was read from, which is told in place of that.
    :raises UnknownSegmentsError: names of segments that the cohort does not know.
    :raises InputError: no such case, an unreadable image, one that is no longer ``image``, a segmentation on another grid or without
        anything in it, a case that is accepted already, or that somebody else accepts at this moment.
    :raises ResourceError: the disk is full; nothing was changed.
    """
    path = store.image_of(case)
    with store.case_lock(case) as lock:
        if store.is_accepted(case) and not replace:
            facts = store.record(ACCEPTED, case)
            by = f" by {facts['by']}" if facts.get("by") else ""
            raise InputError(
                f"case {case!r} was accepted{by} already; look at that first, and accept with --replace if yours is the better "
                "one (the other stays in the history), or take it back with undo"
            )
        proposal = _proposal(store, case)
        if segmentation is None:
            if proposal is None:
                raise InputError(
                    f"case {case!r} has no proposal; give the file with its segmentation (--segmentation FILE), or propose it first"
                )
            segmentation, source = proposal, source or "the proposal"
        proposed = store.record(PROPOSED, case)
        if image is None:
            facts = store.image_facts(case, proposed.get("image"), path)
        else:
            facts = store.same_image_facts(case, image.facts, path)
        if of_another_image(proposed, facts):
            if segmentation is proposal:
                raise InputError(
                    f"the image of case {case!r} has changed since it was proposed; propose it again, or give the file with its "
                    "segmentation (--segmentation FILE)"
                )
            proposal = None
        placed = on_grid_of(segmentation, read_alone(path) if image is None else image.volume)
        if file is not None:
            note_covered_part(Path(file), segmentation, placed)
            source = os.path.basename(file)
        if not empty and not any(placed.mask(s).any() for s in placed.segments):
            raise InputError(
                f"the segmentation of case {case!r} holds nothing; draw it, or say that the case shows nothing (--empty)"
            )
        where = f"the segmentation of {case!r}"
        with store.shared_lock() as names_lock:
            result, notes = _named(store, placed, same=same, new_segments=new_segments, where=where, case=case)
            # Names bind once a case is accepted with them. Until the first one is, nobody else may set other names.
            if _others_accepted(store, case):
                names_lock.give_back()
            changed = None if proposal is None else _difference(proposal, result)
            record = {
                "by": who(), "when": now(), "image": facts, "source": source, "changed": changed,
                "proposal": {k: v for k, v in proposed.items() if k in ("expected_dice", "from", "way")},
            }  # fmt: skip
            if store.is_accepted(case):
                _keep_accepted(store, case, _REPLACED)
            store.write_with_record(ACCEPTED, case, result, record)
    store.release(case)
    store.remove_leftovers()
    if not lock.is_certain:
        notes.append("this disk knows no locks: do not accept the same case on two computers at once")
    return Accepted(store.segmentation_path(ACCEPTED, case), changed, tuple(notes))


def as_cohort_names(
    store: CohortStore, segmentation: Segmentation, *, same: Mapping[str, str] | None, new_segments: bool, where: str, case: str
) -> tuple[Segmentation, list[str]]:  # fmt: skip
    """``segmentation`` of ``case`` with the names of the cohort, which keeps the answers ``same`` and what is new; and notes. Errors as
    :func:`~.segment_names.paired`."""
    with store.shared_lock():
        return _named(store, segmentation, same=same, new_segments=new_segments, where=where, case=case)


def _named(
    store: CohortStore, segmentation: Segmentation, *, same: Mapping[str, str] | None, new_segments: bool, where: str, case: str
) -> tuple[Segmentation, list[str]]:  # fmt: skip
    """:func:`as_cohort_names` for who holds what all cases share."""
    known = cohort_segments(store)
    told = known.with_answers(same or {})
    if not (same or new_segments or _others_accepted(store, case)) and told.unknown_in(segmentation):
        # The known names come only from what was taken back, is replaced, or was drawn without being accepted.
        told = CohortSegments()
    result, told, notes = paired(segmentation, told, new=new_segments, where=where)
    if told != known:
        store.write(SEGMENTS, told.as_dict())
    return result, notes


def _others_accepted(store: CohortStore, case: str) -> bool:
    return bool(set(store.accepted()) - {case})


def undo(store: CohortStore, case: str) -> str:
    """Takes the last acceptance of ``case`` back and returns its state after that, "accepted" where an earlier acceptance
    counts again. What is taken back stays in the history.

    :raises InputError: it is not accepted, or somebody else holds it at this moment.
    """
    with store.case_lock(case):
        path = store.segmentation_path(ACCEPTED, case)
        if not path.is_file():
            raise InputError(f"case {case!r} is not accepted, so there is nothing to take back")
        folder = store.work / HISTORY / case
        former = sorted(folder.glob(f"[!.]*-{_REPLACED}.seg.nrrd"))
        folder.mkdir(parents=True, exist_ok=True)
        if not former:
            kept = folder / f"{_moment()}-{_TAKEN_BACK}.seg.nrrd"
            rename_over(path, kept)
            if store.record_path(ACCEPTED, case).is_file():
                rename_over(store.record_path(ACCEPTED, case), _record_of(kept))
            return "proposed" if store.segmentation_path(PROPOSED, case).is_file() else "to do"
        _keep_accepted(store, case, _TAKEN_BACK)
        # Its record comes with it before and leaves the history after it: who is killed between them loses neither.
        record = _record_of(former[-1])
        if record.is_file():
            _copy(record, store.record_path(ACCEPTED, case))
        else:
            store.record_path(ACCEPTED, case).unlink(missing_ok=True)
        rename_over(former[-1], path)
        record.unlink(missing_ok=True)
        return "accepted"


def _keep_accepted(store: CohortStore, case: str, why: str) -> None:
    """A copy of what is accepted now in the history, before it is replaced or taken back; the record first, so that no
    segmentation is there without one."""
    kept = store.work / HISTORY / case / f"{_moment()}-{why}.seg.nrrd"
    for source, copy in (
        (store.record_path(ACCEPTED, case), _record_of(kept)),
        (store.segmentation_path(ACCEPTED, case), kept),
    ):
        if source.is_file():
            _copy(source, copy)


def _copy(source: Path, target: Path) -> None:
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)


def _record_of(segmentation: Path) -> Path:
    """The record beside a segmentation in the history."""
    return segmentation.with_name(segmentation.name.replace(".seg.nrrd", ".json"))


def of_another_image(record: Mapping, facts: Mapping) -> bool:
    """Whether ``record`` is of an image with another content than ``facts``."""
    known = record.get("image")
    return isinstance(known, Mapping) and known.get("sha256") not in (None, facts["sha256"])


def _moment() -> str:
    """A name for now that sorts by time."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")


def _proposal(store: CohortStore, case: str) -> Segmentation | None:
    path = store.segmentation_path(PROPOSED, case)
    try:
        return read_segmentation(path) if os.path.isfile(path) else None
    except InputError:  # damaged: as if there was none
        return None


def _difference(proposal: Segmentation, accepted: Segmentation) -> float | None:
    """1 - Dice of all segments together, which are paired by name; None for other grids."""
    if proposal.layers[0].shape != accepted.layers[0].shape:
        return None
    other = {s.name: s for s in proposal.segments}
    both = total = 0
    for segment in accepted.segments:
        own = accepted.mask(segment)
        theirs = proposal.mask(other[segment.name]) if segment.name in other else np.zeros_like(own)
        both += int(np.count_nonzero(own & theirs))
        total += int(np.count_nonzero(own) + np.count_nonzero(theirs))
    return round(1 - 2 * both / total, 4) if total else 0.0
