"""Drawings on planes of any orientation become slices or voxels of the volume."""

import numpy as np
import pytest

from S3NetSegmentLib.engine import InputError, Volume
from S3NetSegmentLib.engine.few_shot.drawings.support import DrawnPlane, DrawnSlice, DrawnVoxels, on_volume


def volume(size=(20, 16, 12), spacing=(1.0, 1.5, 2.0), turned=0.0):
    """Its matrix is turned by ``turned`` radians about the body's long axis and does not start at the origin."""
    matrix = np.eye(4)
    c, s = np.cos(turned), np.sin(turned)
    matrix[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.diag(spacing)
    matrix[:3, 3] = (5, -7, 30)
    array = np.arange(np.prod(size), dtype=np.float32).reshape(size[::-1])
    return Volume(array, matrix)


def plane_of(volume, axis, index, labels, complete=True):
    """The plane of slice ``index`` across ``axis`` of ``volume``, whose pixels are its voxels."""
    a = "xyz".index(axis)
    column, row = [n for n in range(3) if n != a]
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1], matrix[:3, 2] = (volume.ijk_to_ras[:3, n] for n in (column, row, a))
    start = np.zeros(4)
    start[3], start[a] = 1, index
    matrix[:, 3] = volume.ijk_to_ras @ start
    return DrawnPlane(labels, matrix, complete)


@pytest.mark.parametrize("axis", "xyz")
@pytest.mark.parametrize("turned", [0.0, 0.4])
def test_a_plane_that_lies_in_a_slice_is_that_slice(axis, turned):
    image = volume(turned=turned)
    shape = [n for a, n in zip("zyx", image.array.shape, strict=True) if a != axis]
    labels = np.random.default_rng(0).integers(0, 3, shape).astype(np.uint8)
    found = on_volume(plane_of(image, axis, 5, labels), image, 4.0)
    assert isinstance(found, DrawnSlice) and (found.axis, found.index, found.complete) == (axis, 5, True)
    assert np.array_equal(found.labels, labels)


def test_a_plane_with_finer_pixels_than_the_slice_is_sampled_at_its_voxels():
    image = volume()
    labels = np.zeros((16, 20), np.uint8)
    labels[4:9, 6:12] = 2
    plane = plane_of(image, "z", 3, np.repeat(np.repeat(labels, 3, 0), 3, 1))
    matrix = plane.plane_to_ras.copy()
    matrix[:3, :2] /= 3
    matrix[:3, 3] -= matrix[:3, 0] + matrix[:3, 1]
    found = on_volume(DrawnPlane(plane.labels, matrix), image, 4.0)
    assert isinstance(found, DrawnSlice) and np.array_equal(found.labels, labels)


def oblique(image, labels, degrees, complete=True, thickness=1.0):
    """A plane of square 1 mm pixels through the middle of the volume, leaning by ``degrees`` out of its z slices."""
    angle = np.deg2rad(degrees)
    right = np.array([1.0, 0, 0])
    down = np.array([0, np.cos(angle), np.sin(angle)])
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1], matrix[:3, 2] = right, down, np.cross(right, down) * thickness
    middle = image.ras_of([(n - 1) / 2 for n in image.size])
    matrix[:3, 3] = middle - right * (labels.shape[1] - 1) / 2 - down * (labels.shape[0] - 1) / 2
    return DrawnPlane(labels, matrix, complete)


def test_an_oblique_plane_tells_one_voxel_of_each_column_that_it_crosses():
    image = volume()
    labels = np.zeros((40, 40), np.uint8)
    labels[10:30, 10:30] = 7
    found = on_volume(oblique(image, labels, 25), image, 4.0)
    assert isinstance(found, DrawnVoxels) and found.axis == "z"
    columns = found.index[:, 1:]
    assert len(np.unique(columns, axis=0)) == len(columns) == 20 * 16
    plane = oblique(image, labels, 25).plane_to_ras
    for (k, j, i), label in list(zip(found.index, found.labels, strict=True))[::17]:
        column, row, layer, _ = np.linalg.solve(plane, [*image.ras_of((i, j, k)), 1])
        assert abs(layer) <= 0.5 * image.spacing[2] and labels[int(np.rint(row)), int(np.rint(column))] == label
    assert set(np.unique(found.labels)) == {0, 7}


def test_a_steep_plane_belongs_to_another_axis_and_a_thick_one_marks_several_voxels():
    image = volume()
    labels = np.ones((60, 60), np.uint8)
    assert on_volume(oblique(image, labels, 75), image, 4.0).axis == "y"
    thin, thick = (on_volume(oblique(image, labels, 20, thickness=t), image, 4.0) for t in (1.0, 9.0))
    assert 3 * len(thin.index) < len(thick.index) < 6 * len(thin.index)
    assert len(np.unique(thick.index, axis=0)) == len(thick.index)


def test_a_partial_plane_tells_only_what_is_near_its_drawing():
    image = volume()
    labels = np.zeros((40, 40), np.uint8)
    labels[18:22, 18:22] = 1
    whole, partial = (on_volume(oblique(image, labels, 25, complete), image, 3.0) for complete in (True, False))
    assert (whole.labels > 0).sum() == (partial.labels > 0).sum() > 0
    assert 0 < (partial.labels == 0).sum() < (whole.labels == 0).sum() / 3


def test_a_plane_of_tiny_pixels_is_a_plane():
    tiny, labels = np.diag((1e-5, 1e-5, 1e-5, 1.0)), np.ones((4, 4), np.uint8)
    found = on_volume(DrawnPlane(labels, tiny), Volume(np.zeros((3, 4, 4), np.int16), tiny, "cells"), 4.0)
    assert (found.axis, found.index) == ("z", 0) and found.labels.all()


@pytest.mark.parametrize(
    ("labels", "matrix", "said"),
    [
        (np.ones((4, 4)), np.zeros((4, 4)), "unusable plane-to-patient matrix"),
        (np.ones((4, 4, 2)), np.eye(4), "must be [rows, columns]"),
        (np.full((4, 4), 0.5), np.eye(4), "not whole numbers"),
        (np.ones((4, 4)), np.diag((1.0, 1, 1, 1)) + np.eye(4, k=3) * 900, "does not pass through"),
    ],
)
def test_unusable_planes_are_refused_with_the_reason(labels, matrix, said):
    with pytest.raises(InputError, match=said.replace("[", r"\[")):
        on_volume(DrawnPlane(labels, matrix), volume(), 4.0)
