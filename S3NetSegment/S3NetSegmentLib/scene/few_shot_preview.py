"""An answer of Few-shot, first as a preview beside the user's segments, then accepted into them or rejected."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import slicer
from vtk.util.numpy_support import vtk_to_numpy

from ..engine import Extent, InputError, Segment
from ..engine.images import AXES
from .accepted_answer import ANSWER_TAG, AcceptedAnswer, answer_name
from .labelmaps import BINARY, oriented_image
from .lattices import LabelBox
from .segment_edit import segment_edit
from .segment_slices import SegmentSlices
from .segments import create_segmentation, find_segment, segment_look
from .support_set import SupportSlice
from .transforms import world_from_parent
from .volumes import place_beside, volume_from_node

_FILL, _OUTLINE = 0.25, 0.9  # weaker than the user's own segments, with a clear border


class FewShotPreview:
    """The answer on ``volume_node`` as a segmentation of its own, which is not saved with the scene.

    Attributes: ``node``, the preview's segmentation node, which the user may have removed; ``labels``, the answer so far,
    uint8 ``[K, J, I]``, 0 on the drawn slices; ``notes``, what :meth:`accept` had to leave out.

    :param segmentation_node: takes the accepted answer; None: a new segmentation.
    :param segments: label value -> segment id in ``looks_from``, from which names, colours and terminology are copied.
    :param support: the drawn slices of ``volume_node``; they are not shown and never changed.
    :param looks_from: the segmentation that was drawn; None: ``segmentation_node`` itself. If it is another one, its
        segments are found by name in ``segmentation_node``, or made there.
    :raises InputError: a volume that cannot be segmented, a segment that is not there.
    """

    def __init__(
        self,
        segmentation_node,
        volume_node,
        segments: Mapping[int, str],
        support: Sequence[SupportSlice] = (),
        looks_from=None,
    ):
        self.segmentation_node, self.volume_node = segmentation_node, volume_node
        self._looks_from = segmentation_node if looks_from is None else looks_from
        self._segments = dict(segments)
        self._support = list(support)
        self._geometry = volume_from_node(volume_node)
        looks = [segment_look(self._looks_from, segment_id, value) for value, segment_id in self._segments.items()]
        self.labels = np.zeros(self._geometry.array.shape[:3], np.uint8)
        self.axis, self._answered = None, np.zeros(0, bool)
        self.notes: list[str] = []
        self.node = self._make_node(looks)

    @property
    def is_shown(self) -> bool:
        """Whether the preview's node is still in the scene."""
        return self.node is not None and self.node.GetScene() is not None

    @property
    def answered(self) -> list[int]:
        """The slices along ``axis`` that have an answer, drawn ones left out."""
        drawn = {s.index for s in self._support if s.axis == self.axis}
        return [int(n) for n in np.flatnonzero(self._answered) if int(n) not in drawn]

    def show(
        self,
        labels: np.ndarray,
        axis: str,
        slices: tuple[int, int] | None = None,
        support: Sequence[SupportSlice] | None = None,
    ) -> None:
        """Shows an answer, or a part of it.

        :param labels: ``[K, J, I]`` of the volume, values of ``segments``, 0 = nothing.
        :param axis: the axis across the slices.
        :param slices: first and last slice to take over, the others stay as they are shown; None: all.
        :param support: the drawn slices by now; None: as before.
        :raises InputError: labels of another shape.
        """
        if labels.shape != self.labels.shape:
            raise InputError(
                f"an answer of shape {labels.shape} does not fit {self._geometry.name!r}, {self.labels.shape}"
            )
        if support is not None:
            self._support = list(support)
        count = self._geometry.size[AXES.index(axis)]
        if axis != self.axis or slices is None:
            self.axis, self._answered = axis, np.zeros(count, bool)
            self.labels[...] = 0
        first, last = slices or (0, count - 1)
        self._answered[first : last + 1] = True
        part = [slice(None)] * 3
        part[2 - AXES.index(axis)] = slice(first, last + 1)
        self.labels[tuple(part)] = labels[tuple(part)]
        for drawn in self._support:
            np.moveaxis(self.labels, 2 - AXES.index(drawn.axis), 0)[drawn.index] = 0
        self._refresh()

    def accept(
        self,
        save_undo: Callable[[object], object] | None = None,
        overlaps: bool = False,
        tags: Mapping[str, str] | None = None,
        where: np.ndarray | None = None,
    ) -> AcceptedAnswer:
        """Writes the answer into the user's segments as one undoable action, and removes the preview.

        Drawn slices and slices without an answer stay, and so do all other segments. Segments that were removed meanwhile
        are left out (``notes``).

        :param save_undo: called with the segmentation before it is changed.
        :param overlaps: whether the answer may lie over other segments; otherwise their voxels are left to them.
        :param tags: provenance, e.g. :func:`provenance_tags`.
        :param where: bool ``[K, J, I]``: only these voxels may change (the editor's mask).
        :raises InputError: the volume or the segmentation was removed, or nothing was answered yet.
        """
        if self.axis is None:
            raise InputError("there is no answer yet to accept; propagate first")
        if self.volume_node.GetScene() is None:
            raise InputError("the volume was removed; the answer cannot be written")
        if self.segmentation_node is not None and self.segmentation_node.GetScene() is None:
            raise InputError("the segmentation was removed; the answer cannot be written")
        created = self.segmentation_node is None
        node = create_segmentation(self.volume_node) if created else self.segmentation_node
        try:
            ids = self._write(node, save_undo, overlaps, dict(tags or {}), where)
        except BaseException:
            if created:
                node.GetScene().RemoveNode(node)
            raise
        self.segmentation_node = node
        self.reject()
        return AcceptedAnswer.of(node, list(ids.values()), self._geometry, self.axis, answer_name(self.labels))

    def reject(self) -> None:
        """Removes the preview; the user's segments stay as they are."""
        if self.is_shown:
            scene, display = self.node.GetScene(), self.node.GetDisplayNode()
            scene.RemoveNode(self.node)
            if display is not None:  # Slicer leaves it behind
                scene.RemoveNode(display)
        self.node = None

    # -- the preview

    def _make_node(self, looks: Iterable[Segment]) -> slicer.vtkMRMLSegmentationNode:
        scene = self.volume_node.GetScene()
        node = slicer.vtkMRMLSegmentationNode()
        node.SetName(scene.GenerateUniqueName(f"{self.volume_node.GetName()} few-shot preview"))
        node.SetSaveWithScene(False)
        node.SetHideFromEditors(True)  # else it could be selected as the segmentation to work on
        node = scene.AddNode(node)
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        display.SetSaveWithScene(False)
        display.SetOpacity2DFill(_FILL)
        display.SetOpacity2DOutline(_OUTLINE)
        place_beside(node, self.volume_node)
        segmentation = node.GetSegmentation()
        segmentation.SetSourceRepresentationName(BINARY)
        node.SetReferenceImageGeometryParameterFromVolumeNode(self.volume_node)
        lattice = np.linalg.inv(world_from_parent(node)) @ self._geometry.ijk_to_ras
        # All segments share one image with a label value each, so a new answer is one write.
        self._image = oriented_image(LabelBox(self.labels), lattice)
        for look in looks:
            segment = slicer.vtkSegment()
            segment.SetName(look.name)
            segment.SetColor(*look.color)
            segment.SetLabelValue(look.value)
            if look.terminology:
                segment.SetTag(segment.GetTerminologyEntryTagName(), look.terminology)
            segment.AddRepresentation(BINARY, self._image)
            segmentation.AddSegment(segment, self._segments[look.value])
        return node

    def _refresh(self) -> None:
        if not self.is_shown:
            return
        vtk_to_numpy(self._image.GetPointData().GetScalars()).reshape(self.labels.shape)[...] = self.labels
        self._image.GetPointData().GetScalars().Modified()
        self._image.Modified()

    # -- writing

    def _write(self, node, save_undo, overlaps: bool, tags: dict[str, str], where) -> dict[int, str]:
        """Writes the answer to ``node``; returns label value -> segment id there."""
        tags = {**tags, ANSWER_TAG: answer_name(self.labels)}
        undo = None if save_undo is None else lambda: save_undo(node)
        known = {value: self._target_id(node, value, segment_id) for value, segment_id in self._segments.items()}
        present = SegmentSlices(node, [i for i in known.values() if i], self._geometry)
        others = [i for i in node.GetSegmentation().GetSegmentIDs() if i not in known.values()]
        taken = None if overlaps or not others else SegmentSlices(node, others, self._geometry)
        answer = LabelBox(self.labels).trimmed()
        written = {}
        with segment_edit(node, self.volume_node, undo) as edit:
            for value, segment_id in known.items():
                if segment_id is None:
                    continue
                found = present.box(segment_id) if segment_id else LabelBox.empty()
                box = _bounds(found, answer)
                if box is not None:
                    grid = self._geometry.cropped(box)
                    mask = self.labels[box.slices] == value
                    old = _filled(found, box)
                    may = (mask != old) & self._may_change(box)
                    if taken is not None:
                        for other in taken.segment_ids:
                            may &= ~(mask & _filled(taken.box(other), box))
                    if where is not None:
                        may &= where[box.slices]
                if not segment_id:
                    if box is None or not (mask & may).any():
                        continue
                    segment_id = edit.add_segment(
                        segment_look(self._looks_from, self._segments[value]), mask & may, grid
                    )
                elif box is not None and may.any():
                    edit.replace(segment_id, mask, grid, where=may)
                edit.set_tags(segment_id, tags)
                written[value] = segment_id
        return written

    def _target_id(self, node, value: int, segment_id: str) -> str | None:
        """The segment of ``node`` for a label value; "": to be made; None: it was removed."""
        if self._looks_from.GetSegmentation().GetSegment(segment_id) is None:
            self.notes.append(f"segment {segment_id!r} was removed meanwhile; its part of the answer was left out")
            return None
        if node is self._looks_from:
            return segment_id
        return find_segment(node, segment_look(self._looks_from, segment_id).name) or ""

    def _may_change(self, box: Extent) -> np.ndarray:
        """The voxels of ``box`` on answered slices that are not drawn: bool, broadcast to its shape."""
        free = {axis: np.ones(n, bool) for axis, n in zip(AXES, self._geometry.size, strict=True)}
        free[self.axis] &= self._answered
        for drawn in self._support:
            free[drawn.axis][drawn.index] = False
        x, y, z = (free[axis][a:b] for axis, a, b in zip(AXES, box.start, box.stop, strict=True))
        return z[:, None, None] & y[:, None] & x


def _bounds(a: LabelBox, b: LabelBox) -> Extent | None:
    boxes = [box for box in (a, b) if box.array.size]
    if not boxes:
        return None
    start = np.min([box.start for box in boxes], 0)
    stop = np.max([box.stop for box in boxes], 0)
    return Extent(tuple(int(v) for v in start), tuple(int(v) for v in stop))


def _filled(box: LabelBox, extent: Extent) -> np.ndarray:
    """``box`` as an array of ``extent``."""
    out = LabelBox(np.zeros(extent.size[::-1], bool), extent.start)
    common = box.overlap(out)
    if common is not None:
        out.part(*common)[...] = box.part(*common)
    return out.array
