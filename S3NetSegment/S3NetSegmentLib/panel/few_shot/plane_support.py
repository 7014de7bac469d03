"""``PlaneKeeper``: which oblique planes count as drawn, kept in step with what the user draws in oblique views."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from ...engine import Volume
from ...engine.images import AXES
from ...scene.answers.accepted_answer import FoundSegments, Place
from ...scene.drawings.support_set import SupportPlane, merged_support
from ...scene.segmentation.labelmaps import LabelBox
from ...scene.segmentation.segment_slices import SegmentSlices
from ...scene.volumes import volume_from_node

_STROKE = 2.0  # layers of a plane that a stroke in its view may reach: Slicer's effects mark voxels that touch it


class PlaneKeeper:
    """The drawn oblique planes of ``volume_node`` in ``segmentation_node``; :meth:`refresh` brings ``planes`` up to date.

    A plane counts as drawn when all that was changed and is on no listed slice lies on it, and the view shows it.

    :param shown: the oblique plane that the user looks at; None: there is none.
    """

    def __init__(
        self,
        volume_node,
        segmentation_node,
        planes: Iterable[SupportPlane],
        shown: Callable[[], SupportPlane | None],
    ):
        self._volume_node, self._node, self._shown = volume_node, segmentation_node, shown
        self.planes: list[SupportPlane] = merged_support(planes, ())
        self._mine: set[Place] = set()  # added by refresh(), since the last answer
        self._undone: dict[Place, SupportPlane] = {}
        self._removed: dict[Place, tuple[SupportPlane, dict]] = {}  # by the user: the plane, and what was there
        self._on: dict[Place, dict[str, bytes]] = {}  # what was drawn there at the last look
        self._matrix = volume_from_node(volume_node).ijk_to_ras
        self._remember()

    def refresh(
        self, changed: LabelBox, found: FoundSegments, written: set[str], listed: Sequence[Place], answered: bool
    ):
        """Takes up what was drawn, undone or found since.

        :param changed: the voxels at which segments that were not found have changed since the last answer.
        :param written: the found segments that were written since the last look.
        :param listed: the drawn slices.
        :param answered: whether changes are corrections of an accepted answer.
        """
        volume = volume_from_node(self._volume_node)
        self._move_along(volume)
        self._leave_out(written)
        self._drop_undone(changed, found, listed, volume)
        candidates = self._candidates(not changed.is_empty or bool(found.ids))
        left = _off_slices(self.unexplained(changed, listed), listed)
        for plane in candidates:
            on_found = found.drawn_on_plane(plane)
            new = left
            for box in on_found.values():
                new = new.union(_off_slices(self.unexplained(box, listed), listed))
            if new.is_empty or not new.without(plane.part_of(new, volume, _STROKE)).is_empty:
                continue
            without = tuple(i for i in found.ids if i not in on_found)
            plane = dataclasses.replace(plane, corrected=answered, added=False, without=without)
            if answered or self._segments_on(plane):  # only in an answer it is a correction that nothing is left
                self._take(plane)
                self._mine.add(plane.place)
                break
        self._remember()

    def unexplained(self, changed: LabelBox, listed: Sequence[Place]) -> LabelBox:
        """``changed`` without what a stroke on a known plane has changed, except on ``listed`` slices, where it may be both."""
        volume, left = volume_from_node(self._volume_node), changed
        for plane in [*self.planes, *(plane for plane, _what in self._removed.values())]:
            left = left.without(_off_slices(plane.part_of(left, volume, _STROKE), listed))
        return left

    def add(self, plane: SupportPlane, corrected: bool) -> None:
        """Counts a plane as drawn, also an empty one."""
        self._mine.discard(plane.place)
        self._take(dataclasses.replace(plane, corrected=corrected, added=True))
        self._remember()

    def remove(self, place: Place) -> None:
        """Takes a plane out of the list; it comes back when it is drawn on again."""
        plane = next(p for p in self.planes if p.place == place)
        self.planes.remove(plane)
        self._mine.discard(place)
        self._removed[place] = plane, self._segments_on(plane)

    def set_complete(self, place: Place, complete: bool) -> None:
        self.planes = [dataclasses.replace(p, complete=complete) if p.place == place else p for p in self.planes]

    def answer_accepted(self) -> None:
        self._mine.clear()
        self._undone.clear()

    def drawn_on(self) -> dict[Place, dict[str, bytes]]:
        """Place of each plane -> id -> packed voxels of the segments that are drawn there."""
        return {plane.place: self._segments_on(plane) for plane in self.planes}

    # -- inside

    def _candidates(self, wanted: bool) -> list[SupportPlane]:
        """The planes that may just have been drawn on: the shown one, and those whose drawing may have been redone."""
        shown = self._shown() if wanted else None
        known = {plane.place for plane in self.planes}
        found = [] if shown is None or shown.place in known else [shown]
        if found and shown.place in self._removed:
            plane, was = self._removed[shown.place]
            if self._segments_on(plane) == was:
                found = []
            else:
                del self._removed[shown.place]
        return found + [plane for place, plane in self._undone.items() if place not in known]

    def _take(self, plane: SupportPlane) -> None:
        self._removed.pop(plane.place, None)
        self._undone.pop(plane.place, None)
        self.planes = merged_support([plane], self.planes)

    def _drop_undone(self, changed: LabelBox, found: FoundSegments, listed: Sequence[Place], volume: Volume) -> None:
        """Takes planes out of the list that the user has not put there and whose drawing is gone."""
        for plane in list(self.planes):
            place = plane.place
            undone = place in self._mine and _off_slices(plane.part_of(changed, volume), listed).is_empty
            empty = not plane.added and not plane.corrected and not self._segments_on(plane)
            if empty or (undone and not found.drawn_on_plane(plane)):
                self.planes.remove(plane)
                self._mine.discard(place)
                self._undone[place] = plane

    def _leave_out(self, written: set[str]) -> None:
        """What was found since is not a drawing; what the user drew there before still is."""
        if not written:
            return
        for number, plane in enumerate(self.planes):
            before, now = self._on.get(plane.place, {}), self._segments_on(plane)
            new = {i for i in written if i not in before or before[i] != now.get(i)}
            self.planes[number] = dataclasses.replace(plane, without=tuple({*plane.without, *new}))

    def _move_along(self, volume: Volume) -> None:
        """The planes stay in the image when a transform moves it."""
        if np.array_equal(volume.ijk_to_ras, self._matrix):
            return
        way = volume.ijk_to_ras @ np.linalg.inv(self._matrix)
        self._matrix = volume.ijk_to_ras
        moved = {
            p.place: dataclasses.replace(p, plane_to_ras=tuple((way @ p.matrix).ravel().tolist())) for p in self.planes
        }
        self._mine = {moved[place].place for place in self._mine if place in moved}
        self.planes = merged_support(moved.values(), ())
        self._undone.clear()
        self._removed.clear()

    def _remember(self) -> None:
        self._on = self.drawn_on()

    def _segments_on(self, plane: SupportPlane) -> dict[str, bytes]:
        volume = volume_from_node(self._volume_node)
        ids = [i for i in self._node.GetSegmentation().GetSegmentIDs() if plane.counts(i)]
        slices = SegmentSlices(self._node, ids, volume)
        parts = {i: plane.part_of(slices.box(i), volume).trimmed() for i in slices.segment_ids}
        return {i: repr(p.start).encode() + np.packbits(p.array).tobytes() for i, p in parts.items() if p.array.size}


def _off_slices(voxels: LabelBox, listed: Sequence[Place]) -> LabelBox:
    """``voxels`` without those on slices."""
    if voxels.array.size == 0:
        return voxels
    left = LabelBox(voxels.array.copy(), voxels.start)
    for axis, index in listed:
        number = index - left.start[AXES.index(axis)]
        planes = np.moveaxis(left.array, 2 - AXES.index(axis), 0)
        if 0 <= number < len(planes):
            planes[number] = False
    return left
