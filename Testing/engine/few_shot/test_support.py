"""What the user drew: which slices, what they tell, and what is refused."""

import numpy as np
import pytest
from few_shot_phantoms import organs

from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.engine.few_shot.drawings.drawing import Drawing
from S3NetSegmentLib.engine.few_shot.drawings.support import (
    DrawnSlice,
    DrawnVoxels,
    SupportVolume,
    drawn_slices,
    near_drawing,
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
