"""Pictures of results: upright, in true proportions, every segment visible, and colours that can be told apart."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from image_files import random_matrix

from S3NetSegmentLib.engine import InputError, Segment, Segmentation, Volume
from S3NetSegmentLib.engine.images.colors import lab_from_rgb, label_colors
from S3NetSegmentLib.engine.images.overlay import best_slice, draw_overlay, montage

# A block of the patient (RAS, mm): bright corners tell where right, anterior and superior are in a picture.
SIDES = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}


def patient(matrix, size=(20, 24, 28)):
    """A volume on a grid with ``matrix`` axes (columns in voxel order), in which brightness grows to right + 2 anterior
    + 4 superior, so that any side can be read off."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in size[::-1]], indexing="ij")[::-1], -1)
    centre = (np.array(size) - 1) / 2
    ras = (index - centre) @ matrix[:3, :3].T
    return Volume((ras @ (1.0, 2.0, 4.0)).astype(np.float32), matrix)


def gradients(picture):
    """How brightness grows to the right and downwards."""
    grey = picture.astype(float).mean(-1)
    inner = grey[4:-4, 4:-4]
    return np.sign(np.diff(inner, axis=1).mean()), np.sign(np.diff(inner, axis=0).mean())


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("flips", list(product((1, -1), repeat=3)))
def test_every_slice_lies_as_in_slicer_however_the_grid_is_turned(order, flips):
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3)[:, order] @ np.diag(flips) * (1.0, 1.1, 0.9)
    volume = patient(matrix)
    for axis, anatomical in zip("xyz", order, strict=True):
        right, down = gradients(draw_overlay(volume, axis=axis, size=80))
        # axial: left at the right edge, anterior up; coronal: superior up; sagittal: anterior at the left
        assert (right, down) == {2: (-1, -1), 1: (-1, -1), 0: (-1, -1)}[anatomical]


def test_a_sagittal_picture_has_anterior_at_the_left_and_superior_up():
    volume = patient(np.diag([-1.0, -1, 1, 1]))
    layer = np.zeros(volume.array.shape, np.uint8)
    layer[-3:, 10:14, :] = 1  # superior
    layer[10:14, -3:, :] = 2  # posterior, since the second axis points there
    segments = [Segment("superior", (1, 0, 0), 1), Segment("posterior", (0, 0, 1), 2)]
    picture = draw_overlay(volume, Segmentation([layer], segments, volume.ijk_to_ras), axis="x", index=10, size=280)
    red = (picture[..., 0] > 200) & (picture[..., 2] < 50)
    blue = (picture[..., 2] > 200) & (picture[..., 0] < 50)
    assert np.argwhere(red)[:, 0].mean() < 0.2 * picture.shape[0]
    assert np.argwhere(blue)[:, 1].mean() > 0.8 * picture.shape[1]


@pytest.mark.parametrize("seed", range(8))
def test_oblique_grids_are_shown_by_their_nearest_anatomical_axes(seed):
    rng = np.random.default_rng(seed)
    matrix = random_matrix(rng, oblique=False)
    angle = np.radians(15)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    matrix[:3, :3] = turn @ matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    volume = patient(matrix)
    for axis in "xyz":
        assert gradients(draw_overlay(volume, axis=axis, size=80))[1] == -1


def test_a_plain_picture_stays_upright_and_unmirrored():
    pixels = np.zeros((1, 30, 40, 3), np.uint8)
    pixels[0, :10, :10] = 255, 0, 0  # red at the top left
    picture = draw_overlay(Volume(pixels, np.diag([-1.0, -1, 1, 1])), size=160)
    assert picture.shape == (120, 160, 3)
    assert tuple(picture[5, 5]) == (255, 0, 0)
    assert picture[60:, :].max() == 0 and picture[:, 80:].max() == 0


def test_proportions_follow_the_voxel_sizes():
    volume = Volume(np.random.default_rng(0).normal(size=(10, 50, 100)), np.diag([1.0, 4.0, 5.0, 1]))
    assert draw_overlay(volume, axis="z", size=200).shape == (200, 100, 3)
    assert draw_overlay(volume, axis="y", size=200).shape == (100, 200, 3)
    assert draw_overlay(volume, axis="x", size=200).shape == (50, 200, 3)
    thread = Volume(np.random.default_rng(0).normal(size=(1, 1, 400)), np.eye(4))
    assert draw_overlay(thread, size=200).shape == (25, 200, 3)
    assert draw_overlay(Volume(np.zeros((1, 1, 1)), np.eye(4)), size=64).shape == (64, 64, 3)


