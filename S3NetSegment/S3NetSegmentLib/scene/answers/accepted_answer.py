"""Which slices the user has drawn or corrected since an answer was accepted, or segments were found."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from ...engine import Volume
from ...engine.common.arrays import three
from ...engine.images import AXES
from ..drawings.support_set import SupportPlane, SupportSlice, covering_slices
from ..segmentation.labelmaps import LabelBox, segment_tag
from ..segmentation.segment_slices import SegmentSlices
from ..volumes import volume_from_node
from .provenance import CONTENT_TAG, PREFIX, is_found

ANSWER_TAG = PREFIX + "Answer"  # segment tag that names the answer; an undo takes it away again
_MOST_TEXT = 1_000_000  # characters; a larger answer is not kept with the scene
_VERSION = 1


def answer_name(*layers: np.ndarray) -> str:
    """A short name of the content of an answer, which has one or several ``layers``."""
    digest = blake2b(digest_size=8)
    for labels in layers:
        part = LabelBox(labels).trimmed()
        digest.update(repr((part.start, part.array.shape)).encode())
        digest.update(np.ascontiguousarray(part.array).data)
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class AcceptedAnswer:
    """The content of segments right after an answer was accepted, or before there was any, compressed.

    :param name: of the answer, see :func:`answer_name`; "" before there was any.
    :param axis: the axis across the answered slices.
    :param masks: segment id -> (start (i, j, k), shape ``[K, J, I]``, compressed bits).
    """

    name: str
    axis: str
    masks: dict[str, tuple[tuple[int, int, int], tuple[int, int, int], bytes]]

    @classmethod
    def of(
        cls, segmentation_node, segment_ids: Sequence[str], geometry: Volume, axis: str, name: str
    ) -> AcceptedAnswer:
        """The content of ``segment_ids`` now, on the grid of ``geometry``."""
        slices, masks = SegmentSlices(segmentation_node, segment_ids, geometry), {}
        for segment_id in slices.segment_ids:
            box = slices.box(segment_id).trimmed()
            masks[segment_id] = box.start, box.array.shape, zlib.compress(np.packbits(box.array).tobytes(), 1)
        return cls(name, axis, masks)

    def box(self, segment_id: str) -> LabelBox:
        """The accepted content of a segment; empty for one that was not there."""
        if segment_id not in self.masks:
            return LabelBox.empty()
        start, shape, packed = self.masks[segment_id]
        bits = np.unpackbits(np.frombuffer(zlib.decompress(packed), np.uint8), count=int(np.prod(shape)))
        return LabelBox(bits.view(bool).reshape(shape), start)

    def to_text(self) -> str:
        """As JSON, to be kept with the scene; "" if it is too large for that."""
        masks = {i: [s, shape, base64.b64encode(bits).decode()] for i, (s, shape, bits) in self.masks.items()}
        text = json.dumps({"version": _VERSION, "name": self.name, "axis": self.axis, "masks": masks})
        return text if len(text) <= _MOST_TEXT else ""

    @classmethod
    def from_text(cls, text: str) -> AcceptedAnswer | None:
        """The answer in the text of :meth:`to_text`; None for "" and for text that is damaged or of a later version."""
        try:
            content = json.loads(text)
            if content["version"] != _VERSION or content["axis"] not in AXES:
                return None
            masks = {
                i: (three(map(int, start)), three(map(int, shape)), base64.b64decode(bits, validate=True))
                for i, (start, shape, bits) in content["masks"].items()
            }
            answer = cls(str(content["name"]), content["axis"], masks)
            for segment_id in masks:
                answer.box(segment_id)
        except (ValueError, TypeError, KeyError, AttributeError, zlib.error):
            return None
        return answer


def slices_changed_since(
    segmentation_node,
    volume_node,
    state: AcceptedAnswer,
    segment_ids: Iterable[str],
    but: Callable[[LabelBox], LabelBox] = lambda changed: changed,
) -> list[SupportSlice]:
    """The slices on which the user has changed segments since ``state``, marked as corrected.

    The fewest slices that hold all changed voxels, see :func:`covering_slices`.

    :param but: takes away those of the changed voxels that are no matter.
    """
    changed = but(changed_since(segmentation_node, volume_node, state, segment_ids))
    return [SupportSlice(axis, index, corrected=True) for axis, index in covering_slices(changed, state.axis)]


def changed_since(segmentation_node, volume_node, state: AcceptedAnswer, segment_ids: Iterable[str]) -> LabelBox:
    """The voxels of ``volume_node`` at which segments have changed since ``state``. One that ``state`` does not know was
    empty."""
    now = SegmentSlices(segmentation_node, segment_ids, volume_from_node(volume_node))
    changed = LabelBox.empty()
    for segment_id in now.segment_ids:
        changed = changed.union(_difference(now.box(segment_id), state.box(segment_id)))
    return changed


def _difference(a: LabelBox, b: LabelBox) -> LabelBox:
    return a.without(b).union(b.without(a)).trimmed()


Place = tuple  # axis and number of a slice, or what tells a plane apart


class FoundSegments:
    """The found segments of ``segmentation_node`` on the grid of ``volume_node``; :meth:`refresh` brings ``ids`` up to date.

    A result says nothing of what the user has drawn where. A slice that it left empty and that the user paints on is drawn.
    """

    def __init__(self, volume_node, segmentation_node):
        self._volume_node, self._node = volume_node, segmentation_node
        self._now: dict[str, str] = {}  # id -> name of the content that was written
        self._written: dict[tuple[str, str], AcceptedAnswer] = {}  # that content; an undo leads back to an earlier one
        self.refresh()

    @property
    def ids(self) -> list[str]:
        return list(self._now)

    def refresh(self) -> set[str]:
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

    def changed(self, but: Callable[[LabelBox], LabelBox]) -> tuple[dict[Place, list[str]], dict[Place, list[str]]]:
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
