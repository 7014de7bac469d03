"""Binary labelmaps inside a segmentation node: reading and writing one segment as a :class:`LabelBox`.

A lattice is given by its matrix (4, 4): voxel index to the coordinates stored in the segmentation node, which differ
from world RAS by the node's parent transforms.
"""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import get_vtk_array_type, vtk_to_numpy

from ...engine import InputError
from ..drawings.lattices import LabelBox
from ..volumes import array_from_matrix, matrix_from_array

_Converter = slicer.vtkSegmentationConverter
BINARY = _Converter.GetSegmentationBinaryLabelmapRepresentationName()
SURFACE = _Converter.GetSegmentationClosedSurfaceRepresentationName()
_GEOMETRY = _Converter.GetReferenceImageGeometryParameterName()


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
    segment = segmentation_node.GetSegmentation().GetSegment(segment_id) if segment_id else None
    if segment is None:
        raise InputError(
            f"segmentation {segmentation_node.GetName()!r} has no segment {segment_id!r}; it may have been removed"
        )
    _require_binary(segmentation_node)
    image = segment.GetRepresentation(BINARY)
    if image is None or image.IsEmpty():
        return LabelBox.empty(), None
    labels, start = _array_of(image)
    # A layer may be shared by several segments: only the voxels with this segment's value are its own.
    return LabelBox(labels == segment.GetLabelValue(), start), lattice_of(image)


def segment_tag(segmentation_node, segment_id: str, name: str) -> str | None:
    """The text of a segment tag, or None."""
    segment, value = segmentation_node.GetSegmentation().GetSegment(segment_id), vtk.mutable("")
    return str(value) if segment is not None and segment.GetTag(name, value) else None


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
