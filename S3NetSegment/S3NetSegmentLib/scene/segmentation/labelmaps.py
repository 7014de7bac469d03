"""Binary labelmaps inside a segmentation node: reading and writing one segment as a :class:`LabelBox`, a box of labels
on a voxel lattice that moves to another lattice by nearest neighbour.

A lattice is given by its matrix (4, 4): voxel index to the coordinates stored in the segmentation node, which differ
from world RAS by the node's parent transforms.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import get_vtk_array_type, vtk_to_numpy

from ...engine import Extent, InputError
from ...engine.common.arrays import bounding_box, corners, three
from ..volumes import array_from_matrix, matrix_from_array

_Converter = slicer.vtkSegmentationConverter
BINARY = _Converter.GetSegmentationBinaryLabelmapRepresentationName()
SURFACE = _Converter.GetSegmentationClosedSurfaceRepresentationName()
_GEOMETRY = _Converter.GetReferenceImageGeometryParameterName()
_ALIGNED = 1e-3  # lattices whose voxels differ by less than this (in voxels) are the same lattice
_TIE = 1e-6  # exactly between two voxels: always the upper one, whatever the rounding error
HIGHEST_LABEL = 32767  # of a label map of type short


def ensure_binary_labelmap(segmentation_node: slicer.vtkMRMLSegmentationNode) -> None:
    """Makes the binary labelmap the source of ``segmentation_node``, converting contours or surfaces if needed.

    :raises InputError: no node, or a representation that cannot be converted.
    """
    if segmentation_node is None:
        raise InputError("no segmentation is selected; create or select one")
    segmentation = segmentation_node.GetSegmentation()
    if segmentation.GetSourceRepresentationName() == BINARY:
        return
    _require_binary(segmentation_node)
    segmentation.SetSourceRepresentationName(BINARY)


def read_segment(segmentation_node, segment_id: str) -> tuple[LabelBox, np.ndarray | None]:
    """The mask of a segment and its lattice; an empty box and perhaps no lattice if nothing was ever drawn.

    :raises InputError: no such segment, or a representation that cannot be converted.
    """
    segment = segment_of(segmentation_node, segment_id)
    _require_binary(segmentation_node)
    image = segment.GetRepresentation(BINARY)
    if image is None or image.IsEmpty():
        return LabelBox.empty(), None
    labels, start = _array_of(image)
    # A layer may be shared by several segments: only the voxels with this segment's value are its own.
    return LabelBox(labels == segment.GetLabelValue(), start), lattice_of(image)


def segment_of(segmentation_node, segment_id: str) -> slicer.vtkSegment:
    """The segment ``segment_id``. InputError if there is none."""
    segment = segmentation_node.GetSegmentation().GetSegment(segment_id) if segment_id else None
    if segment is None:
        raise InputError(
            f"segmentation {segmentation_node.GetName()!r} has no segment {segment_id!r}; it may have been removed"
        )
    return segment


def segment_tag(segmentation_node, segment_id: str, name: str) -> str | None:
    """The text of a segment tag, or None."""
    segment, value = segmentation_node.GetSegmentation().GetSegment(segment_id), vtk.mutable("")
    return str(value) if segment is not None and segment.GetTag(name, value) else None


def unfinished_segments(segmentation_node) -> list[str]:
    """The ids of all segments whose status is not "Completed"."""
    if segmentation_node is None:
        raise InputError("no segmentation is selected; create one and draw a segment on at least one slice")
    logic, segmentation = slicer.vtkSlicerSegmentationsModuleLogic, segmentation_node.GetSegmentation()
    return [
        segment_id
        for segment_id in segmentation.GetSegmentIDs()
        if logic.GetSegmentStatus(segmentation.GetSegment(segment_id)) != logic.Completed
    ]


def lattice_of(image: slicer.vtkOrientedImageData) -> np.ndarray:
    matrix = matrix_from_array(np.eye(4))
    image.GetImageToWorldMatrix(matrix)
    return array_from_matrix(matrix)


def reference_lattice(segmentation_node) -> np.ndarray | None:
    """The lattice that new segments belong on: the reference geometry, else that of the first drawn segment, or None."""
    segmentation = segmentation_node.GetSegmentation()
    text = segmentation.GetConversionParameter(_GEOMETRY)
    if text:
        matrix = matrix_from_array(np.eye(4))
        if _Converter.DeserializeImageGeometry(text, matrix, [0] * 6):
            return array_from_matrix(matrix)
    for segment_id in segmentation.GetSegmentIDs():
        image = segmentation.GetSegment(segment_id).GetRepresentation(BINARY)
        if image is not None and not image.IsEmpty():
            return lattice_of(image)
    return None


def oriented_image(box: LabelBox, lattice: np.ndarray) -> slicer.vtkOrientedImageData:
    """``box`` as Slicer's labelmap image, holding its own copy of the labels."""
    array = box.array.view(np.uint8) if box.array.dtype == bool else box.array
    (i0, j0, k0), (i1, j1, k1) = box.start, box.stop
    image = slicer.vtkOrientedImageData()
    image.SetExtent(i0, i1 - 1, j0, j1 - 1, k0, k1 - 1)
    image.GetPointData().SetScalars(vtk_copy(array))
    image.SetGeometryFromImageToWorldMatrix(matrix_from_array(lattice))
    return image


