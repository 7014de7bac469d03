"""Slicer's loading and saving without the application: its own readers and writers, which slicer-core has."""

from __future__ import annotations

import contextlib

import slicer


def load_volume(path, properties):
    """``slicer.util.loadVolume`` of the application."""
    assert properties == {"singleFile": True, "show": False}
    node = read_volume(path)
    if node is None:
        raise RuntimeError(f"Failed to load node from file: {path}")
    node.SetName("loaded")
    return node


def read_volume(path, colours=None):
    """The node that Slicer's reader makes of an image file, None if it cannot. ``colours``: None asks the file name."""
    colours = str(path).endswith(".jpg") if colours is None else colours
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(path))
    storage.SetSingleFile(True)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode" if colours else "vtkMRMLScalarVolumeNode")
    if not storage.ReadData(node):
        slicer.mrmlScene.RemoveNode(node)
        return None
    return node


def read_segmentation(path):
    """The node that Slicer makes of a .seg.nrrd file."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    storage = slicer.vtkMRMLSegmentationStorageNode()
    slicer.mrmlScene.AddNode(storage)
    storage.SetFileName(str(path))
    assert storage.ReadData(node), path
    return node


def save_node(node, path):
    """``slicer.util.saveNode`` of the application, for segmentations and volumes."""
    kind = "Segmentation" if node.IsA("vtkMRMLSegmentationNode") else "VolumeArchetype"
    storage = slicer.mrmlScene.AddNewNodeByClass(f"vtkMRML{kind}StorageNode")
    storage.SetFileName(str(path))
    written = bool(storage.WriteData(node))
    slicer.mrmlScene.RemoveNode(storage)
    return written


@contextlib.contextmanager
def as_in_slicer():
    """Puts :func:`load_volume` and :func:`save_node` where scripts call them."""
    missing = object()
    before = {name: getattr(slicer.util, name, missing) for name in ("loadVolume", "saveNode")}
    slicer.util.loadVolume, slicer.util.saveNode = load_volume, save_node
    try:
        yield
    finally:
        for name, value in before.items():
            delattr(slicer.util, name) if value is missing else setattr(slicer.util, name, value)
