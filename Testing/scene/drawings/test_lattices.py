"""Label boxes: set operations and moves between lattices, against a voxel-by-voxel reckoning; and which slices were drawn on."""

import mrml
import numpy as np
import pytest

from S3NetSegmentLib.engine import Extent
from S3NetSegmentLib.scene.drawings.support_set import covering_slices
from S3NetSegmentLib.scene.segmentation.labelmaps import LabelBox, kept_values

SHAPE = (40, 40, 40)
DISC = (slice(5, 20), slice(8, 26))


def voxels(box):
    return {tuple(int(v) for v in at[::-1] + np.array(box.start)) for at in np.argwhere(box.array)}


def random_box(rng):
    return LabelBox(rng.random(rng.integers(1, 7, 3)) > 0.6, tuple(int(v) for v in rng.integers(-4, 5, 3)))


@pytest.mark.parametrize("case", range(30))
def test_boxes_behave_like_sets_of_voxels(case):
    rng = np.random.default_rng(case)
    a, b = random_box(rng), random_box(rng)
    before = voxels(a), voxels(b)
    assert voxels(a.union(b)) == before[0] | before[1]
    assert voxels(a.without(b)) == before[0] - before[1]
    assert voxels(a.trimmed()) == before[0] and a.equals(a.trimmed())
    assert a.equals(b) == (before[0] == before[1])
    assert (voxels(a), voxels(b)) == before
    nothing = LabelBox.empty()
    assert a.union(nothing).equals(a) and a.without(nothing).equals(a) and nothing.without(a).is_empty


@pytest.mark.parametrize("kind", ["same", "shift", "flip", "scale", "turn", "far"])
@pytest.mark.parametrize("case", range(6))
def test_every_voxel_takes_the_label_under_its_centre(case, kind):
    rng = np.random.default_rng(case)
    box = random_box(rng)
    shift = rng.uniform(-5, 5, 3)
    axes = np.eye(3)[:, rng.permutation(3)] @ np.diag(rng.choice([-1.0, 1.0], 3))
    move = {
        "same": np.eye(4),
        "shift": mrml.affine(shift=np.round(shift)),
        "flip": mrml.affine(axes, np.round(shift)),
        "scale": mrml.affine(axes @ np.diag(rng.uniform(0.4, 3, 3)), shift),
        "turn": mrml.affine(mrml.rotation(rng) @ np.diag(rng.uniform(0.4, 3, 3)), shift),
        "far": mrml.affine(axes @ np.diag(rng.uniform(0.4, 3, 3)), shift + 3000),
    }[kind]
    moved = box.moved(move)
    back, had = np.linalg.inv(move), voxels(box)
    centre = np.round(move[:3, 3]).astype(int)
    corners = np.array([[(box.start, box.stop)[n >> d & 1][d] for d in range(3)] for n in range(8)])
    corners = corners @ move[:3, :3].T + move[:3, 3]
    ranges = [np.arange(a - 4, b + 5) for a, b in zip(np.floor(corners.min(0)), np.ceil(corners.max(0)), strict=True)]
    index = np.stack(np.meshgrid(*ranges, indexing="ij"), -1).reshape(-1, 3).astype(int)
    at = np.floor(index @ back[:3, :3].T + back[:3, 3] + 0.5 + 1e-6).astype(int)
    inside = ((at >= box.start) & (at < box.stop)).all(1)
    assert voxels(moved) == {tuple(i.tolist()) for i, a in zip(index[inside], at[inside], strict=True) if tuple(a.tolist()) in had}  # fmt: skip
    low, high = centre - 2, centre + 3
    part = box.moved(move, Extent(low, high))
    if kind not in ("same", "shift"):  # exact moves cost nothing and are not cut
        assert voxels(part) == {v for v in voxels(moved) if all(low <= v) and all(v < high)}


def test_a_slight_turn_is_not_taken_for_the_same_lattice():
    box = LabelBox(np.ones((2, 600, 600), bool))
    move = np.eye(4)
    move[0, :2] += (9e-4, -9e-4)  # vanishes at the corner (600, 600), half a voxel at (600, 0)
    assert box.moved(move).array.shape != box.array.shape


def test_only_wanted_labels_are_kept():
    labels = np.array([[[0, 1, 2, 300, 40000, -5]]])
    np.testing.assert_array_equal(kept_values(labels, [2, 300]), [[[0, 0, 2, 300, 0, 0]]])
    assert kept_values(labels, [2, 300]).dtype == np.int16 and kept_values(labels, [2]).dtype == np.uint8
    np.testing.assert_array_equal(kept_values(labels > 0, [1, 9]), [[[0, 1, 1, 1, 1, 0]]])


def test_labels_that_hold_nothing_else_are_taken_without_a_copy():
    labels = np.array([[[0, 1, 2]]], np.uint8)
    assert kept_values(labels, [1, 2, 3]) is labels
    assert kept_values(labels, [1]) is not labels


def box(*parts):
    array = np.zeros(SHAPE, bool)
    for part in parts:
        array[part] = True
    return LabelBox(array, (3, 5, 7))  # the grid's index of array[0, 0, 0]


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
