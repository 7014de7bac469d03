"""Volume nodes as the engine's volumes: voxels, linear transforms, frames of a sequence."""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ..engine import InputError, Volume
from ..engine.images.array_order import orientation
from ..engine.images.volume import spans_space

_MODALITY = "DICOM.Modality"  # what the DICOM module calls the attribute


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


def turning_notes(node: slicer.vtkMRMLVolumeNode, other: slicer.vtkMRMLVolumeNode | None = None) -> list[str]:
    """A sentence if a parent transform mirrors or turns ``node`` to another side, but not ``other``, a volume that it is used with.

    Models and drawings of other patients know left, front and feet; whether the transform sets these right, nobody knows.
    """
    own, others = (np.eye(4) if one is None else world_from_parent(one) for one in (node, other))
    if not spans_space(own) or not spans_space(others) or orientation(own) == orientation(others):
        return []  # a transform that flattens the volume is refused with it
    turned, matrix = node, own
    if other is not None and orientation(own) == orientation(np.eye(4)):
        turned, matrix = other, others
    does = "mirrors it" if np.linalg.det(matrix[:3, :3]) < 0 else "turns it to another side"
    name = turned.GetParentTransformNode().GetName()
    text = f"transform {name!r} of {turned.GetName()!r} {does}; take the volume out of it, unless it sets left, front and feet right"
    return [text]


def parent_key(node: slicer.vtkMRMLTransformableNode | None) -> str:
    """Tells whether ``node`` is under another transform than before, or the transform is another one by now."""
    try:
        return "" if node is None else repr(world_from_parent(node).tolist())
    except InputError:
        return "non-linear"


def require_class(node, class_name: str, what: str) -> None:
    """InputError unless ``node`` is one of ``class_name``; scripts give names, and nodes of another kind."""
    if not hasattr(node, "IsA"):
        hint = f"; give the node itself, slicer.util.getNode({node!r})" if isinstance(node, str) else ""
        raise InputError(f"{node!r} is not a {what} node{hint}")
    if not node.IsA(class_name):
        raise InputError(f"{node.GetName()!r} is not a {what} node but a {node.GetNodeTagName()}; give a {what}")


def volume_from_node(volume_node: slicer.vtkMRMLVolumeNode) -> Volume:
    """``volume_node`` as Volume in world RAS, linear parent transforms included.

    The array is a live view of the node's voxels, ``[K, J, I]``, or ``[K, J, I, 3]`` for colour (an alpha channel is
    left out). The proxy volume of a sequence gives its current frame.

    :raises InputError: no node or one that was removed, no voxels, a label map, a number of components other than 1, 3 or 4, a non-linear
        parent transform, a matrix that cannot be inverted.
    """
    if volume_node is None:
        raise InputError("no volume is selected; load or select one")
    require_class(volume_node, "vtkMRMLVolumeNode", "volume")
    name = volume_node.GetName()
    if volume_node.GetScene() is None:
        raise InputError(f"volume {name!r} was removed from the scene; select another one")
    if volume_node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise InputError(f"{name!r} is a label map, not an image; select the image it was drawn on")
    image = volume_node.GetImageData()
    if image is None or image.GetNumberOfPoints() == 0:
        raise InputError(f"volume {name!r} has no voxels; load it again or select another one")
    scalars = image.GetPointData().GetScalars()
    if scalars is None or volume_node.IsA("vtkMRMLDiffusionImageVolumeNode"):
        raise InputError(
            f"volume {name!r} holds tensors; make a scalar volume of it first (e.g. fractional anisotropy)"
        )
    channels = scalars.GetNumberOfComponents()
    if channels not in (1, 3, 4) or volume_node.IsA("vtkMRMLDiffusionWeightedVolumeNode"):
        raise InputError(
            f"volume {name!r} has {channels} values in each voxel; only grey images (1) and colour images (3, or 4 with "
            "alpha) can be segmented: extract one component first (Vector to Scalar Volume module)"
        )
    i, j, k = image.GetDimensions()
    array = vtk_to_numpy(scalars).reshape((k, j, i) if channels == 1 else (k, j, i, channels))
    matrix = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    world = world_from_parent(volume_node) @ array_from_matrix(matrix)
    extent = image.GetExtent()
    world[:3, 3] = (world @ (*extent[::2], 1.0))[:3]  # voxel indices start at the extent, mostly 0
    return Volume(array[..., :3] if channels == 4 else array, world, name, _modality(volume_node))


def _modality(volume_node: slicer.vtkMRMLVolumeNode) -> str:
    """DICOM's modality of a volume, where Slicer keeps it: on the node, or on its item of the subject hierarchy; else ""."""
    own = volume_node.GetAttribute(_MODALITY)
    # Only looked for: GetSubjectHierarchyNode would add one to a scene that has none.
    hierarchy = volume_node.GetScene().GetFirstNodeByClass("vtkMRMLSubjectHierarchyNode")
    item = hierarchy.GetItemByDataNode(volume_node) if not own and hierarchy is not None else 0
    return own or (hierarchy.GetItemAttribute(item, _MODALITY) if item else "")


def node_of(volume: Volume):
    """A node that shows ``volume``; it shares its voxels, so that a large image is in memory once."""
    array = np.ascontiguousarray(volume.array)
    array = array.view(np.uint8) if array.dtype == bool else array
    image = vtk.vtkImageData()
    image.SetDimensions(volume.size)
    image.GetPointData().SetScalars(numpy_to_vtk(array.reshape(-1, 3) if volume.is_rgb else array.reshape(-1)))
    class_name = "vtkMRMLVectorVolumeNode" if volume.is_rgb else "vtkMRMLScalarVolumeNode"
    node = slicer.mrmlScene.AddNewNodeByClass(class_name, volume.name)
    node.SetAndObserveImageData(image)
    node.SetIJKToRASMatrix(matrix_from_array(volume.ijk_to_ras))
    return node


def place_beside(node: slicer.vtkMRMLNode, volume_node: slicer.vtkMRMLVolumeNode) -> None:
    """Puts ``node`` under the parent transform of ``volume_node`` and beside it in the subject hierarchy."""
    node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(volume_node.GetScene())
    volume_item = hierarchy.GetItemByDataNode(volume_node) if hierarchy is not None else 0
    if not volume_item:
        return
    parent = hierarchy.GetItemParent(volume_item)
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.SetItemParent(item, parent)
    else:
        hierarchy.CreateItem(parent, node)
