"""Bringing a slice of a volume into a slice view: "go to" and "next slice to draw"."""

from __future__ import annotations

import numpy as np
import slicer

from ..engine import InputError, Volume
from ..engine.images import AXES
from .drawings.support_set import SupportPlane
from .segmentation.labelmaps import extent_around
from .segmentation.segment_slices import SegmentSlices
from .slices import LastSliceView, last_used_slice_node, shows_volume, slice_nodes, slice_normal
from .volumes import array_from_matrix, matrix_from_array, volume_from_node

_ORIENTATIONS = ("Sagittal", "Coronal", "Axial")
_NEAR = 0.8  # cosine above which a view along another direction is turned to the volume's rather than replaced
_PARALLEL = np.cos(np.radians(0.01))


def show_slice(
    volume_node,
    axis: str,
    index: int,
    segmentation_node=None,
    segment_ids=None,
    last_view: LastSliceView | None = None,
) -> slicer.vtkMRMLSliceNode:
    """Brings slice ``index`` along ``axis`` of ``volume_node`` into a slice view, and returns the view's node.

    The view that shows the volume along that axis is taken, the last used one first; an oblique view is turned if there is
    no other.

    :param segmentation_node: the view is centred on the segments ``segment_ids`` (None: all), if there is anything in them.
    :raises InputError: no such slice, no view shows the volume, or a volume that cannot be segmented.
    """
    volume = volume_from_node(volume_node)
    count = volume.size[AXES.index(axis)] if axis in AXES else 0
    if not 0 <= index < count:
        raise InputError(f"slice {index} along {axis} is not in {volume.name!r}, which has {count} slices there")
    view = _view_along(volume, volume_node, axis, last_used_slice_node(volume_node, last_view))
    center = _center(segmentation_node, segment_ids, volume, axis, index)
    if center is not None:
        view.JumpSliceByCentering(*volume.ras_of(center))
    else:
        middle = (np.array(volume.size) - 1) / 2
        middle[AXES.index(axis)] = index
        view.JumpSliceByOffsetting(*volume.ras_of(middle))
    return view


def show_plane(volume_node, plane: SupportPlane, last_view: LastSliceView | None = None) -> slicer.vtkMRMLSliceNode:
    """Turns the view that shows ``volume_node`` and was last used to an oblique plane, and returns the view's node.

    :raises InputError: no view shows the volume.
    """
    view = last_used_slice_node(volume_node, last_view)
    matrix = plane.matrix
    rows, columns = plane.shape
    matrix[:, 3] = matrix @ ((columns - 1) / 2, (rows - 1) / 2, 0, 1)
    matrix[:3, :3] /= np.linalg.norm(matrix[:3, :3], axis=0)
    view.GetSliceToRAS().DeepCopy(matrix_from_array(matrix))
    view.UpdateMatrices()
    return view


def _view_along(volume: Volume, volume_node, axis: str, last_used):
    showing = [node for node in slice_nodes() if shows_volume(node, volume_node)]
    order = sorted(showing, key=lambda node: (node is not last_used, not node.IsMappedInLayout()))
    view = max(order, key=lambda node: round(_alignment(node, volume, axis), 6))  # the first of equals
    if _alignment(view, volume, axis) < _NEAR:
        # Across: its normal is that of the slices, in patient directions.
        view.SetOrientation(_ORIENTATIONS[int(np.abs(slice_normal(volume, axis)).argmax())])
    if _alignment(view, volume, axis) < _PARALLEL:
        _turn(view, volume, axis)
    return view


def _turn(view, volume: Volume, axis: str) -> None:
    """Turns the view to the slices along ``axis``. Not RotateToVolumePlane, which may choose another axis when the volume
    lies at 45 degrees."""
    matrix = array_from_matrix(view.GetSliceToRAS())
    right, _up, old = (matrix[:3, n] / np.linalg.norm(matrix[:3, n]) for n in range(3))
    normal = slice_normal(volume, axis)
    normal = normal if normal @ old >= 0 else -normal
    along = [
        column / np.linalg.norm(column)
        for a, column in zip(AXES, volume.ijk_to_ras[:3, :3].T, strict=True)
        if a != axis
    ]
    new = max(along, key=lambda column: abs(column @ right))
    new = new if new @ right >= 0 else -new
    matrix[:3, :3] = np.stack((new, np.sign(np.linalg.det(matrix[:3, :3])) * np.cross(normal, new), normal), 1)
    view.GetSliceToRAS().DeepCopy(matrix_from_array(matrix))
    view.UpdateMatrices()


def _alignment(view, volume: Volume, axis: str) -> float:
    """Cosine between the view's normal and the normal of the slices along ``axis``."""
    normal = array_from_matrix(view.GetSliceToRAS())[:3, 2]
    return float(abs(normal @ slice_normal(volume, axis)) / np.linalg.norm(normal))


def _center(segmentation_node, segment_ids, volume: Volume, axis: str, index: int) -> np.ndarray | None:
    """The middle of the segments' box, on the slice, as voxel index; None without segments."""
    if segmentation_node is None:
        return None
    known = segmentation_node.GetSegmentation().GetSegmentIDs()
    slices = SegmentSlices(segmentation_node, [i for i in segment_ids or known if i in known], volume)
    around = extent_around(slices.box(i).trimmed() for i in slices.segment_ids)
    if around is None:
        return None
    center = (np.add(around.start, around.stop) - 1) / 2
    center[AXES.index(axis)] = index
    return center
