"""Affine2d: the one convention (output to input, mm, align_corners=False), checked on ramps and by brute force."""

import numpy as np
import pytest
import torch

from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.engine.common.affine2d import Affine2d
from S3NetSegmentLib.engine.common.tensors import torch_generator

SHAPE, SPACING = (24, 31), (2.0, 0.7)
EXTENT = (SHAPE[0] * SPACING[0], SHAPE[1] * SPACING[1])


def coordinate_ramp(shape=SHAPE, spacing=SPACING):
    """An image whose two channels hold each pixel's own position (x, y) in mm from the centre."""
    y = (torch.arange(shape[0], dtype=torch.float64) - (shape[0] - 1) / 2) * spacing[0]
    x = (torch.arange(shape[1], dtype=torch.float64) - (shape[1] - 1) / 2) * spacing[1]
    return torch.stack((x.expand(shape), y[:, None].expand(shape)))[None]


def drawn(seed=0, count=1, **ranges):
    return Affine2d.random(torch_generator(seed, 0), EXTENT, count, **ranges)


def test_each_output_pixel_shows_the_input_point_that_the_matrix_names():
    affine = drawn()
    ramp = coordinate_ramp()
    shown = affine.warp(ramp, SPACING)
    named = torch.einsum("ab,nbhw->nahw", torch.tensor(affine.matrix[0, :, :2]), ramp)
    named += torch.tensor(affine.matrix[0, :, 2])[:, None, None]
    inside = affine.validity(SHAPE, SPACING).expand_as(shown)
    assert inside.float().mean() > 0.3
    assert torch.allclose(shown[inside], named[inside], atol=1e-9)


def test_a_rotation_is_one_in_millimetres_also_on_anisotropic_pixels():
    quarter = Affine2d(np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]))
    image = torch.zeros(1, 1, 21, 41, dtype=torch.float64)
    image[0, 0, 10 - 5, 20] = 1.0  # 5 rows of 2 mm above the centre: 10 mm
    moved = quarter.warp(image, (2.0, 0.5))
    row, column = np.unravel_index(int(moved.argmax()), (21, 41))
    assert (row, abs(column - 20)) == (10, 20)  # 10 mm beside it: 20 columns of 0.5 mm


def test_an_inverse_undoes_and_warping_twice_is_warping_with_the_product():
    first, then = drawn(1, 3), drawn(2, 3)
    whole = [
        np.concatenate((t.matrix, np.tile([[[0.0, 0.0, 1.0]]], (3, 1, 1))), 1) for t in (first, then, first.inverse())
    ]
    assert np.allclose(whole[0] @ whole[2], np.eye(3), atol=1e-12)
    ramp = coordinate_ramp().expand(3, -1, -1, -1)
    both = Affine2d((whole[0] @ whole[1])[:, :2])
    ones = torch.ones(3, 1, *SHAPE, dtype=torch.float64)
    untouched = first.warp(ones, SPACING) > 1 - 1e-9  # stricter than validity(): not even a hundredth from outside
    valid = (then.warp(untouched.double(), SPACING) > 1 - 1e-9).expand_as(ramp)
    assert valid.float().mean() > 0.2
    twice = then.warp(first.warp(ramp, SPACING), SPACING)
    assert torch.allclose(both.warp(ramp, SPACING)[valid], twice[valid], atol=1e-9)


def test_warping_there_and_back_returns_a_smooth_image_where_both_are_valid():
    y, x = np.mgrid[:64, :48].astype(np.float32)
    image = torch.from_numpy(np.sin(x / 9) + np.cos(y / 7))[None, None]
    affine = Affine2d.random(torch_generator(5, 0), (64, 48), shift=0.05, scaling=0.1)
    back = affine.inverse()
    there = affine.warp(torch.cat((image, torch.ones_like(image)), 1), (1.0, 1.0))
    home = back.warp(there, (1.0, 1.0))
    valid = home[:, 1] > 0.999
    assert valid.float().mean() > 0.3
    assert (home[:, 0] - image[:, 0])[valid].abs().max() < 0.03