def vtk_copy(array: np.ndarray, dtype: np.dtype | type | None = None) -> vtk.vtkDataArray:
    """The values of ``array`` (any strides), one after the other, as ``dtype`` (None: their own): one copy, no other one."""
    copy = vtk.vtkDataArray.CreateDataArray(get_vtk_array_type(np.dtype(dtype or array.dtype)))
    copy.SetNumberOfTuples(array.size)
    vtk_to_numpy(copy).reshape(array.shape)[...] = array
    return copy


def write_segment(segmentation_node, segment_id: str, image: slicer.vtkOrientedImageData | None) -> None:
    """Makes ``image`` (None: nothing) the content of an existing segment; all other segments keep their voxels."""
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    if image is None:
        segment = segmentation_node.GetSegmentation().GetSegment(segment_id)
        has_surface = segment.GetRepresentation(SURFACE) is not None
        segment.RemoveRepresentation(SURFACE)  # else Slicer tries to make one of nothing, and complains
        # Not vtkSegmentation.ClearSegment, which drops the surfaces of all segments.
        done = logic.ClearSegment(segmentation_node, segment_id)
        if has_surface:
            segment.AddRepresentation(SURFACE, vtk.vtkPolyData())
    else:
        done = logic.SetBinaryLabelmapToSegment(
            image, segmentation_node, segment_id, logic.MODE_REPLACE, image.GetExtent()
        )
    if not done:
        raise RuntimeError(f"Slicer could not write segment {segment_id!r} of {segmentation_node.GetName()!r}")


def _array_of(image) -> tuple[np.ndarray, tuple[int, int, int]]:
    i, j, k = image.GetDimensions()
    array = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(k, j, i)
    return array, tuple(image.GetExtent()[::2])


def _require_binary(segmentation_node) -> None:
    segmentation = segmentation_node.GetSegmentation()
    if segmentation.GetNumberOfSegments() == 0 or segmentation.ContainsRepresentation(BINARY):
        return
    if not segmentation.CreateRepresentation(BINARY):
        raise InputError(
            f"segmentation {segmentation_node.GetName()!r} holds {segmentation.GetSourceRepresentationName()!r}, which "
            "cannot be turned into a binary labelmap; convert it in the Segmentations module first"
        )


