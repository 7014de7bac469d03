"""An answer of Few-shot written into the user's segments: drawn slices and other segments stay."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...engine import Extent, InputError, Volume
from ...engine.few_shot.drawings.overlaps import flattened
from ...engine.images import AXES
from ..drawings.support_set import SupportPlane, SupportSlice
from ..segmentation.labelmaps import LabelBox, extent_around
from ..segmentation.reading import find_segment, given_or_new, segment_look
from ..segmentation.segment_edit import segment_edit
from ..segmentation.segment_slices import RESPECTFUL, EditingRules, SegmentSlices
from ..volumes import volume_from_node
from .accepted_answer import ANSWER_TAG, AcceptedAnswer, answer_name


class AnsweredSlices:
    """The answer so far on the grid of ``geometry``, and for which slices there is one.

    Attributes: ``layers`` (uint8 ``[K, J, I]`` each, 0 on the drawn slices; segments of different ones may overlap), ``axis``
    (across the answered slices, None before the first answer), ``support`` (the drawn slices).

    :param layers: how many an answer has.
    """

    def __init__(self, geometry: Volume, support: Sequence[SupportSlice | SupportPlane] = (), layers: int = 1):
        self.geometry, self.support = geometry, list(support)
        self.layers = [np.zeros(geometry.array.shape[:3], np.uint8) for _ in range(layers)]
        self.axis: str | None = None
        self._has = np.zeros(0, bool)
        self._plane: SupportPlane | None = None  # there is an answer on its voxels alone

    @property
    def numbers(self) -> list[int]:
        """The slices along ``axis`` that have an answer, drawn ones left out."""
        drawn = {s.index for s in self._drawn_slices if s.axis == self.axis}
        return [int(n) for n in np.flatnonzero(self._has) if int(n) not in drawn]

    @property
    def labels(self) -> np.ndarray:
        """All layers as one label map; where segments overlap, it shows that of the later layer."""
        return flattened(self.layers)

    def mask(self, value: int, part=...) -> np.ndarray:
        """Where the answer is ``value``: bool, in ``part`` of the volume."""
        return np.logical_or.reduce([layer[part] == value for layer in self.layers])

    def take(
        self,
        layers: np.ndarray | Sequence[np.ndarray],
        axis: str,
        slices: tuple[int, int] | None = None,
        support: Sequence[SupportSlice | SupportPlane] | None = None,
        plane: SupportPlane | None = None,
    ) -> None:
        """Takes over an answer, or a part of it. An oblique plane and slices do not stand side by side: the later one stays.

        :param layers: label maps ``[K, J, I]``, 0 = nothing, or one of them; no more than there are.
        :param axis: the axis across the slices.
        :param slices: first and last slice to take over, the others stay as they are; None: all.
        :param support: the drawn slices by now; None: as before.
        :param plane: only its voxels on ``slices``; None: all of them.
        :raises InputError: labels of another shape.
        """
        layers = [layers] if isinstance(layers, np.ndarray) else list(layers)
        shape = self.layers[0].shape
        for layer in layers:
            if layer.shape != shape:
                raise InputError(f"an answer of shape {layer.shape} does not fit {self.geometry.name!r}, {shape}")
        if len(layers) > len(self.layers):
            raise InputError(
                f"an answer of {len(layers)} layers came where {len(self.layers)} were drawn; propagate again"
            )
        count = self.geometry.size[AXES.index(axis)]
        whole = self._plane is None and self._has.all()
        if axis != self.axis or slices is None or not (whole or self._plane is plane is None):
            self.axis, self._has, self._plane = axis, np.zeros(count, bool), plane
            for own in self.layers:
                own[...] = 0
        first, last = slices or (0, count - 1)
        self._has[first : last + 1] = True
        box = Extent.slab(self.geometry, axis, first, last)
        there = True if plane is None else plane.voxels(self.geometry, box)
        for n, own in enumerate(self.layers):
            np.copyto(own[box.slices], layers[n][box.slices] if n < len(layers) else 0, where=there)
        self.protect(self.support if support is None else support)

    def protect(self, support: Sequence[SupportSlice | SupportPlane]) -> None:
        """Takes ``support`` for the drawn slices by now."""
        self.support = list(support)
        planes = [plane.voxels(self.geometry, self.geometry.extent) for plane in self._drawn_planes]
        for own in self.layers:
            for drawn in self._drawn_slices:
                np.moveaxis(own, 2 - AXES.index(drawn.axis), 0)[drawn.index] = 0
            for voxels in planes:
                own[voxels] = 0

    def may_change(self, box: Extent) -> np.ndarray:
        """The voxels of ``box`` on answered slices that are not drawn: bool, its shape."""
        if self.axis is None:
            return np.zeros(box.size[::-1], bool)  # nothing is answered
        free = {axis: np.ones(n, bool) for axis, n in zip(AXES, self.geometry.size, strict=True)}
        free[self.axis] &= self._has
        for drawn in self._drawn_slices:
            free[drawn.axis][drawn.index] = False
        x, y, z = (free[axis][a:b] for axis, a, b in zip(AXES, box.start, box.stop, strict=True))
        may = z[:, None, None] & y[:, None] & x
        for plane in self._drawn_planes:
            may &= ~plane.voxels(self.geometry, box)
        return may if self._plane is None else may & self._plane.voxels(self.geometry, box)

    @property
    def _drawn_slices(self) -> list[SupportSlice]:
        return [s for s in self.support if isinstance(s, SupportSlice)]

    @property
    def _drawn_planes(self) -> list[SupportPlane]:
        return [s for s in self.support if isinstance(s, SupportPlane)]


@dataclass(frozen=True, eq=False)
class Written:
    """What :func:`write_few_shot` did: the segmentation, its content now, and what the user should know."""

    node: object
    accepted: AcceptedAnswer
    notes: list[str] = field(default_factory=list)


def write_few_shot(
    answer: AnsweredSlices,
    segments: Mapping[int, str],
    volume_node,
    segmentation_node,
    looks_from=None,
    save_undo: Callable[[object], object] | None = None,
    tags: Mapping[str, str] | None = None,
    rules: EditingRules = RESPECTFUL,
) -> Written:
    """Writes ``answer`` into the user's segments as one undoable action.

    Drawn slices and slices without an answer stay, and so do other segments unless ``rules`` say otherwise. Segments that
    were removed meanwhile are left out, and a note says so.

    :param segments: label value -> segment id in ``looks_from``.
    :param segmentation_node: where to; None makes a new one.
    :param looks_from: the segmentation that was drawn; None: ``segmentation_node`` itself. If it is another one, its
        segments are found by name in ``segmentation_node``, or made there with its names, colours and terminology.
    :param save_undo: called with the segmentation before it is changed.
    :param tags: provenance, e.g. :func:`provenance_tags`.
    :raises InputError: the volume or the segmentation was removed, or nothing was answered yet.
    """
    if answer.axis is None:
        raise InputError("there is no answer yet to accept; propagate first")
    for node, what in ((volume_node, "volume"), (segmentation_node, "segmentation")):
        if node is not None and node.GetScene() is None:
            raise InputError(f"the {what} was removed; the answer cannot be written")
    name = answer_name(*answer.layers)
    with given_or_new(segmentation_node, volume_node) as node:
        writing = _Writing(answer, dict(segments), node, node if looks_from is None else looks_from, rules)
        with segment_edit(node, volume_node, None if save_undo is None else lambda: save_undo(node)) as edit:
            ids = writing.stage(edit, {**(tags or {}), ANSWER_TAG: name})
    accepted = AcceptedAnswer.of(node, ids, volume_from_node(volume_node), answer.axis, name)
    return Written(node, accepted, writing.notes)


class _Writing:
    """The changes that an answer makes to each segment."""

    def __init__(self, answer: AnsweredSlices, segments: dict[int, str], node, looks_from, rules: EditingRules):
        self._answer, self._segments, self._looks_from, self._rules = answer, segments, looks_from, rules
        self.notes: list[str] = []
        self._taken: set[str] = set()  # segments of another segmentation that take an answer,
        self._names: list[str] = []  # and the names of the drawn ones
        self._not_editable = self._left_to_others = 0  # voxels
        known = {value: self._target_id(node, segment_id) for value, segment_id in segments.items()}
        self._known = {value: segment_id for value, segment_id in known.items() if segment_id is not None}
        mine = [segment_id for segment_id in self._known.values() if segment_id]
        others = [i for i in node.GetSegmentation().GetSegmentIDs() if i not in mine]
        self._overwritten = [i for i in others if i in rules.overwritten]
        self._respected = [] if rules.overlaps else [i for i in others if i not in rules.overwritten]
        needed = {*mine, *self._overwritten, *self._respected, *(i for i in others if i in rules.segment_ids)}
        self._present = SegmentSlices(node, needed, answer.geometry)

    def stage(self, edit, tags: dict[str, str]) -> list[str]:
        """Puts all changes into ``edit``; returns the ids of the segments that hold the answer."""
        ids = []
        around = LabelBox(np.any([layer > 0 for layer in self._answer.layers], 0)).trimmed()
        for value, segment_id in self._known.items():
            now = self._present.box(segment_id) if segment_id else LabelBox.empty()
            box = extent_around((now, around))
            if box is None:
                gained = changing = np.zeros((0, 0, 0), bool)
            else:
                grid, mask = self._answer.geometry.cropped(box), self._answer.mask(value, box.slices)
                changing = self._changing(segment_id, mask, now, box)
                gained = mask & changing
            if segment_id and changing.any():
                edit.replace(segment_id, mask, grid, where=changing)
            elif not segment_id:
                if not gained.any():
                    continue
                segment_id = edit.add_segment(segment_look(self._looks_from, self._segments[value]), gained, grid)
            if box is not None and gained.any():
                for other in self._overwritten:
                    if self._present.box(other).overlap(LabelBox(gained, box.start)) is not None:
                        edit.remove(other, gained, grid)
            edit.set_tags(segment_id, tags)
            ids.append(segment_id)
        if self._not_editable:
            self.notes.append(
                f"{self._not_editable} voxels of the answer are outside the editable area or intensity range and stay"
            )
        if self._left_to_others:
            self.notes.append(f"{self._left_to_others} voxels of the answer are in other segments, which keep them")
        return ids

    def _changing(self, segment_id: str, mask: np.ndarray, now: LabelBox, box: Extent) -> np.ndarray:
        """The voxels of ``box`` at which the segment is to become ``mask`` and is not yet."""
        changing = (mask != now.over(box)) & self._answer.may_change(box)
        wanted = int(np.count_nonzero(changing))
        changing &= self._rules.editable(segment_id, box, self._present, self._answer.geometry)
        editable = int(np.count_nonzero(changing))
        for other in self._respected:
            changing &= ~(mask & self._present.box(other).over(box))
        self._not_editable += wanted - editable
        self._left_to_others += editable - int(np.count_nonzero(changing))
        return changing

    def _target_id(self, node, segment_id: str) -> str | None:
        """The segment of ``node`` that takes the answer of a drawn one; "": to be made; None: the drawn one is gone."""
        if self._looks_from.GetSegmentation().GetSegment(segment_id) is None:
            self.notes.append(f"segment {segment_id!r} was removed meanwhile; its part of the answer was left out")
            return None
        if node is self._looks_from:
            return segment_id
        name = segment_look(self._looks_from, segment_id).name
        found = find_segment(node, name, self._taken)
        if found is None and name in self._names:  # what an earlier answer made of another one of that name
            found = find_segment(node, f"{name} {self._names.count(name) + 1}", self._taken)
        self._names.append(name)
        self._taken.add(found or "")  # drawn segments of one name do not fall into one
        return found or ""
