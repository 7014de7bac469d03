"""Confidence of a result as a volume that can be shown over the image."""

from __future__ import annotations

import numpy as np
import slicer
import vtk

from ...engine import InputError, Volume
from ..segmentation.labelmaps import vtk_copy
from ..transforms import matrix_from_array, world_from_parent
from ..volumes import place_beside

_ROLE = "S3NetSegment.Confidence"
_COLORS = ("vtkMRMLColorTableNodeFileViridis.txt", "vtkMRMLColorTableNodeIron")
_OVERLAY_OPACITY = 0.5
_LOWEST_SHOWN = 0.001  # exactly 0 means: nothing was assigned here
_SURE_BACKGROUND = 0.95  # background at least so sure is not coloured: it would hide the image


def show_confidence(array: np.ndarray, geometry: Volume, name: str, volume_node=None) -> slicer.vtkMRMLScalarVolumeNode:
    """Shows ``array`` (0 to 1, ``[K, J, I]``) on the grid of ``geometry`` as the volume node ``name``.

    A node of that name made here before is updated in place. Voxels with confidence 0 are transparent.

    :param volume_node: the image; the node is put under its transform and beside it in the subject hierarchy.
    :raises InputError: ``array`` does not fit ``geometry``.
    """
    if array.shape != geometry.array.shape[:3]:
        raise InputError(f"confidence of shape {array.shape} does not fit the grid {geometry.array.shape[:3]}")
    node = _existing(name)
    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        node.SetAttribute(_ROLE, "1")
        _set_display(node)
    with slicer.util.NodeModify(node):
        if volume_node is not None:
            place_beside(node, volume_node)
        local = np.linalg.inv(world_from_parent(node)) @ geometry.ijk_to_ras
        image = vtk.vtkImageData()
        image.SetDimensions(array.shape[::-1])
        image.GetPointData().SetScalars(vtk_copy(array, np.float32))
        node.SetAndObserveImageData(image)
        node.SetIJKToRASMatrix(matrix_from_array(local))
    return node


def show_overlay(array: np.ndarray, geometry: Volume, name: str, volume_node) -> slicer.vtkMRMLScalarVolumeNode:
    """As :func:`show_confidence`, and laid over ``volume_node`` in all slice views that show it."""
    node = show_confidence(array, geometry, name, volume_node)
    for view in _composite_nodes(node.GetScene()):
        if view.GetBackgroundVolumeID() == volume_node.GetID():
            view.SetForegroundVolumeID(node.GetID())
            view.SetForegroundOpacity(_OVERLAY_OPACITY)
    return node


def hide_overlay(name: str, scene=None) -> None:
    """Takes the confidence ``name`` out of the slice views; its volume stays."""
    node = _existing(name)
    for view in _composite_nodes(scene or slicer.mrmlScene):
        if node is not None and view.GetForegroundVolumeID() == node.GetID():
            view.SetForegroundVolumeID(None)


def doubtful_part(confidence: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """``confidence`` (0 to 1) on the segments and where the background is doubtful; 0, which is clear, elsewhere.

    For the overlay of an answer of Few-shot. Both arrays ``[K, J, I]``; the result is float32.
    """
    shown = np.zeros(labels.shape, np.float32)
    for out, sure, plane in zip(shown, confidence, labels, strict=True):  # whole volumes of masks would be large
        np.maximum(sure, _LOWEST_SHOWN, out=out, where=(plane > 0) | (sure < _SURE_BACKGROUND), casting="same_kind")
    return shown


def _composite_nodes(scene):
    cls = "vtkMRMLSliceCompositeNode"
    return [scene.GetNthNodeByClass(n, cls) for n in range(scene.GetNumberOfNodesByClass(cls))]


def _existing(name: str):
    scene = slicer.mrmlScene
    for n in range(scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")):
        node = scene.GetNthNodeByClass(n, "vtkMRMLScalarVolumeNode")
        if node.GetName() == name and node.GetAttribute(_ROLE):
            return node
    return None


def _set_display(node) -> None:
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    color = next((c for c in _COLORS if slicer.mrmlScene.GetNodeByID(c) is not None), None)
    if color is not None:
        display.SetAndObserveColorNodeID(color)
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0.0, 1.0)
    display.AutoThresholdOff()
    display.SetThreshold(_LOWEST_SHOWN, 1.0)
    display.ApplyThresholdOn()
