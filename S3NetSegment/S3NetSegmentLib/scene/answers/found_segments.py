"""``FoundSegments``: the segments that Segment or a model has found, and what the user has drawn on them since."""

from __future__ import annotations

import numpy as np

from ..drawings.drawn_planes import SupportPlane
from ..drawings.lattices import LabelBox
from ..segmentation.labelmaps import segment_tag
from ..segmentation.segment_slices import SegmentSlices
from ..volumes import volume_from_node
from .accepted_answer import AcceptedAnswer, changed_since, slices_changed_since
from .provenance import CONTENT_TAG, is_found

Place = tuple  # axis and number of a slice, or what tells a plane apart


class FoundSegments:
    """The found segments of ``segmentation_node`` on the grid of ``volume_node``; :meth:`look` brings ``ids`` up to date.

    A result says nothing of what the user has drawn where. A slice that it left empty and that the user paints on is drawn.
    """

    def __init__(self, volume_node, segmentation_node):
        self._volume_node, self._node = volume_node, segmentation_node
        self._now: dict[str, str] = {}  # id -> name of the content that was written
        self._written: dict[tuple[str, str], AcceptedAnswer] = {}  # that content; an undo leads back to an earlier one
        self.look()

    @property
    def ids(self) -> list[str]:
        return list(self._now)

    def look(self) -> set[str]:
        """Takes up what was found since; returns the segments that are new or were written again."""
        before = self._now
        ids = [i for i in self._node.GetSegmentation().GetSegmentIDs() if is_found(self._node, i)]
        self._now = {i: segment_tag(self._node, i, CONTENT_TAG) or "" for i in ids}
        for segment_id, content in self._now.items():
            if (segment_id, content) not in self._written:
                self._take(segment_id)
        return {i for i, content in self._now.items() if before.get(i) != content}

    def take_over(self) -> None:
        """Takes the present content as found."""
        for segment_id in self._now:
            self._take(segment_id)

    def drawn_on_plane(self, plane: SupportPlane) -> dict[str, LabelBox]:
        """The found segments that were not on ``plane`` and that the user has drawn there: id -> what was drawn."""
        volume, drawn = volume_from_node(self._volume_node), {}
        for segment_id, content in self._now.items():
            written = self._written[segment_id, content]
            changed = changed_since(self._node, self._volume_node, written, [segment_id])
            there = plane.part_of(changed, volume)
            if not there.is_empty and plane.part_of(written.box(segment_id), volume).is_empty:
                drawn[segment_id] = there
        return drawn

    def changed(self, but=None) -> tuple[dict[Place, list[str]], dict[Place, list[str]]]:
        """Where the user has changed found segments, and which: slices that the result had left empty, and other ones.

        :param but: see :func:`slices_changed_since`.
        """
        drawn: dict[Place, list[str]] = {}
        touched: dict[Place, list[str]] = {}
        for segment_id, content in self._now.items():
            written = self._written[segment_id, content]
            box = written.box(segment_id)
            for changed in slices_changed_since(self._node, self._volume_node, written, [segment_id], but):
                (touched if box.reaches(*changed.place) else drawn).setdefault(changed.place, []).append(segment_id)
        return drawn, touched

    def _take(self, segment_id: str) -> None:
        volume, content = volume_from_node(self._volume_node), self._now[segment_id]
        self._written[segment_id, content] = AcceptedAnswer.of(
            self._node, [segment_id], volume, volume.slice_axis(), content
        )


def segments_on(segmentation_node, volume_node, places, segment_ids) -> dict[Place, dict[str, bytes]]:
    """Place -> id -> packed voxels of the segments that have any there."""
    slices = SegmentSlices(segmentation_node, segment_ids, volume_from_node(volume_node))
    planes = {place: {i: slices.plane(i, *place) for i in slices.segment_ids} for place in places}
    return {
        place: {i: np.packbits(plane).tobytes() for i, plane in on.items() if plane.any()}
        for place, on in planes.items()
    }
