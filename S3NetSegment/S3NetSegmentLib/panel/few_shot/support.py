"""``SupportKeeper``: which slices and planes count as drawn, kept in step with what the user draws and corrects."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b

import numpy as np
from slicer.i18n import tr as _

from ...engine.images import AXES
from ...scene.answers.accepted_answer import (
    ANSWER_TAG,
    AcceptedAnswer,
    FoundSegments,
    Place,
    changed_since,
    segments_on,
)
from ...scene.answers.provenance import made_by
from ...scene.drawings.drawn_slices import segment_content, slices_with_labels
from ...scene.drawings.placing import turned_planes
from ...scene.drawings.support_set import (
    PLANE,
    SupportPlane,
    SupportSlice,
    covering_slices,
    merged_support,
    missing_between,
)
from ...scene.segmentation.labelmaps import segment_tag
from ...scene.segmentation.segment_slices import SegmentSlices
from ...scene.volumes import volume_from_node
from .plane_support import PlaneKeeper

# Slices that change together are not a drawing but an operation on the volume (a ball-shaped brush, smoothing), if they are
_MOST_AT_ONCE = 8  # more than this,
_MOST_IN_A_ROW = 2  # or more than this lie side by side.
_FEW_DRAWN = 0.25  # share of the slices; a segmentation that reaches over fewer is one of single drawn slices


class SupportKeeper:
    """The drawn slices of ``volume_node`` in ``segmentation_node``.

    Attributes: ``slices``, in order; ``note``, what :meth:`refresh` wants the user to know.

    :param known: slices and planes that are known already, e.g. from a saved scene.
    :param accepted: the content after the last accepted answer, from :meth:`answer_accepted`; None: there is none.
    :param shown_plane: see :class:`PlaneKeeper`.
    """

    def __init__(
        self,
        volume_node,
        segmentation_node,
        known: Sequence[SupportSlice | SupportPlane] = (),
        accepted: AcceptedAnswer | None = None,
        shown_plane: Callable[[], SupportPlane | None] = lambda: None,
    ):
        self.volume_node, self.segmentation_node = volume_node, segmentation_node
        self.slices: list[SupportSlice] = merged_support((s for s in known if s.place[0] != PLANE), ())
        planes = [s for s in known if s.place[0] == PLANE]
        if accepted is None and not known:
            self.slices, planes = self._drawn_before()
        self._planes = PlaneKeeper(volume_node, segmentation_node, planes, shown_plane)
        self.note = ""
        self._added: set[Place] = set()  # by refresh(), since the last answer
        self._removed: dict[Place, bytes] = {}  # by the user: place -> what was there
        self._found, self._told = FoundSegments(volume_node, segmentation_node), set()
        # At the last look: what was on the listed slices, and where found segments were drawn on.
        self._on: dict[Place, dict[str, bytes]] = {}
        self._on_found: dict[Place, list[str]] = {}
        # States of the segments from which changes are counted; an undo leads back to an earlier one.
        self._states = [self._state_now()] if accepted is None else [accepted]
        self._remember()

    @property
    def drawn(self) -> list[SupportSlice | SupportPlane]:
        """All that counts as drawn: slices, and then oblique planes."""
        return [*self.slices, *self._planes.planes]

    @property
    def is_answered(self) -> bool:
        """Whether the segments hold an accepted answer, so that changes are corrections."""
        return bool(self._present_state().name)

    def refresh(self) -> bool:
        """Looks what the user has drawn or corrected; returns whether the list changed."""
        before, self.note = self.drawn, ""
        if self.segmentation_node.GetScene() is None or self.volume_node.GetScene() is None:
            return False
        written = self._found.refresh()
        state, ids = self._present_state(), self._ids()
        by_hand = [i for i in ids if i not in self._found.ids]
        places = [s.place for s in self.slices]
        change = changed_since(self.segmentation_node, self.volume_node, state, by_hand)
        self._planes.refresh(change, self._found, written, places, bool(state.name))

        def off_planes(voxels):
            return self._planes.unexplained(voxels, places)

        changed = set(covering_slices(off_planes(change), state.axis))
        self._on_found, touched = self._found.changed(off_planes)
        on_found = self._on_found
        self._leave_out_found(written)
        self._drop_undone(changed | set(on_found), bool(state.name))
        known = {s.place for s in self.slices}
        new = [p for p in (changed | set(on_found)) - known if self._removed.get(p) != self._content_of(p)]
        if not state.name:  # only in an answer it is a correction that nothing is left
            on = segments_on(self.segmentation_node, self.volume_node, new, ids)
            new = [p for p in new if set(on[p]).difference(self._not_drawn_on(p))]
        if len(new) > _MOST_AT_ONCE or _longest_row(new) > _MOST_IN_A_ROW:
            self._states.append(self._state_now(state.name))
            self._found.take_over()
            self._added.clear()  # from now on nothing tells that they are drawn
            self.note = _(
                "{new} slices changed at once. They are not taken as drawn; where you have checked a slice,"
                " add it to the list with Add current slice."
            ).format(new=len(new))
            new = []
        self._added |= set(new)
        drawn = [SupportSlice(*p, corrected=bool(state.name), without=self._not_drawn_on(p)) for p in new]
        self.slices = merged_support(self.slices, drawn)
        self._remember()
        self._tell_touched(touched)
        return self.drawn != before

    def add(self, chosen: SupportSlice | SupportPlane) -> None:
        """Counts a slice or an oblique plane as drawn, also an empty one."""
        if isinstance(chosen, SupportPlane):
            self._planes.add(chosen, self.is_answered)
            return
        self._removed.pop(chosen.place, None)
        self._added.discard(chosen.place)
        if chosen.place not in {s.place for s in self.slices}:
            added = SupportSlice(*chosen.place, corrected=self.is_answered, added=True)
            self.slices = merged_support(self.slices, [added])
            self._remember()

    def remove(self, axis: str, index: int) -> None:
        """Takes a slice out of the list; it comes back when it is drawn on again."""
        place = (axis, index)
        if axis == PLANE:
            self._planes.remove(place)
            return
        self.slices = [s for s in self.slices if s.place != place]
        self._added.discard(place)
        self._removed[place] = self._content_of(place)

    def set_complete(self, axis: str, index: int, complete: bool) -> None:
        if axis == PLANE:
            self._planes.set_complete((axis, index), complete)
        self.slices = [
            dataclasses.replace(s, complete=complete) if s.place == (axis, index) else s for s in self.slices
        ]

    def answer_accepted(self, name: str) -> AcceptedAnswer:
        """From now on changes are corrections of the answer called ``name``. Returns the present content."""
        self._states.append(self._state_now(name))
        self._added.clear()
        self._planes.answer_accepted()
        return self._states[-1]

    def holds(self, name: str) -> bool:
        """Whether the answer called ``name`` is in the segments; not after it was undone."""
        return self._present_state().name == name

    def drawn_on(self) -> dict[tuple[str, int], list[str]]:
        """Place of each drawn slice and plane -> ids of the segments that have voxels there."""
        content = {
            axis: segment_content(self.segmentation_node, None, self.volume_node, axis)
            for axis in {s.axis for s in self.slices}
        }
        on = {s.place: [i for i in content[s.axis].get(s.index, ()) if s.counts(i)] for s in self.slices}
        return {**on, **{place: list(parts) for place, parts in self._planes.drawn_on().items()}}

    def missing(self) -> dict[Place, list[str]]:
        """Place of each complete slice on which a segment is missing that is drawn before and behind it -> these segments.
        Those that the user has taken out of an answer there are not missing."""
        drawn_on, state = self.drawn_on(), self._present_state()
        found = missing_between({s: drawn_on[s.place] for s in self.slices})
        kept = {p: [i for i in ids if not state.box(i).reaches(*p)] for p, ids in found.items()}
        return {place: ids for place, ids in kept.items() if ids}

    def content(self) -> dict[Place, object]:
        """What is drawn on each slice and plane of the list, to be compared."""
        return {**{s.place: self._content_of(s.place) for s in self.slices}, **self._planes.drawn_on()}

    # -- inside

    def _ids(self) -> list[str]:
        return list(self.segmentation_node.GetSegmentation().GetSegmentIDs())

    def _not_drawn_on(self, place: Place) -> tuple[str, ...]:
        """The found segments that are not a drawing on a slice."""
        return tuple(i for i in self._found.ids if i not in self._on_found.get(place, ()))

    def _leave_out_found(self, written: set[str]) -> None:
        """What was found since is not a drawing on the slices of the list; what the user drew there before still is."""
        now = segments_on(self.segmentation_node, self.volume_node, [s.place for s in self.slices], written)
        slices = []
        for s in self.slices:
            before = self._on.get(s.place, {})
            new = {i for i in written if i not in before or not (s.added or before[i] == now[s.place].get(i))}
            if written & set(before) - new:
                self._added.discard(s.place)  # no longer known by a change, but by what is there
            without = tuple(i for i in self._not_drawn_on(s.place) if i in s.without or i in new)
            slices.append(dataclasses.replace(s, without=without))
        self.slices = slices

    def _drop_undone(self, changed: set[Place], answered: bool) -> None:
        """Takes slices out of the list that the user has not put there and whose drawing is gone."""
        gone, drawn_on, ids = self._added - changed, self.drawn_on(), self._ids()
        for s in self.slices:
            was = set(self._on.get(s.place, ()))
            erased = (
                s.corrected and answered and not (was and was.isdisjoint(ids))
            )  # then nothing there is a correction
            if not s.added and not drawn_on[s.place] and not erased:
                gone.add(s.place)
        self._added -= gone
        self.slices = [s for s in self.slices if s.place not in gone]

    def _remember(self) -> None:
        places = [s.place for s in self.slices]
        self._on = segments_on(self.segmentation_node, self.volume_node, places, self._ids())

    def _tell_touched(self, touched: Mapping[Place, Sequence[str]]) -> None:
        """Says once of each slice that a change of a result alone does not make it a drawn slice."""
        listed = {s.place for s in self.slices}
        new = {(p, i) for p, ids in touched.items() if p not in listed for i in ids} - self._told
        self._told |= new
        if new and not self.note:
            segmentation = self.segmentation_node.GetSegmentation()
            names = ", ".join(sorted({repr(segmentation.GetSegment(i).GetName()) for _place, i in new}))
            self.note = _(
                "{names} was found without a drawing, and changed. Such a slice is not taken as drawn; "
                "where you have checked it, add it to the list with Add current slice."
            ).format(names=names)

    def _present_state(self) -> AcceptedAnswer:
        """The latest state whose answer is in the segments: after an undo it is an earlier one."""
        names = {
            segment_tag(self.segmentation_node, segment_id, ANSWER_TAG) or ""
            for segment_id in self.segmentation_node.GetSegmentation().GetSegmentIDs()
        }
        for state in reversed(self._states):
            if state.name in names or (not state.name and names <= {""}):
                return state
        self._states.append(self._state_now())
        return self._states[-1]

    def _state_now(self, name: str | None = None) -> AcceptedAnswer:
        """The content of all segments; ``name`` of their answer, None: what their tags say."""
        node, volume = self.segmentation_node, volume_from_node(self.volume_node)
        ids = list(node.GetSegmentation().GetSegmentIDs())
        if name is None:
            name = next((tag for i in ids if (tag := segment_tag(node, i, ANSWER_TAG))), "")
        return AcceptedAnswer.of(node, ids, volume, volume.slice_axis(), name)

    def _drawn_before(self) -> tuple[list[SupportSlice], list[SupportPlane]]:
        """The slices of a segmentation that holds only some drawn slices; planes where it is turned against the volume."""
        volume = volume_from_node(self.volume_node)
        by_hand = [i for i in self._ids() if not made_by(self.segmentation_node, i)]
        found = tuple(i for i in self._ids() if i not in by_hand)
        planes, straight = turned_planes(self.segmentation_node, by_hand, self.volume_node)
        places = slices_with_labels(self.segmentation_node, straight, self.volume_node)
        drawn = [*(axis for axis, _ in places), *(plane.axis_in(volume) for plane in planes)]
        if any(drawn.count(a) > max(1, _FEW_DRAWN * n) for a, n in zip(AXES, volume.size, strict=True)):
            return [], []
        slices = [SupportSlice(*place, without=found) for place in places]
        return slices, [dataclasses.replace(plane, without=found) for plane in planes]

    def _content_of(self, place: Place) -> bytes:
        drawn_there = next((s for s in self.slices if s.place == place), None)
        without = self._not_drawn_on(place) if drawn_there is None else drawn_there.without
        ids = [i for i in self._ids() if i not in without]
        slices = SegmentSlices(self.segmentation_node, ids, volume_from_node(self.volume_node))
        digest = blake2b(digest_size=8)
        for segment_id in slices.segment_ids:
            digest.update(segment_id.encode() + np.packbits(slices.plane(segment_id, *place)).tobytes())
        return digest.digest()


def _longest_row(places: Sequence[tuple[str, int]]) -> int:
    """How many of ``places`` at most lie side by side."""
    longest = length = 0
    before = None
    for axis, index in sorted(places):
        length = length + 1 if before == (axis, index - 1) else 1
        longest, before = max(longest, length), (axis, index)
    return longest