def test_outline_fill_and_untouched_image_have_their_colours():
    array = np.full((1, 64, 64), 100, np.uint8)
    array[0, 0] = 0
    array[0, -1] = 200
    layer = np.zeros(array.shape, np.uint8)
    layer[0, 16:48, 16:48] = 3
    volume = Volume(array, np.diag([-1.0, -1, 1, 1]))
    segmentation = Segmentation([layer], [Segment("a", (1.0, 0.0, 0.0), 3)], volume.ijk_to_ras)
    plain = draw_overlay(volume, size=256)
    drawn = draw_overlay(volume, segmentation, size=256, fill=0.5, outline=2)
    np.testing.assert_array_equal(drawn[:60], plain[:60])
    assert tuple(drawn[65, 128]) == (255, 0, 0)
    middle = plain[128, 128].astype(float)
    np.testing.assert_allclose(drawn[128, 128], 0.5 * middle + (127.5, 0, 0), atol=1)
    outline = (drawn == (255, 0, 0)).all(-1)
    assert 2 <= outline[:, 128].sum() // 2 <= 3  # two sides of the square
    assert not (draw_overlay(volume, segmentation, size=256, outline=0) == (255, 0, 0)).all(-1).any()


def test_an_object_at_the_edge_of_the_picture_gets_no_line_along_the_edge():
    layer = np.ones((1, 32, 32), np.uint8)
    volume = Volume(np.random.default_rng(0).normal(size=layer.shape), np.eye(4))
    segmentation = Segmentation([layer], [Segment("all", (0.0, 1.0, 0.0), 1)], np.eye(4))
    assert not (draw_overlay(volume, segmentation, size=64) == (0, 255, 0)).all(-1).any()


def test_overlapping_segments_show_both_outlines():
    first, second = np.zeros((2, 1, 64, 64), np.uint8)
    first[0, 8:40, 8:40] = 1
    second[0, 24:56, 24:56] = 1
    segments = [Segment("a", (1.0, 0, 0), 1, 0), Segment("b", (0, 1.0, 0), 1, 1)]
    volume = Volume(np.random.default_rng(0).normal(size=first.shape), np.diag([-1.0, -1, 1, 1]))
    picture = draw_overlay(volume, Segmentation([first, second], segments, volume.ijk_to_ras), size=256)
    assert tuple(picture[130, 158]) == (255, 0, 0)  # the red edge, inside the green square
    assert tuple(picture[130, 97]) == (0, 255, 0)  # the green edge, inside the red square


def test_a_single_voxel_stays_visible_when_the_image_is_shrunk():
    layer = np.zeros((1, 2000, 2000), np.uint8)
    layer[0, 1000, 1000] = 1
    volume = Volume(np.zeros(layer.shape, np.uint8), np.diag([-1.0, -1, 1, 1]))
    segmentation = Segmentation([layer], [Segment("dot", (1.0, 1.0, 0), 1)], volume.ijk_to_ras)
    yellow = (draw_overlay(volume, segmentation, size=128) == (255, 255, 0)).all(-1)
    assert 1 <= yellow.sum() <= 4 and yellow[60:68, 60:68].any()


def test_the_slice_with_most_labels_is_shown_unless_one_is_asked_for():
    layer = np.zeros((9, 8, 7), np.uint8)
    layer[6, 2:6, 2:6] = layer[2, 3, 3] = 1
    volume = Volume(np.random.default_rng(0).normal(size=layer.shape), np.eye(4))
    segmentation = Segmentation([layer], [Segment("a", (1.0, 0, 0), 1)], np.eye(4))
    assert best_slice(volume, segmentation, "z") == 6
    assert best_slice(volume, segmentation, "y") in range(2, 6)
    assert best_slice(volume, None, "z") == 4
    np.testing.assert_array_equal(draw_overlay(volume, segmentation), draw_overlay(volume, segmentation, index=6))
    assert not np.array_equal(draw_overlay(volume, segmentation), draw_overlay(volume, segmentation, index=2))


