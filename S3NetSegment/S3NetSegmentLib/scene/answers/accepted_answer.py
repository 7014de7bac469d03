"""What the user's segments were when an answer was accepted, and on which slices the user has changed them since."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from ...engine import Volume
from ...engine.common.tuples import three
from ...engine.images import AXES
from ..drawings.covering import covering_slices
from ..drawings.lattices import LabelBox
from ..drawings.support_set import SupportSlice
from ..segmentation.segment_slices import SegmentSlices
from ..volumes import volume_from_node
from .provenance import PREFIX

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
    but: Callable[[LabelBox], LabelBox] | None = None,
) -> list[SupportSlice]:
    """The slices on which the user has changed segments since ``state``, marked as corrected.

    The fewest slices that hold all changed voxels, see :func:`covering_slices`.

    :param but: takes away those of the changed voxels that are no matter.
    """
    changed = changed_since(segmentation_node, volume_node, state, segment_ids)
    if but is not None:
        changed = but(changed)
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
