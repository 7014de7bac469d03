"""A segmentation node that only shows an answer for a while: it is not saved, nobody can select it, and it leaves nothing."""

from __future__ import annotations

import slicer

from ..segmentation.labelmaps import BINARY
from ..volumes import place_beside


def add_preview_node(volume_node, what: str, fill: float, outline: float) -> slicer.vtkMRMLSegmentationNode:
    """An empty one on the grid of ``volume_node``.

    :param what: the end of its name, e.g. "few-shot preview".
    :param fill, outline: opacities in the slice views, 0 to 1.
    """
    scene = volume_node.GetScene()
    node = slicer.vtkMRMLSegmentationNode()
    node.SetName(scene.GenerateUniqueName(f"{volume_node.GetName()} {what}"))
    node.SetSaveWithScene(False)
    node.SetHideFromEditors(True)  # else it could be selected as the segmentation to work on
    node = scene.AddNode(node)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetSaveWithScene(False)
    display.SetOpacity2DFill(fill)
    display.SetOpacity2DOutline(outline)
    place_beside(node, volume_node)
    node.GetSegmentation().SetSourceRepresentationName(BINARY)
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    return node


def remove_preview_node(node) -> None:
    """Takes it away with its display, which Slicer leaves behind. Nothing where the user has removed it."""
    scene, display = node.GetScene(), node.GetDisplayNode()
    if scene is not None:
        scene.RemoveNode(node)
        if display is not None and display.GetScene() is not None:
            scene.RemoveNode(display)
