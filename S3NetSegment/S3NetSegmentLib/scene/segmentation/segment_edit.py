"""One undoable user action on the segments of a segmentation node, all other segments untouched.

Changes are collected first and written together at the end, so an error on the way leaves the scene as it was.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import slicer
import vtk

from ...engine import Extent, InputError, Segment, Volume
from ...engine.common.arrays import three
from ...engine.common.provenance import all_tag_names
from ..answers.provenance import CONTENT_TAG, METHOD_TAG, content_name
from ..volumes import volume_from_node, world_from_parent
from .labelmaps import (
    BINARY,
    HIGHEST_LABEL,
    SURFACE,
    LabelBox,
    ensure_binary_labelmap,
    kept_values,
    oriented_image,
    read_segment,
    reference_lattice,
    segment_tag,
    write_segment,
)


@contextmanager
def segment_edit(
    segmentation_node, volume_node, save_undo: Callable[[], object] | None = None
) -> Iterator[SegmentEdit]:
    """``with segment_edit(...) as edit:`` one undoable user action; see :class:`SegmentEdit`.

    An exception inside leaves the segmentation as it was.
    """
    edit = SegmentEdit(segmentation_node, volume_node, save_undo)
    yield edit
    edit.commit()


@dataclass(eq=False)
class _Layer:
    """Labels of several new segments in one image, as Slicer shares them: one label value each."""

    box: LabelBox
    lattice: np.ndarray


@dataclass(eq=False)
class _Change:
    """What one segment is to become."""

    box: LabelBox | None = None  # None: its voxels stay
    lattice: np.ndarray | None = None
    new: Segment | None = None
    layer: _Layer | None = None
    deleted: bool = False
    tags: dict[str, str] = field(default_factory=dict)


class SegmentEdit:
    """One undoable user action on the segments of a segmentation node.

    Masks are bool ``[K, J, I]`` on the grid of ``geometry``, a :class:`Volume` in world RAS: the whole volume, a crop of
    it (``volume.cropped(extent)``) or a single oblique plane, whose third column is its thickness. Where that grid is
    not the segment's own, voxels are taken by nearest neighbour. Nothing is written before :meth:`commit`, which first
    calls ``save_undo`` once, and only if something changes.

    :param volume_node: gives a segmentation without reference geometry its geometry; None: the first mask's grid.
    :param save_undo: saves the state for undo, e.g. ``saveStateForUndo`` of the embedded segment editor.

    A segmentation of contours or surfaces becomes one of binary labelmaps at once, before the action.

    :raises InputError: no segmentation, one that cannot become a binary labelmap, a non-linear parent transform.
    """

    def __init__(self, segmentation_node, volume_node=None, save_undo: Callable[[], object] | None = None):
        ensure_binary_labelmap(segmentation_node)
        self.node = segmentation_node
        self.volume_node = volume_node
        self._save_undo = save_undo
        self._segmentation = segmentation_node.GetSegmentation()
        self._parent_from_world = np.linalg.inv(world_from_parent(segmentation_node))
        self._changes: dict[str, _Change] = {}

    def add_segment(self, segment: Segment, mask: np.ndarray, geometry: Volume) -> str:
        """Adds a new segment (its ``value`` and ``layer`` do not matter); returns its id.

        The name gets a number if the segmentation has it already.
        """
        segment_id = self._stage_new(segment)
        self._put(segment_id, self._box(mask, geometry, self._lattice(segment_id, geometry)))
        return segment_id

    def add_layer(self, segments: Sequence[Segment], labels: np.ndarray, geometry: Volume) -> list[str]:
        """Adds new segments that share one label array ``[K, J, I]``: the voxels equal to each ``segment.value``.

        Quicker and smaller than one mask for each. Values without a segment are left out. ``labels`` may be kept without a
        copy until :meth:`commit`. Returns the ids.
        """
        self._check(labels, geometry)
        values = [segment.value for segment in segments]
        if len(set(values)) != len(values) or min(values, default=1) < 1 or max(values, default=1) > HIGHEST_LABEL:
            raise InputError(f"label values are {values}; they must be different and from 1 to {HIGHEST_LABEL}")
        if labels.dtype.kind not in "biu":
            raise InputError(f"labels are of type {labels.dtype}; they must be whole numbers")
        lattice = self._lattice(None, geometry)
        box = LabelBox(kept_values(labels, values)).trimmed().moved(self._index(lattice, geometry))
        layer = _Layer(box, lattice)
        ids = []
        for segment in segments:
            segment_id = self._stage_new(segment)
            self._changes[segment_id].layer = layer
            ids.append(segment_id)
        return ids

    def replace(self, segment_id: str, mask: np.ndarray, geometry: Volume, where: np.ndarray | None = None) -> None:
        """Makes the segment equal ``mask`` inside ``geometry``; what lies outside stays.

        :param where: bool, shape of ``mask``: only these voxels are replaced.
        """
        lattice = self._lattice(segment_id, geometry)
        new = self._box(mask if where is None else mask & where, geometry, lattice)
        old = self._current(segment_id).trimmed()
        # An all-true mask of the old segment's surroundings is enough to say which voxels the grid covers.
        covered = LabelBox(np.broadcast_to(True, mask.shape) if where is None else where)
        covered = covered.moved(self._index(lattice, geometry), Extent(old.start, old.stop))
        self._put(segment_id, old.without(covered).union(new))

    def add(self, segment_id: str, mask: np.ndarray, geometry: Volume) -> None:
        """Adds ``mask`` to the segment."""
        new = self._box(mask, geometry, self._lattice(segment_id, geometry))
        self._put(segment_id, self._current(segment_id).union(new))

    def remove(self, segment_id: str, mask: np.ndarray, geometry: Volume) -> None:
        """Removes ``mask`` from the segment, which stays, empty if need be."""
        gone = self._box(mask, geometry, self._lattice(segment_id, geometry))
        self._put(segment_id, self._current(segment_id).without(gone))

    def delete_segment(self, segment_id: str) -> None:
        """Removes the segment itself."""
        self._current(segment_id)
        if self._changes.setdefault(segment_id, _Change()).new is not None:
            del self._changes[segment_id]
        else:
            self._changes[segment_id] = _Change(deleted=True)

    def set_tags(self, segment_id: str, tags: Mapping[str, str]) -> None:
        """Sets segment tags; other tags stay. Those of a result (:func:`provenance`) replace the ones of an earlier result,
        and the content that they speak of is noted in :data:`CONTENT_TAG`."""
        self._current(segment_id)
        self._changes.setdefault(segment_id, _Change()).tags.update(tags)

    def commit(self) -> bool:
        """Writes all changes as one step; returns whether there was any. After an error everything is as before."""
        for segment_id, change in self._changes.items():
            if METHOD_TAG in change.tags and not change.deleted:
                change.tags[CONTENT_TAG] = content_name(self._current(segment_id))
        changes = {segment_id: change for segment_id, change in self._changes.items() if self._differs(segment_id, change)}  # fmt: skip
        self._changes = {}
        if not changes:
            return False
        takes_geometry = self.volume_node is not None and reference_lattice(self.node) is None
        images = _images(changes)  # all large allocations, before anything is touched
        if self._save_undo is not None:
            self._save_undo()
        before = slicer.vtkSegmentationHistory()
        before.SetSegmentation(self._segmentation)
        before.SaveState()
        modifying = self.node.StartModify()
        try:
            for segment_id, change in changes.items():
                self._write(segment_id, change, images[segment_id])
            if takes_geometry:
                self.node.SetReferenceImageGeometryParameterFromVolumeNode(self.volume_node)
        except BaseException:
            if before.IsRestorePreviousStateAvailable():  # not if nothing was touched yet
                before.RestorePreviousState()
            raise
        finally:
            before.SetSegmentation(None)
            self.node.EndModify(modifying)
        return True

    # -- staging

    def _stage_new(self, segment: Segment) -> str:
        deleted = {segment_id for segment_id, change in self._changes.items() if change.deleted}
        ids = set(self._segmentation.GetSegmentIDs()) - deleted
        names = {self._segmentation.GetSegment(segment_id).GetName() for segment_id in ids}
        names |= {change.new.name for change in self._changes.values() if change.new is not None}
        name, number = segment.name, 2
        while name in names:
            name, number = f"{segment.name} {number}", number + 1
        stem = segment_id = self._segmentation.GenerateUniqueSegmentID(name)
        while segment_id in self._changes:
            segment_id, number = f"{stem}_{number}", number + 1
        self._changes[segment_id] = _Change(new=dataclasses.replace(segment, name=name), tags=dict(segment.tags))
        return segment_id

    def _put(self, segment_id: str, box: LabelBox) -> None:
        change = self._changes.setdefault(segment_id, _Change())
        change.box, change.layer = box.trimmed(), None

    def _current(self, segment_id: str) -> LabelBox:
        """The voxels that the segment has by now."""
        change = self._changes.get(segment_id)
        if change is not None and change.deleted:
            raise InputError(f"segment {segment_id!r} was deleted before")
        if change is not None and change.layer is not None and change.new is not None:
            return LabelBox(change.layer.box.array == change.new.value, change.layer.box.start)
        if change is not None and (change.box is not None or change.new is not None):
            return change.box or LabelBox.empty()
        return read_segment(self.node, segment_id)[0]

    def _lattice(self, segment_id: str | None, geometry: Volume) -> np.ndarray:
        """The lattice of a segment: its own; for new or empty ones the segmentation's, or that of ``geometry``."""
        change = self._changes.get(segment_id) if segment_id is not None else None
        if change is not None and change.lattice is not None:
            return change.lattice
        lattice = None
        if change is not None and change.layer is not None:
            lattice = change.layer.lattice
        elif segment_id is not None and (change is None or change.new is None):
            lattice = read_segment(self.node, segment_id)[1]
        if lattice is None:
            lattice = reference_lattice(self.node)
        if lattice is None and self.volume_node is not None:
            lattice = self._parent_from_world @ volume_from_node(self.volume_node).ijk_to_ras
        if lattice is None:
            lattice = self._parent_from_world @ geometry.ijk_to_ras
        if segment_id is not None:
            self._changes.setdefault(segment_id, _Change()).lattice = lattice
        return lattice

    def _index(self, lattice: np.ndarray, geometry: Volume) -> np.ndarray:
        """4x4, voxel index of ``geometry`` to voxel index on ``lattice``: the one place where world meets the node."""
        return np.linalg.inv(lattice) @ self._parent_from_world @ geometry.ijk_to_ras

    def _box(self, mask: np.ndarray, geometry: Volume, lattice: np.ndarray) -> LabelBox:
        self._check(mask, geometry)
        box = LabelBox(np.asarray(mask, bool)).trimmed()
        index = self._index(lattice, geometry)
        resampled = box.array.size > 0 and box.shift_onto(index) is None
        return box.moved(index, self._image_on(lattice) if resampled else None)

    def _image_on(self, lattice: np.ndarray) -> Extent | None:
        """The image on ``lattice``; None where its voxels are others. An oblique plane is a voxel thick, and at the image's border
        half of that lies beside it."""
        if self.volume_node is None:
            return None
        volume = volume_from_node(self.volume_node)
        whole = LabelBox(np.broadcast_to(True, volume.array.shape[:3]))
        shift = whole.shift_onto(self._index(lattice, volume))
        return None if shift is None else Extent(shift, three(np.add(shift, volume.size).tolist()))

    def _check(self, array: np.ndarray, geometry: Volume) -> None:
        if array.shape != geometry.array.shape[:3]:
            raise InputError(
                f"a mask of shape {array.shape} does not fit the grid of {geometry.name!r}, "
                f"{geometry.array.shape[:3]} (slices, rows, columns)"
            )

    # -- writing

    def _differs(self, segment_id: str, change: _Change) -> bool:
        if change.new is not None or change.deleted:
            return True
        if any(segment_tag(self.node, segment_id, name) != text for name, text in change.tags.items()):
            return True
        return change.box is not None and not change.box.equals(read_segment(self.node, segment_id)[0])

    def _write(self, segment_id: str, change: _Change, image) -> None:
        logic = slicer.vtkSlicerSegmentationsModuleLogic
        if change.deleted:
            self._segmentation.RemoveSegment(segment_id)
            return
        if change.new is not None:
            segment = slicer.vtkSegment()
            segment.SetName(change.new.name)
            segment.SetColor(*change.new.color)
            if change.new.terminology:
                segment.SetTag(segment.GetTerminologyEntryTagName(), change.new.terminology)
            segment.SetLabelValue(change.new.value if change.layer is not None else 1)
            segment.AddRepresentation(BINARY, image if image is not None else slicer.vtkOrientedImageData())
            if image is None and self._segmentation.ContainsRepresentation(SURFACE):
                segment.AddRepresentation(SURFACE, vtk.vtkPolyData())  # Slicer cannot make one of nothing
            if not self._segmentation.AddSegment(segment, segment_id):
                raise RuntimeError(f"Slicer could not add segment {change.new.name!r}")
        elif change.box is not None:
            write_segment(self.node, segment_id, image)
        segment = self._segmentation.GetSegment(segment_id)
        if METHOD_TAG in change.tags:
            for name in all_tag_names() - set(change.tags):
                segment.RemoveTag(name)
        for name, value in change.tags.items():
            segment.SetTag(name, value)
        if logic.GetSegmentStatus(segment) == logic.NotStarted and image is not None:
            logic.SetSegmentStatus(segment, logic.InProgress)


def _images(changes: dict[str, _Change]) -> dict[str, object]:
    """The labelmap image of each changed segment (None: no voxels); segments of one layer share one image."""
    images = {}
    for segment_id, change in changes.items():
        if change.box is not None and change.box.array.size:
            assert change.lattice is not None  # which a box of voxels has
            images[segment_id] = oriented_image(change.box, change.lattice)
        else:
            images[segment_id] = None
    for layer in {id(change.layer): change.layer for change in changes.values() if change.layer is not None}.values():
        members = {i: change.new.value for i, change in changes.items() if change.layer is layer and change.new}
        image = None
        if layer.box.array.size:
            # Segments that were edited or deleted after they were added no longer own voxels of the layer.
            kept = LabelBox(kept_values(layer.box.array, list(members.values())), layer.box.start)
            image = oriented_image(kept, layer.lattice)
        images.update(dict.fromkeys(members, image))
    return images
