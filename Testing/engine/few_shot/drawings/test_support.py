"""What the user drew: which slices, what they tell, and what is refused; planes of any orientation become slices or voxels."""

import numpy as np
import pytest
from few_shot_phantoms import organs

from S3NetSegmentLib.engine import InputError, Volume
from S3NetSegmentLib.engine.few_shot.drawings.drawing import Drawing
from S3NetSegmentLib.engine.few_shot.drawings.support import (
    DrawnPlane,
    DrawnSlice,
    DrawnVoxels,
    SupportVolume,
    drawn_slices,
    near_drawing,
    on_volume,
)
from S3NetSegmentLib.engine.few_shot.frame import Box


def test_the_drawn_slices_lie_across_the_axis_on_which_they_are_fewest():
    labels = np.zeros((10, 12, 14), np.uint8)
    labels[2:8, 3:9, [4, 6]] = 1
    assert drawn_slices(labels) == ("x", [4, 6])
    assert drawn_slices(labels, "z") == ("z", [2, 3, 4, 5, 6, 7])
    assert drawn_slices(labels, "x", drawn=(6, 4, 9)) == ("x", [4, 6, 9])


@pytest.mark.parametrize(
    ("arguments", "said"), [((), "the labels are empty"), (("z", (40,)), "drawn slice 40 along z does not exist")]
)
def test_no_drawn_slice_or_one_that_does_not_exist_is_refused(arguments, said):
    with pytest.raises(InputError, match=said):
        drawn_slices(np.zeros((4, 4, 4), np.uint8), *arguments)


def test_near_the_drawing_is_measured_in_mm():
    labels = np.zeros((9, 9), np.uint8)
    labels[4, 4] = 1
    near = near_drawing(labels, (2.0, 1.0), 2.0)
    assert near[4].tolist() == [False, False, True, True, True, True, True, False, False]
    assert near[:, 4].sum() == 3
    assert not near_drawing(np.zeros((9, 9)), (1, 1), 5.0).any()


def test_around_a_drawing_of_large_pixels_some_background_is_known_too():
    labels = np.zeros((9, 9), np.uint8)
    labels[4, 4] = 1
    near = near_drawing(labels, (5000.0, 8.0), 4.0)
    assert near.sum() == 5 and near[4, 3:6].all() and near[3:6, 4].all()
    assert np.array_equal(near_drawing(labels, (1.0, 1.0), 0.0), labels > 0)


@pytest.mark.parametrize(
    ("drawn", "said"),
    [
        (DrawnSlice("w", 3, np.zeros((36, 40))), "must be one of x, y, z"),
        (DrawnSlice("z", 20, np.zeros((36, 40))), "drawn slice 20 along z is not in image"),
        (DrawnSlice("z", 3, np.zeros((40, 36))), r"has shape \(40, 36\); the slice has \(36, 40\)"),
        (DrawnSlice("z", 3, np.full((36, 40), 300)), "must be 0 to 254"),
        (DrawnSlice("z", 3, np.full((36, 40), 0.5)), "not whole numbers"),
        (DrawnSlice("z", 3, np.full((36, 40), "a")), "labels are whole numbers"),
    ],
)
def test_a_slice_that_does_not_fit_is_refused_with_the_reason(drawn, said):
    volume, _ = organs()
    with pytest.raises(InputError, match=said):
        drawn.checked(volume)


def test_a_support_volume_is_checked_and_its_labels_are_small_numbers():
    volume, labels = organs()
    checked = SupportVolume(volume, labels.astype(np.float64), "auto", (3,)).checked()
    assert checked.labels.dtype == np.uint8 and checked.axis == "z"


def test_background_is_no_segment_and_segments_drawn_elsewhere_count():
    volume, labels = organs()
    drawing = Drawing(volume, [DrawnSlice("z", 9, labels[9])], "auto", 4.0, elsewhere=(0, 5))
    assert drawing.values == (0, 1, 2, 5) and drawing.classes == 4
    assert set(np.unique(drawing.slices[9].classes)) == {0, 1, 2}


def test_voxels_of_an_oblique_plane_are_known_and_belong_to_what_the_drawing_is():
    volume, labels = organs()
    k, j = np.mgrid[4:14, 0:36].reshape(2, -1)
    index = np.stack((k, j, np.full_like(k, 11)), 1)
    voxels = DrawnVoxels(index, labels[tuple(index.T)], "x")
    slices = [DrawnSlice("z", 9, labels[9])]
    with_plane, without = Drawing(volume, slices, "z", 4.0, [voxels]), Drawing(volume, slices, "z", 4.0)
    assert with_plane.digest != without.digest
    known = with_plane.known_voxels(Box(0, 36, 0, 40))
    assert np.array_equal(known[tuple(index.T)], labels[tuple(index.T)] + 1)
    assert np.array_equal(known[9], labels[9] + 1)
    assert np.count_nonzero(known) == 36 * 40 + len(index) - 36


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
