"""``SupportKeeper``: which slices count as drawn, kept in step with what the user draws and corrects."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from ..engine.images import AXES
from ..scene.accepted_answer import ANSWER_TAG, AcceptedAnswer, slices_changed_since
from ..scene.drawn_slices import segment_content, slices_with_labels
from ..scene.segment_slices import SegmentSlices
from ..scene.segments import segment_tag
from ..scene.support_set import SupportSlice, merged_support
from ..scene.volumes import volume_from_node

# Slices that change together are no drawing but an operation on the volume (a ball-shaped brush, smoothing), if they are
_MOST_AT_ONCE = 8  # more than this,
_MOST_IN_A_ROW = 2  # or more than this lie side by side.
_FEW_DRAWN = 0.25  # share of the slices; a segmentation that reaches over fewer is one of single drawn slices


class SupportKeeper:
    """The drawn slices of ``volume_node`` in ``segmentation_node``.

    Attributes: ``slices``, in order; ``note``, what :meth:`look` wants the user to know.

    :param slices: those that are known already, e.g. from a saved scene.
    :param accepted: the content after the last accepted answer, from :meth:`answer_accepted`; None: there is none.
    """

    def __init__(self, volume_node, segmentation_node, slices: Sequence[SupportSlice] = (), accepted: AcceptedAnswer | None = None):  # fmt: skip
        self.volume_node, self.segmentation_node = volume_node, segmentation_node
        self.slices: list[SupportSlice] = merged_support(slices, ())
        self.note = ""
        self._added: set[tuple[str, int]] = set()  # by look(), and not touched by the user since
        self._removed: dict[tuple[str, int], bytes] = {}  # by the user: place -> what was there
        if accepted is None and not self.slices:
            self.slices = self._drawn_before()
        # States of the segments from which changes are counted; an undo leads back to an earlier one.
        self._states = [self._state_now()] if accepted is None else [accepted]

    @property
    def is_answered(self) -> bool:
        """Whether the segments hold an accepted answer, so that changes are corrections."""
        return bool(self._present_state().name)

    def look(self) -> bool:
        """Looks what the user has drawn or corrected; returns whether the list changed."""
        before, self.note = list(self.slices), ""
        if self.segmentation_node.GetScene() is None or self.volume_node.GetScene() is None:
            return False
        state = self._present_state()
        known = {s.place for s in self.slices}
        ids = self.segmentation_node.GetSegmentation().GetSegmentIDs()
        changed = {s.place for s in slices_changed_since(self.segmentation_node, self.volume_node, state, ids)}
        gone = self._added - changed
        self._added -= gone
        self.slices = [s for s in self.slices if s.place not in gone]
        new = [p for p in changed - known if self._removed.get(p) != self._content_of(p)]
        if len(new) > _MOST_AT_ONCE or _longest_row(new) > _MOST_IN_A_ROW:
            self._states.append(self._state_now(state.name))
            self._added.clear()  # from now on nothing tells that they are drawn
            self.note = (
                f"{len(new)} slices changed at once. They are not taken as drawn; where you have checked a slice, add it "
                "to the list with Add current slice."
            )
            new = []
        self._added |= set(new)
        self.slices = merged_support(self.slices, [SupportSlice(*place, corrected=bool(state.name)) for place in new])
        return self.slices != before

    def add(self, axis: str, index: int) -> None:
        """Counts a slice as drawn, also an empty one."""
        place = (axis, index)
        self._removed.pop(place, None)
        self._added.discard(place)
        if place not in {s.place for s in self.slices}:
            self.slices = merged_support(self.slices, [SupportSlice(axis, index, corrected=self.is_answered)])

    def remove(self, axis: str, index: int) -> None:
        """Takes a slice out of the list; it comes back when it is drawn on again."""
        place = (axis, index)
        self.slices = [s for s in self.slices if s.place != place]
        self._added.discard(place)
        self._removed[place] = self._content_of(place)

    def set_complete(self, axis: str, index: int, complete: bool) -> None:
        """Whether everything is drawn on that slice."""
        self._added.discard((axis, index))
        self.slices = [
            dataclasses.replace(s, complete=complete) if s.place == (axis, index) else s for s in self.slices
        ]

    def answer_accepted(self, name: str) -> AcceptedAnswer:
        """From now on changes are corrections of the answer called ``name``. Returns the present content."""
        self._states.append(self._state_now(name))
        self._added.clear()
        return self._states[-1]

    def holds(self, name: str) -> bool:
        """Whether the answer called ``name`` is in the segments; not after it was undone."""
        return self._present_state().name == name

    def drawn_on(self) -> dict[tuple[str, int], list[str]]:
        """Place of each drawn slice -> ids of the segments that have voxels there."""
        content = {
            axis: segment_content(self.segmentation_node, None, self.volume_node, axis)
            for axis in {s.axis for s in self.slices}
        }
        return {s.place: list(content[s.axis].get(s.index, ())) for s in self.slices}

    def content(self) -> dict[tuple[str, int], bytes]:
        """What is drawn on each slice of the list, to be compared."""
        return {s.place: self._content_of(s.place) for s in self.slices}

    # -- inside

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

    def _drawn_before(self) -> list[SupportSlice]:
        """The slices of a segmentation that holds only some drawn slices."""
        size = volume_from_node(self.volume_node).size
        places = slices_with_labels(self.segmentation_node, None, self.volume_node)
        count = {a: sum(axis == a for axis, _ in places) for a in AXES}
        few = all(count[a] <= max(1, _FEW_DRAWN * n) for a, n in zip(AXES, size, strict=True))
        return [SupportSlice(*place) for place in places] if few else []

    def _content_of(self, place: tuple[str, int]) -> bytes:
        slices = SegmentSlices(self.segmentation_node, None, volume_from_node(self.volume_node))
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
