"""Points and boxes that the user has placed, in world RAS."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import slicer
import vtk

from ..engine import Extent, InputError, Volume
from .volumes import array_from_matrix, world_from_parent


def points_from_markups(markups_node: slicer.vtkMRMLMarkupsNode | None) -> list[np.ndarray]:
    """Positions (world RAS, mm) of all placed control points, in order; points being placed or missing are left out."""
    if markups_node is None:
        return []
    points = []
    for n in range(markups_node.GetNumberOfControlPoints()):
        if markups_node.GetNthControlPointPositionStatus(n) == slicer.vtkMRMLMarkupsNode.PositionDefined:
            position = [0.0] * 3
            markups_node.GetNthControlPointPositionWorld(n, position)
            points.append(np.array(position))
    return points


def add_point(markups_node: slicer.vtkMRMLMarkupsNode, ras: Sequence[float], label: str = "") -> int:
    """Adds a control point at ``ras`` (world, mm); returns its index."""
    return markups_node.AddControlPointWorld(vtk.vtkVector3d(*(float(v) for v in ras)), label)


def extent_from_roi(roi_node: slicer.vtkMRMLMarkupsROINode, volume: Volume) -> Extent:
    """The voxels of ``volume`` (in world RAS) that the box touches; of a turned box, those of its bounding box in IJK.

    :raises InputError: no box, a box without a size, under a non-linear transform, or beside the volume.
    """
    if roi_node is None:
        raise InputError("no ROI is selected; draw or select a box")
    world_from_parent(roi_node)  # refuses a non-linear transform
    size = np.array(roi_node.GetSize())
    if roi_node.GetNumberOfControlPoints() == 0 or not (size > 0).all():
        raise InputError(f"ROI {roi_node.GetName()!r} has no size yet; draw the box in the views")
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(roi_node.GetObjectToNodeMatrix())
    world = world_from_parent(roi_node) @ array_from_matrix(matrix)
    corners = np.array([[(-0.5, 0.5)[n >> a & 1] * size[a] for a in range(3)] + [1.0] for n in range(8)])
    index = (np.linalg.solve(volume.ijk_to_ras, world) @ corners.T)[:3]
    # A side that lies on the border of a voxel does not touch it.
    start = np.maximum(np.floor(index.min(1) + 0.5 + 1e-4).astype(int), 0)
    stop = np.minimum(np.ceil(index.max(1) + 0.5 - 1e-4).astype(int), volume.size)
    if (start >= stop).any():
        raise InputError(f"ROI {roi_node.GetName()!r} lies beside {volume.name!r}; move the box onto the image")
    return Extent(tuple(int(v) for v in start), tuple(int(v) for v in stop))