@dataclass(frozen=True, eq=False)
class LabelBox:
    """Labels in a box of an unbounded lattice of voxels; everything outside is 0.

    :param array: ``[K, J, I]``, bool (one segment) or unsigned integers.
    :param start: index (i, j, k) on the lattice of ``array[0, 0, 0]``.
    """

    array: np.ndarray
    start: tuple[int, int, int] = (0, 0, 0)

    @classmethod
    def empty(cls) -> LabelBox:
        return cls(np.zeros((0, 0, 0), bool))

    @property
    def stop(self) -> tuple[int, int, int]:
        """Index (i, j, k) behind the last voxel."""
        return three(a + n for a, n in zip(self.start, self.array.shape[::-1], strict=True))

    @property
    def is_empty(self) -> bool:
        return not self.array.any()

    def part(self, start, stop) -> np.ndarray:
        """View of the labels from ``start`` to ``stop`` (i, j, k), which must lie in this box."""
        return self.array[tuple(slice(a - o, b - o) for o, a, b in zip(self.start[::-1], start[::-1], stop[::-1], strict=True))]  # fmt: skip

    def trimmed(self) -> LabelBox:
        """The smallest box with all labels."""
        box = bounding_box(self.array)
        if box is None:
            return LabelBox(np.zeros((0, 0, 0), self.array.dtype))
        return LabelBox(self.array[box], three(s + part.start for s, part in zip(self.start, box[::-1], strict=True)))

    def reaches(self, axis: str, index: int) -> bool:
        """Whether there is any label on the slice ``index`` along ``axis`` ("x", "y" or "z")."""
        across = "xyz".index(axis)
        number = index - self.start[across]
        inside = 0 <= number < self.array.shape[2 - across]
        return inside and bool(np.take(self.array, number, 2 - across).any())

    def equals(self, other: LabelBox) -> bool:
        """Whether both hold the same labels in the same voxels."""
        a, b = self.trimmed(), other.trimmed()
        return a.array.shape == b.array.shape and (a.array.size == 0 or a.start == b.start) and np.array_equal(a.array, b.array)  # fmt: skip

    def union(self, other: LabelBox) -> LabelBox:
        """Voxels of either mask."""
        if other.array.size == 0 or self.array.size == 0:
            return self if other.array.size == 0 else other
        start = three(map(min, self.start, other.start))
        stop = three(map(max, self.stop, other.stop))
        out = LabelBox(np.zeros([b - a for a, b in zip(start, stop, strict=True)][::-1], bool), start)
        out.part(self.start, self.stop)[...] = self.array
        out.part(other.start, other.stop)[...] |= other.array
        return out

    def over(self, box: Extent) -> np.ndarray:
        """The labels in ``box`` of the lattice, in an array of their own ``[K, J, I]``."""
        out = LabelBox(np.zeros(box.size[::-1], self.array.dtype), box.start)
        common = self.overlap(box)
        if common is not None:
            out.part(*common)[...] = self.part(*common)
        return out.array

    def cropped(self, box: Extent) -> LabelBox:
        """What of this lies in ``box``; a view."""
        common = self.overlap(box)
        return LabelBox.empty() if common is None else LabelBox(self.part(*common), common[0])

    def without(self, other: LabelBox) -> LabelBox:
        """Voxels of this mask that are not in ``other``."""
        common = self.overlap(other)
        if common is None:
            return self
        out = LabelBox(self.array.copy(), self.start)
        out.part(*common)[...] &= ~other.part(*common)
        return out

    def overlap(self, other: LabelBox | Extent) -> tuple[tuple[int, int, int], tuple[int, int, int]] | None:
        """``(start, stop)`` of the box that both boxes cover, or None."""
        start = three(map(max, self.start, other.start))
        stop = three(map(min, self.stop, other.stop))
        return (start, stop) if all(a < b for a, b in zip(start, stop, strict=True)) else None

    def shift_onto(self, new_from_old: np.ndarray) -> tuple[int, int, int] | None:
        """How many voxels this box moves on the lattice of :meth:`moved` if that has the same voxels, otherwise None."""
        old = self._corners()
        shift = np.floor(new_from_old[:3, 3] + 0.5)
        if np.abs(old @ new_from_old[:3, :3].T + new_from_old[:3, 3] - old - shift).max() >= _ALIGNED:
            return None
        return three(int(d) for d in shift)

    def moved(self, new_from_old: np.ndarray, bounds: Extent | None = None) -> LabelBox:
        """These labels on another lattice, each new voxel taking the label of the old voxel that holds its centre.

        :param new_from_old: 4x4, index on this lattice to index on the new one.
        :param bounds: on the new lattice; beyond them nothing is wanted.
        """
        if self.array.size == 0:
            return self
        shift = self.shift_onto(new_from_old)
        if shift is not None:
            return LabelBox(self.array, three(s + d for s, d in zip(self.start, shift, strict=True)))
        ends = self._corners() @ new_from_old[:3, :3].T + new_from_old[:3, 3]
        start = np.floor(ends.min(0) + 0.5 - _ALIGNED).astype(int)
        stop = np.ceil(ends.max(0) + 0.5 + _ALIGNED).astype(int)
        if bounds is not None:
            start, stop = np.maximum(start, bounds.start), np.minimum(stop, bounds.stop)
        if (start >= stop).any():
            return LabelBox(np.zeros((0, 0, 0), self.array.dtype))
        return LabelBox(self._sampled(np.linalg.inv(new_from_old), start, stop), three(int(v) for v in start))

    def _corners(self) -> np.ndarray:
        """The corners of the box ``[8, 3]``, i, j, k."""
        return corners(self.start, self.stop) - 0.5

    def _sampled(self, old_from_new: np.ndarray, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
        """Labels at the voxels ``start`` to ``stop`` of the new lattice."""
        linear = old_from_new[:3, :3]
        offset = linear @ start + old_from_new[:3, 3] - np.asarray(self.start) + 0.5 + _TIE
        linear = np.where(np.abs(linear) * (stop - start) < _ALIGNED, 0.0, linear)
        rows, columns = np.ogrid[: stop[1] - start[1], : stop[0] - start[0]]
        out = np.zeros((stop - start)[::-1], self.array.dtype)
        labels = np.ascontiguousarray(self.array).reshape(-1)
        for n, plane in enumerate(out):
            inside: np.ndarray | bool = True
            flat: np.ndarray | int = 0
            for (i, j, k), shift, size in zip(linear[::-1], offset[::-1], self.array.shape, strict=True):
                place = k * n + shift
                # An axis that the place does not hang on is left out: where axes stay axes, that is a vector for each.
                place = place + j * rows if j else place
                place = place + i * columns if i else place
                at = np.floor(place).astype(int)
                inside = inside & (at >= 0) & (at < size)
                flat = flat * size + at
            plane[...] = np.where(inside, labels.take(flat, mode="clip"), 0)
        return out


def extent_around(boxes: Iterable[LabelBox]) -> Extent | None:
    """The box around all ``boxes`` that are not empty; None where none is left."""
    held = [box for box in boxes if box.array.size]
    if not held:
        return None
    start, stop = np.min([box.start for box in held], 0), np.max([box.stop for box in held], 0)
    return Extent(three(start.tolist()), three(stop.tolist()))


def kept_values(labels: np.ndarray, values: list[int]) -> np.ndarray:
    """``labels`` ``[K, J, I]`` (whole numbers) with everything but ``values`` (1 to 32767) set to 0; uint8 if that holds them.
    The array itself, not a copy, if that is what it is already."""
    if labels.dtype == bool:
        labels = labels.view(np.uint8)
    if labels.dtype == np.uint8 and not _others(labels, values):
        return labels
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > HIGHEST_LABEL:
        labels = np.where((labels < 0) | (labels > HIGHEST_LABEL), 0, labels).astype(np.int16)
        high = HIGHEST_LABEL
    table = np.zeros(max([high, *values]) + 1, np.uint8 if max(values, default=0) < 256 else np.int16)
    table[values] = values
    return table[labels]


def _others(labels: np.ndarray, values: list[int]) -> bool:
    """Whether ``labels`` (uint8) hold more than 0 and ``values``."""
    unwanted = np.ones(256, bool)
    unwanted[[0, *(v for v in values if v < 256)]] = False
    return any(unwanted[plane].any() for plane in labels)