def test_points_are_marked_in_their_slice_only():
    volume = Volume(np.full((5, 40, 40), 50.0), random_matrix(np.random.default_rng(1)))
    plain = draw_overlay(volume, axis="z", index=2)
    inside = draw_overlay(volume, axis="z", index=2, points=[volume.ras_of((10, 30, 2))])
    outside = draw_overlay(volume, axis="z", index=2, not_points=[volume.ras_of((10, 30, 2))])
    elsewhere = draw_overlay(volume, axis="z", index=3, points=[volume.ras_of((10, 30, 2))])
    np.testing.assert_array_equal(elsewhere, plain)
    white_in, white_out = ((p == 255).all(-1).sum() for p in (inside, outside))
    assert white_in > 1.5 * white_out > 0


def test_the_mark_of_a_point_lies_on_its_voxel():
    layer = np.zeros((1, 40, 40), np.uint8)
    layer[0, 31, 7] = 1
    for seed in range(6):
        matrix = random_matrix(np.random.default_rng(seed), oblique=False)
        volume = Volume(np.full(layer.shape, 50.0), matrix)
        segmentation = Segmentation([layer], [Segment("a", (1.0, 0, 0), 1)], matrix)
        labelled = np.argwhere((draw_overlay(volume, segmentation, outline=9) == (255, 0, 0)).all(-1)).mean(0)
        marked = draw_overlay(volume, points=[volume.ras_of((7, 31, 0))])
        np.testing.assert_allclose(np.argwhere((marked == 255).all(-1)).mean(0), labelled, atol=1.5)


def test_ct_is_shown_in_a_soft_tissue_window():
    rng = np.random.default_rng(0)
    array = rng.integers(-1000, 1500, (1, 32, 32)).astype(np.int16)
    array[0, 8:16, 8:16], array[0, 16:24, 8:16] = -160, 240
    picture = draw_overlay(Volume(array, np.diag([-1.0, -1, 1, 1]), modality="CT"), size=320)
    assert picture[120, 120, 0] == 0
    assert picture[200, 120, 0] == 255


def test_constant_and_broken_images_are_drawn_too():
    for array in (np.zeros((1, 8, 8)), np.full((1, 8, 8), np.nan), np.full((1, 8, 8, 3), 7, np.uint8)):
        assert (draw_overlay(Volume(array, np.eye(4)), size=32) == 128).all()
    array = np.random.default_rng(0).normal(size=(1, 8, 8))
    array[0, 0, 0], array[0, 0, 7], array[0, 7, 0] = np.nan, np.inf, -np.inf
    picture = draw_overlay(Volume(array, np.diag([-1.0, -1, 1, 1])), size=64)
    assert (picture[0, 0, 0], picture[0, -1, 0], picture[-1, 0, 0]) == (0, 255, 0)


def test_wrong_requests_are_refused():
    volume = Volume(np.random.default_rng(0).normal(size=(3, 4, 5)), np.eye(4))
    other = Segmentation([np.ones((2, 4, 5), np.uint8)], [], np.eye(4))
    with pytest.raises(InputError, match="draw it on the image it belongs to"):
        draw_overlay(volume, other)
    for request, text in (
        ({"axis": "w"}, "axis"),
        ({"index": 3}, "slices 0 to 2"),
        ({"index": -1}, "slices"),
        ({"size": 3}, "16"),
    ):
        with pytest.raises(InputError, match=text):
            draw_overlay(volume, **request)
    with pytest.raises(InputError, match="montage"):
        montage([], 2)


def test_a_montage_puts_pictures_of_any_size_side_by_side():
    red = np.zeros((10, 20, 3), np.uint8) + np.array([255, 0, 0], np.uint8)
    grey = np.full((30, 8), 90, np.uint8)
    sheet = montage([red, grey, red], 2, gap=4)
    assert sheet.shape == (30 + 4 + 10, 20 + 4 + 8, 3)
    assert tuple(sheet[15, 10]) == (255, 0, 0) and tuple(sheet[0, 28]) == (90, 90, 90)
    assert tuple(sheet[0, 0]) == tuple(sheet[31, 10]) == (255, 255, 255)
    np.testing.assert_array_equal(montage([red], 5), red)


def test_label_colours_are_distinct_stable_and_visible_on_grey():
    colors = np.array(label_colors(24))
    assert ((colors >= 0) & (colors <= 1)).all()
    lab = lab_from_rgb(colors)
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=-1) + 1e9 * np.eye(24)
    assert apart.min() > 15
    assert (lab[:, 0] > 35).all() and (np.hypot(lab[:, 1], lab[:, 2]) > 20).all()
    assert label_colors(5) == label_colors(60)[:5]
    assert len(set(label_colors(256))) == 256
    assert len(label_colors(1000)) == 1000
    assert label_colors(0) == []
