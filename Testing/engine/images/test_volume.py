"""Volumes, extents and their place in the patient."""

import numpy as np
import pytest

from S3NetSegmentLib.engine import Extent, InputError, Volume


def oblique_matrix(rng):
    """A random rotation with random spacing, flips and offset."""
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * rng.uniform(0.3, 6, 3) * rng.choice((-1, 1), 3)
    matrix[:3, 3] = rng.uniform(-500, 500, 3)
    return matrix


@pytest.mark.parametrize("seed", range(20))
def test_a_voxel_centre_and_points_near_it_lie_in_that_voxel(seed):
    rng = np.random.default_rng(seed)
    volume = Volume(np.zeros((7, 9, 11), np.int16), oblique_matrix(rng))
    voxel = tuple(int(rng.integers(n)) for n in volume.size)
    near = np.add(voxel, rng.uniform(-0.49, 0.49, 3))
    assert volume.voxel_at(volume.ras_of(voxel)) == voxel
    assert volume.voxel_at(volume.ras_of(near)) == voxel


def test_a_point_outside_is_refused_with_the_covered_box():
    volume = Volume(np.zeros((4, 5, 6)), np.diag((2.0, 2, 2, 1)), "brain")
    with pytest.raises(InputError, match=r"point 100,0,0 .*outside image 'brain'.*R -1\.0 to 11\.0"):
        volume.voxel_at((100, 0, 0))


@pytest.mark.parametrize("seed", range(5))
def test_a_cropped_volume_keeps_every_voxel_in_its_place(seed):
    rng = np.random.default_rng(seed)
    volume = Volume(rng.normal(size=(7, 9, 11)), oblique_matrix(rng))
    extent = Extent((2, 1, 3), (6, 8, 5))
    part = volume.cropped(extent)
    assert part.size == extent.size == (4, 7, 2)
    assert np.allclose(part.ras_of((0, 0, 0)), volume.ras_of(extent.start))
    assert np.array_equal(part.array, volume.array[3:5, 1:8, 2:6])
    assert np.shares_memory(part.array, volume.array)


@pytest.mark.parametrize(
    "array, matrix, complaint",
    [
        (np.zeros((3, 4)), np.eye(4), "shape"),
        (np.zeros((3, 4, 5, 2)), np.eye(4), "shape"),
        (np.zeros((0, 4, 5)), np.eye(4), "no voxels"),
        (np.zeros((3, 4, 5), complex), np.eye(4), "complex"),
        (np.zeros((3, 4, 5)), np.zeros((4, 4)), "unusable"),
        (np.zeros((3, 4, 5)), np.diag((1.0, 0, 1, 1)), "inverted"),
        (np.zeros((3, 4, 5)), np.full((4, 4), np.nan), "unusable"),
    ],
)
def test_an_impossible_volume_is_refused(array, matrix, complaint):
    with pytest.raises(InputError, match=complaint):
        Volume(array, matrix)


def test_the_slice_axis_follows_single_slices_and_thick_slices():
    assert Volume(np.zeros((5, 6, 7)), np.eye(4)).slice_axis() == "z"
    assert Volume(np.zeros((5, 6, 7)), np.diag((1, 8.0, 1, 1))).slice_axis() == "y"
    assert Volume(np.zeros((5, 6, 1)), np.diag((1, 8.0, 1, 1))).slice_axis() == "x"
    assert Volume(np.zeros((5, 6, 7)), np.diag((1, 8.0, 1, 1))).slice_axis("z") == "z"
    with pytest.raises(InputError, match="axial"):
        Volume(np.zeros((5, 6, 7)), np.eye(4)).slice_axis("axial")


def test_a_slab_covers_its_slices_and_is_refused_outside():
    volume = Volume(np.zeros((5, 6, 7)), np.eye(4))
    slab = Extent.slab(volume, "y", 2, 4)
    assert slab.size == (7, 3, 5)
    assert slab.contains((0, 4, 0)) and not slab.contains((0, 5, 0))
    for first, last in ((-1, 2), (3, 6), (4, 3)):
        with pytest.raises(InputError, match="slices 0 to 5 along y"):
            Extent.slab(volume, "y", first, last)
