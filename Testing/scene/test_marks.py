"""ROI boxes and points that the user sets."""

import mrml
import numpy as np
import pytest
import slicer

from S3NetSegmentLib.engine import Extent, InputError
from S3NetSegmentLib.scene.prompts import add_point, extent_from_roi, points_from_markups
from S3NetSegmentLib.scene.volumes import volume_from_node


def add_roi(center, size, transform=None):
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
    roi.SetCenter(*center)
    roi.SetSize(*size)
    if transform is not None:
        mrml.put_under(roi, transform)
    return roi


def volume(grid=None):
    return volume_from_node(mrml.add_volume(np.zeros((10, 20, 30), np.uint8), grid))


def test_a_box_along_the_axes_takes_the_voxels_it_touches(app):
    image = volume(mrml.affine(np.diag([1.0, 2.0, 3.0])))
    assert extent_from_roi(add_roi((5, 10, 12), (4, 8, 6)), image) == Extent((3, 3, 3), (8, 8, 6))
    whole = add_roi((14.5, 19, 13.5), (30, 40, 30))
    assert extent_from_roi(whole, image) == image.extent
    assert extent_from_roi(add_roi((0, 0, 0), (900, 900, 900)), image) == image.extent
    # borders on borders of voxels: not one more
    assert extent_from_roi(add_roi((5, 10, 12), (1, 2, 3)), image) == Extent((5, 5, 4), (6, 6, 5))


@pytest.mark.parametrize("case", range(12))
def test_a_turned_box_under_transforms_covers_exactly_its_bounding_box(app, case):
    rng = np.random.default_rng(case)
    image = volume(mrml.random_grid(rng))
    outer = mrml.affine(mrml.rotation(rng) * (1.5 if case % 2 else 1), rng.uniform(-5, 5, 3))
    center = (np.linalg.inv(outer) @ (*image.ras_of((15, 10, 5)), 1))[:3]
    size = rng.uniform(3, 15, 3)
    roi = add_roi(center, size, mrml.add_transform(outer))
    corners = np.array([[(-0.5, 0.5)[n >> a & 1] * size[a] + center[a] for a in range(3)] + [1] for n in range(8)])
    index = (np.linalg.inv(image.ijk_to_ras) @ outer @ corners.T)[:3]
    start = np.clip(np.floor(index.min(1) + 0.5), 0, None).astype(int)
    stop = np.minimum(np.floor(index.max(1) + 0.5).astype(int) + 1, image.size)
    assert extent_from_roi(roi, image) == Extent(tuple(start), tuple(stop))


def test_a_box_that_cannot_be_used_says_why(app):
    image = volume()
    with pytest.raises(InputError, match="no ROI is selected"):
        extent_from_roi(None, image)
    with pytest.raises(InputError, match="'box' lies beside 'image'"):
        extent_from_roi(add_roi((500, 0, 0), (5, 5, 5)), image)
    with pytest.raises(InputError, match="has no size yet"):
        extent_from_roi(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "new"), image)
    with pytest.raises(InputError, match="harden the transform"):
        extent_from_roi(add_roi((5, 5, 5), (5, 5, 5), mrml.add_bend()), image)


def test_points_are_in_world_ras_and_in_order(app, rng):
    turn = mrml.affine(mrml.rotation(rng), (1, 2, 3))
    points = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    points.AddControlPoint(10, 20, 30)
    mrml.put_under(points, mrml.add_transform(turn))
    assert add_point(points, np.array([4, 5, 6])) == 1
    found = points_from_markups(points)
    np.testing.assert_allclose(found, [(turn @ (10, 20, 30, 1))[:3], (4, 5, 6)])


def test_points_being_placed_or_missing_are_left_out(app):
    points = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    for n in range(4):
        add_point(points, (n, n, n))
    points.UnsetNthControlPointPosition(0)
    points.SetNthControlPointPositionMissing(2)
    np.testing.assert_allclose(points_from_markups(points), [(1, 1, 1), (3, 3, 3)])
    assert points_from_markups(None) == []