def test_labels_are_warped_by_the_nearest_pixel_and_marked_outside():
    labels = torch.randint(0, 9, (2, *SHAPE), generator=torch_generator(0, 1))
    assert torch.equal(Affine2d.identity().warp_labels(labels, SPACING), labels)
    mirror = Affine2d(np.array([[-1.0, 0, 0], [0, 1.0, 0]]))
    assert torch.equal(mirror.warp_labels(labels, SPACING), labels.flip(2))
    shifted = Affine2d(np.array([[1.0, 0, SPACING[1] * 3], [0, 1.0, 0]])).warp_labels(labels, SPACING, outside=-1)
    assert torch.equal(shifted[:, :, :-3], labels[:, :, 3:]) and (shifted[:, :, -3:] == -1).all()


def test_correspondence_of_two_views_agrees_with_what_they_show():
    one, other = drawn(3), drawn(4)
    place, valid = one.correspond(other, SHAPE, SPACING)
    shown_by_one, shown_by_other = (a.warp(coordinate_ramp(), SPACING)[0] for a in (one, other))
    surely = valid[0] & one.validity(SHAPE, SPACING)[0, 0].numpy() & other.validity(SHAPE, SPACING)[0, 0].numpy()
    checked = 0
    for i, j in np.argwhere(surely):
        row, column = np.round(place[0, i, j]).astype(int)
        if 0 <= row < SHAPE[0] and 0 <= column < SHAPE[1] and other.validity(SHAPE, SPACING)[0, 0, row, column]:
            distance = (shown_by_one[:, i, j] - shown_by_other[:, row, column]).norm()
            assert distance < 1.3 * np.hypot(*SPACING), (i, j)  # the nearest pixel, through a scaled view
            checked += 1
    assert checked > 50
    assert np.allclose(one.correspond(one, SHAPE, SPACING)[0][0, 5, 7], (5, 7))


def test_what_comes_from_outside_the_image_is_not_valid():
    away = Affine2d(np.array([[1.0, 0, EXTENT[1] / 2], [0, 1.0, 0]]))
    valid = away.validity(SHAPE, SPACING)[0, 0]
    assert valid[:, :15].all() and not valid[:, 16:].any()
    far = Affine2d(np.array([[1.0, 0, 10 * EXTENT[1]], [0, 1.0, 0]]))
    assert not far.validity(SHAPE, SPACING).any()
    assert not far.correspond(Affine2d.identity(), SHAPE, SPACING)[1].any()


def test_draws_follow_from_the_generator_and_stay_in_their_ranges():
    assert np.array_equal(drawn(7, 5).matrix, drawn(7, 5).matrix)
    assert not np.array_equal(drawn(7, 5).matrix, drawn(8, 5).matrix)
    many = drawn(0, 500, rotation=0, shear=0, scaling=0.2, shift=0.1, flip=True).matrix
    scale = np.abs(np.linalg.det(many[:, :, :2])) ** 0.5
    assert np.exp(-0.2) <= scale.min() < 0.83 and 1.2 < scale.max() <= np.exp(0.2)
    assert 0.4 < (np.linalg.det(many[:, :, :2]) < 0).mean() < 0.6
    assert np.abs(many[:, 0, 2]).max() <= 0.05 * EXTENT[1] and np.abs(many[:, 1, 2]).max() <= 0.05 * EXTENT[0]
    nothing = drawn(0, 2, rotation=0, shear=0, scaling=0, shift=0, flip=False)
    assert np.allclose(nothing.matrix, Affine2d.identity().matrix)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (13, 1)])
def test_images_of_one_row_or_column_can_be_warped(shape):
    image = torch.rand(1, 2, *shape)
    assert torch.allclose(Affine2d.identity().warp(image, (1.0, 1.0)), image, atol=1e-6)
    assert torch.isfinite(drawn().warp(image, (1.0, 1.0), padding="reflection")).all()


def test_a_matrix_is_immutable_and_must_have_an_inverse():
    with pytest.raises(ValueError):
        Affine2d.identity().matrix[0, 0, 0] = 2
    for wrong in (np.zeros((2, 3)), np.full((2, 3), np.nan), np.eye(3)):
        with pytest.raises(InputError):
            Affine2d(wrong)
    with pytest.raises(InputError, match="3 images"):
        drawn(0, 2).warp(torch.rand(3, 1, 4, 4), (1.0, 1.0))
