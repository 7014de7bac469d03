"""Markups as points in world RAS."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import slicer
import vtk


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
