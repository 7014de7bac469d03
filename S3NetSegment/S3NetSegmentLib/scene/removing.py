"""Taking nodes out of the scene."""

from __future__ import annotations


def remove_node(node) -> None:
    """Takes ``node`` out of its scene, with its displays, which Slicer leaves behind. None, and a node that is gone, are passed over."""
    scene = None if node is None else node.GetScene()
    if scene is None:
        return
    count = node.GetNumberOfDisplayNodes() if node.IsA("vtkMRMLDisplayableNode") else 0
    for one in (node, *[node.GetNthDisplayNode(number) for number in range(count)]):
        if one is not None and one.GetScene() is scene:
            scene.RemoveNode(one)
