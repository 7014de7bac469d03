"""Which slices were drawn on, told from the voxels."""

import numpy as np
import pytest

from S3NetSegmentLib.scene.drawings.support_set import covering_slices
from S3NetSegmentLib.scene.segmentation.labelmaps import LabelBox

SHAPE = (40, 40, 40)


def box(*parts):
    array = np.zeros(SHAPE, bool)
    for part in parts:
        array[part] = True
    return LabelBox(array, (3, 5, 7))  # the grid's index of array[0, 0, 0]


DISC = (slice(5, 20), slice(8, 26))


@pytest.mark.parametrize("axis", "xyz")
@pytest.mark.parametrize("numbers", [(20,), (4, 20, 33), (18, 19, 20, 21), (2, 3, 11, 12, 30)])
def test_drawn_slices_along_one_axis_are_found_whatever_the_axis_is(axis, numbers):
    array = np.zeros(SHAPE, bool)
    np.moveaxis(array, 2 - "xyz".index(axis), 0)[list(numbers), 5:20, 8:26] = True
    start = dict(zip("xyz", (3, 5, 7), strict=True))[axis]
    assert covering_slices(LabelBox(array, (3, 5, 7)), "z") == [(axis, n + start) for n in numbers]


def test_a_thin_vessel_on_five_slices_is_drawn_on_these_slices():
    assert covering_slices(box(*((n, 11, 12) for n in (2, 10, 18, 26, 34)))) == [
        ("z", n + 7) for n in (2, 10, 18, 26, 34)
    ]


def test_slices_of_two_axes_are_told_apart():
    sagittal, axial = (slice(2, 36), slice(4, 30), 17), (25, *DISC)
    assert covering_slices(box(sagittal, axial)) == [("x", 20), ("z", 32)]


def test_one_voxel_and_voxels_here_and_there_count_for_the_first_axis():
    assert covering_slices(box((4, 5, 6)), "y") == [("y", 10)]
    assert covering_slices(box((4, 5, 6), (9, 20, 30)), "x") == [("x", 9), ("x", 33)]


def test_a_solid_thing_is_on_all_its_slices_along_the_axis_with_the_fewest():
    assert covering_slices(box((slice(4, 16), slice(0, 30), slice(0, 30)))) == [("z", n + 7) for n in range(4, 16)]


def test_nothing_is_on_no_slice():
    assert covering_slices(LabelBox.empty()) == [] == covering_slices(box())
