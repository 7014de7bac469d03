"""Nodes for tests on the real MRML, and an independent reckoning of where their voxels are."""

from __future__ import annotations

import numpy as np
import slicer

from S3NetSegmentLib.engine import Segment
from S3NetSegmentLib.scene.volumes import matrix_from_array


def rotation(rng) -> np.ndarray:
    """A random rotation (3, 3)."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else -q


def affine(linear=None, shift=(0, 0, 0)) -> np.ndarray:
    out = np.eye(4)
    out[:3, :3] = np.eye(3) if linear is None else linear
    out[:3, 3] = shift
    return out


def random_grid(rng, oblique=True) -> np.ndarray:
    """A random voxel-to-RAS matrix: flips, permuted axes, anisotropic spacing, and a rotation if ``oblique``."""
    axes = np.eye(3)[:, rng.permutation(3)] @ np.diag(rng.choice([-1.0, 1.0], 3))
    turn = rotation(rng) if oblique else np.eye(3)
    return affine(turn @ axes @ np.diag(rng.uniform(0.5, 4.0, 3)), rng.uniform(-60, 60, 3))


def add_volume(array, grid=None, name="image", class_name="vtkMRMLScalarVolumeNode"):
    node = slicer.util.addVolumeFromArray(np.ascontiguousarray(array), name=name, nodeClassName=class_name)
    if grid is not None:
        node.SetIJKToRASMatrix(matrix_from_array(grid))
    return node


def add_transform(matrix, parent=None):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetMatrixTransformToParent(matrix_from_array(matrix))
    if parent is not None:
        node.SetAndObserveTransformNodeID(parent.GetID())
    return node


def add_bend():
    """A transform that is not linear."""
    import vtk

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "bend")
    spline = vtk.vtkThinPlateSplineTransform()
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for n, point in enumerate(((0, 0, 0), (50, 0, 0), (0, 50, 0), (0, 0, 50), (50, 50, 50))):
        source.InsertNextPoint(point)
        target.InsertNextPoint([c + n for c in point])
    spline.SetSourceLandmarks(source)
    spline.SetTargetLandmarks(target)
    spline.SetBasisToR()
    node.SetAndObserveTransformFromParent(spline)
    return node


def put_under(node, transform):
    node.SetAndObserveTransformNodeID(transform.GetID())


def ball(shape, center, radius) -> np.ndarray:
    """Mask ``[K, J, I]`` of a ball, ``center`` (k, j, i) and ``radius`` in voxels."""
    grid = np.ogrid[tuple(slice(n) for n in shape)]
    return sum((g - c) ** 2 for g, c in zip(grid, center, strict=True)) <= radius**2


def segment(name="Object", color=(0.8, 0.2, 0.1), value=1, **more) -> Segment:
    return Segment(name, color, value, **more)


def exported(segmentation_node, segment_id, volume_node) -> np.ndarray:
    """The segment on the volume's grid as Slicer itself exports it, bool ``[K, J, I]``."""
    import vtk

    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "exported")
    ids = vtk.vtkStringArray()
    ids.InsertNextValue(segment_id)
    logic = slicer.modules.segmentations.logic()
    assert logic.ExportSegmentsToLabelmapNode(segmentation_node, ids, labels, volume_node)
    array = slicer.util.arrayFromVolume(labels).copy() > 0
    slicer.mrmlScene.RemoveNode(labels)
    return array


def surface_points(segmentation_node, segment_id) -> int:
    import vtk

    surface = vtk.vtkPolyData()
    segmentation_node.GetClosedSurfaceRepresentation(segment_id, surface)
    return surface.GetNumberOfPoints()


class Editor:
    """Slicer's segment editor without its widget: where the user's undo lives."""

    def __init__(self, app, segmentation_node, volume_node):
        self.node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
        self.logic = slicer.vtkSlicerSegmentEditorLogic()
        self.logic.SetMRMLApplicationLogic(app.application_logic)
        self.logic.SetMRMLScene(app.scene)
        self.logic.SetSegmentEditorNode(self.node)
        self.logic.SetSegmentationNode(segmentation_node)
        self.logic.SetSourceVolumeNode(volume_node)
        self.logic.SetMaximumNumberOfUndoStates(10)
        self.saves = 0

    def save(self):
        self.saves += 1
        self.logic.SaveStateForUndo()
