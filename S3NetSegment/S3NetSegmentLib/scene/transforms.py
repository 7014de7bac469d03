"""4x4 matrices of nodes. Everything outside this room works in world RAS, millimetres."""

from __future__ import annotations

import numpy as np
import slicer
import vtk

from ..engine import InputError


def array_from_matrix(matrix: vtk.vtkMatrix4x4) -> np.ndarray:
    """``matrix`` as float64 array (4, 4)."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def matrix_from_array(array: np.ndarray) -> vtk.vtkMatrix4x4:
    """``array`` (4, 4) as vtkMatrix4x4."""
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy([float(value) for value in np.asarray(array).ravel()])
    return matrix


def world_from_parent(node: slicer.vtkMRMLTransformableNode) -> np.ndarray:
    """The transform (4, 4) from the coordinates stored in ``node`` to world RAS: all its parent transforms in one.

    :raises InputError: a parent transform is not linear; a matrix could only approximate it.
    """
    transform = node.GetParentTransformNode()
    if transform is None:
        return np.eye(4)
    if not transform.IsTransformToWorldLinear():
        raise InputError(
            f"{node.GetName()!r} is under the non-linear transform {transform.GetName()!r}; harden the transform first "
            "(right-click the node in the Data module, Harden transform)"
        )
    matrix = vtk.vtkMatrix4x4()
    transform.GetMatrixTransformToWorld(matrix)
    return array_from_matrix(matrix)


def parent_key(node: slicer.vtkMRMLTransformableNode | None) -> str:
    """Tells whether ``node`` is under another transform than before, or the transform is another one by now."""
    try:
        return "" if node is None else repr(world_from_parent(node).tolist())
    except InputError:
        return "non-linear"
