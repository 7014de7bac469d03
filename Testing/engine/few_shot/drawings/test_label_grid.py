"""Labels on grids of their own, brought into an image."""

import numpy as np
import pytest
from image_files import random_matrix

from S3NetSegmentLib.engine import InputError, Volume
from S3NetSegmentLib.engine.few_shot.drawings.label_grid import placed_labels, resampled_labels

SHAPE = (9, 11, 13)  # K, J, I


def image(seed=0, oblique=True):
    rng = np.random.default_rng(seed)
    return Volume(rng.normal(size=SHAPE).astype(np.float32), random_matrix(rng, oblique=oblique), "image")


def labels_on(volume, slices=(2, 6), seed=0):
    out = np.zeros(volume.array.shape, np.uint8)
    for k in slices:
        out[k] = np.random.default_rng((seed, k)).integers(0, 3, out.shape[1:])
    return out


def regridded(labels, matrix, order, flips):
    """The same labels with their axes (I, J, K) in another order, some of them reversed."""
    array = labels.transpose([2 - order[2 - d] for d in range(3)])
    relative = np.zeros((4, 4))
    relative[3, 3] = 1
    for new, old in enumerate(order):
        n = labels.shape[2 - old]
        relative[old, new], relative[old, 3] = (-1, n - 1) if flips[new] else (1, 0)
    backwards = tuple(slice(None, None, -1) if flips[2 - d] else slice(None) for d in range(3))
    return array[backwards], matrix @ relative


@pytest.mark.parametrize("seed", range(6))
def test_any_order_and_direction_of_the_axes_gives_the_same_labels(seed):
    rng, volume = np.random.default_rng(seed), image(seed)
    labels = labels_on(volume)
    placed = placed_labels(*regridded(labels, volume.ijk_to_ras, rng.permutation(3), rng.random(3) < 0.5), volume)
    assert np.array_equal(placed.labels, labels) and (placed.axis, placed.drawn) == ("z", [2, 6])
    assert not placed.moved and placed.outside == 0 and not placed.planes


def test_a_part_of_the_grid_and_a_larger_grid_keep_their_places():
    volume = image()
    labels = labels_on(volume)
    matrix = volume.ijk_to_ras.copy()
    matrix[:3, 3] = volume.ras_of((3, 2, 1))
    part = placed_labels(labels[1:8, 2:, 3:], matrix, volume)
    assert np.array_equal(part.labels[:, 2:, 3:], labels[:, 2:, 3:]) and not part.labels[:, :2].any() and not part.moved
    matrix[:3, 3] = volume.ras_of((-4, -4, -4))
    padded = np.pad(labels, 4)
    padded[0, 0, 0] = 1  # outside the image
    larger = placed_labels(padded, matrix, volume)
    assert np.array_equal(larger.labels, labels) and larger.drawn == [2, 6]
    assert larger.outside == pytest.approx(1 / np.count_nonzero(padded))


@pytest.mark.parametrize(("factor", "drawn"), [(3, (4, 19)), (0.5, (1, 3))], ids=["thinner slices", "thicker slices"])
def test_each_drawn_slice_goes_to_the_nearest_slice_of_the_image(factor, drawn):
    volume = image(3)
    depth = round(SHAPE[0] * factor)
    labels = np.zeros((depth, *SHAPE[1:]), np.uint8)
    for n, k in enumerate(drawn):
        labels[k, 2:8, 3:9] = n + 1
    relative = np.diag([1, 1, 1 / factor, 1])
    relative[2, 3] = 0.5 / factor - 0.5  # the same field of view
    placed = placed_labels(labels, volume.ijk_to_ras @ relative, volume)
    places = [int(np.floor((k + 0.5) / factor - 0.5 + 0.5)) for k in drawn]
    assert placed.moved and placed.drawn == places
    for n, z in enumerate(places):
        assert np.array_equal(placed.labels[z] == n + 1, labels[drawn[n]] == n + 1)


def test_two_slices_drawn_in_one_slice_of_the_image_leave_the_nearer_one():
    volume = image(4)
    labels = np.zeros((27, *SHAPE[1:]), np.uint8)
    labels[12, 2:5, 2:5], labels[13, 4:9, 4:9] = 1, 2  # slice 4 of the image has its middle in 13
    relative = np.diag([1, 1, 1 / 3, 1])
    relative[2, 3] = -1 / 3
    placed = placed_labels(labels, volume.ijk_to_ras @ relative, volume)
    assert placed.drawn == [4] and np.array_equal(placed.labels[4], labels[13])


def test_named_slices_count_as_drawn_also_where_they_are_empty():
    volume = image()
    labels = labels_on(volume, (2, 4, 6))
    placed = placed_labels(labels, volume.ijk_to_ras, volume, "z", (2, 6, 8))
    assert placed.drawn == [2, 6, 8] and not placed.labels[[4, 8]].any()


def test_labels_oblique_to_the_image_become_planes_through_the_same_points():
    volume = image(5)
    turn = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]
    labels, matrix = labels_on(volume), volume.ijk_to_ras.copy()
    centre = volume.ras_of((6, 5, 4))
    matrix[:3, :3] = turn @ np.diag([2.0, 2.0, 3.0])
    matrix[:3, 3] = centre - matrix[:3, :3] @ (6, 5, 4)
    placed = placed_labels(labels, matrix, volume)
    assert [np.array_equal(p.labels, labels[k]) for p, k in zip(placed.planes, (2, 6), strict=True)] == [True, True]
    for plane, k in zip(placed.planes, (2, 6), strict=True):
        assert np.allclose(plane.plane_to_ras @ (3, 7, 0, 1), matrix @ (3, 7, k, 1))
    whole = resampled_labels(labels, matrix, volume)
    for i, j, k in np.random.default_rng(0).integers(0, (13, 11, 9), (200, 3)):
        i2, j2, k2 = np.floor(np.linalg.solve(matrix, volume.ijk_to_ras @ (i, j, k, 1))[:3] + 0.5).astype(int)
        inside = 0 <= i2 < 13 and 0 <= j2 < 11 and 0 <= k2 < 9
        assert whole[k, j, i] == (labels[k2, j2, i2] if inside else 0)


def test_labels_that_miss_the_image_or_are_empty_are_refused():
    volume = image()
    matrix = volume.ijk_to_ras.copy()
    matrix[:3, 3] += 1e4
    with pytest.raises(InputError, match="outside image 'image'; they cover R"):
        placed_labels(labels_on(volume), matrix, volume)
    with pytest.raises(InputError, match="outside image"):
        placed_labels(labels_on(volume), matrix @ np.diag([1e9, 1e9, 1e9, 1]), volume)
    with pytest.raises(InputError, match="labels are empty"):
        placed_labels(np.zeros(SHAPE, np.uint8), volume.ijk_to_ras, volume)
    with pytest.raises(InputError, match="nothing is drawn on slice 4 along z"):
        placed_labels(labels_on(volume), volume.ijk_to_ras, volume, "z", (4,))
