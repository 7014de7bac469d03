"""Confidence of a result as a volume that can be shown over the image."""

from __future__ import annotations

import numpy as np
import slicer

from ..engine import InputError, Volume
from .transforms import matrix_from_array, world_from_parent
from .volumes import place_beside, volume_from_node

_ROLE = "S3NetSegment.Confidence"
_COLORS = ("vtkMRMLColorTableNodeFileViridis.txt", "vtkMRMLColorTableNodeIron")
_LOWEST_SHOWN = 0.001  # exactly 0 means: nothing was assigned here
_SURE_BACKGROUND = 0.95  # background at least so sure is not coloured: it would hide the image
_OPACITY = 0.5


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
        slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(array, np.float32))
        node.SetIJKToRASMatrix(matrix_from_array(local))
    return node


def lay_over(confidence_node, volume_node) -> None:
    """Shows ``confidence_node`` half transparent in all slice views that have ``volume_node`` as their background."""
    for view in _composite_nodes(volume_node.GetScene()):
        if view.GetBackgroundVolumeID() == volume_node.GetID():
            view.SetForegroundVolumeID(confidence_node.GetID())
            view.SetForegroundOpacity(_OPACITY)


def take_off(name: str) -> None:
    """Takes the confidence called ``name`` out of the views that show it over an image; its node stays."""
    node = _existing(name)
    for view in _composite_nodes(slicer.mrmlScene) if node is not None else ():
        if view.GetForegroundVolumeID() == node.GetID():
            view.SetForegroundVolumeID(None)


def show_few_shot_confidence(confidence: np.ndarray, labels: np.ndarray, volume_node) -> slicer.vtkMRMLScalarVolumeNode:
    """The confidence of an answer of Few-shot over its image: on the segments, and where the background is doubtful.

    :param confidence: 0 to 1, ``[K, J, I]`` of ``volume_node``; ``labels`` as in the answer.
    """
    shown = np.where((labels > 0) | (confidence < _SURE_BACKGROUND), np.maximum(confidence, _LOWEST_SHOWN), 0)
    node = show_confidence(shown, volume_from_node(volume_node), few_shot_confidence_name(volume_node), volume_node)
    lay_over(node, volume_node)
    return node


def few_shot_confidence_name(volume_node) -> str:
    """Name of the node of :func:`show_few_shot_confidence`, for :func:`take_off`."""
    return f"{volume_node.GetName()} few-shot confidence"


def _composite_nodes(scene) -> list:
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
