"""The frame: the part of a volume that is worked on, and its coarser working grid."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from few_shot_scenes import tube

from S3NetSegmentLib.engine import Volume, run_to_end
from S3NetSegmentLib.engine.few_shot.frame import GREY_STEPS, Box, DrawnSizes, Frame, drawn_box, work_shape
from S3NetSegmentLib.engine.images.intensity import intensity_scale
from S3NetSegmentLib.engine.images.volume import slices_back, slices_first

LARGE = DrawnSizes(thickness=20.0, side=60.0, scattered=False)


def frame_of(volume, axis="z", box=None, shape=None):
    size = slices_first(volume.array, axis).shape[1:3]
    box = box or Box(0, size[0], 0, size[1])
    return Frame(volume, intensity_scale(volume), axis, box, shape or box.shape)


def labels_at(top, bottom, left, right, shape=(200, 300)):
    image = np.zeros(shape, np.uint8)
    image[top:bottom, left:right] = 1
    return image


def test_the_box_holds_all_drawings_with_a_margin_and_stays_inside_the_slice():
    box = drawn_box([labels_at(50, 90, 100, 120), labels_at(60, 70, 140, 150)], (1.0, 1.0), 0.6)
    assert box.top <= 50 - 30 and box.bottom >= 90 + 30 and box.left <= 100 - 30 and box.right >= 150 + 30
    assert drawn_box([labels_at(0, 200, 0, 300)], (1.0, 1.0), 0.6) == Box(0, 200, 0, 300)


def test_a_slightly_changed_drawing_mostly_keeps_the_box_and_the_grid():
    boxes = [drawn_box([labels_at(50, 90 + n, 100, 130)], (1.0, 1.0), 0.6) for n in range(4)]
    assert len(set(boxes)) <= 2
    shapes = {work_shape(boxes[0], 60, DrawnSizes(18.0 + n, 30.0 + n, False), 300_000, False) for n in range(5)}
    assert len(shapes) == 1


def test_the_working_grid_keeps_to_its_voxels_but_for_thin_and_scattered_segments():
    box = Box(0, 300, 0, 400)
    voxels = lambda shape: 80 * shape[0] * shape[1]  # noqa: E731
    plain = voxels(work_shape(box, 80, LARGE, 300_000, False))
    thin = voxels(work_shape(box, 80, DrawnSizes(2.0, 60.0, False), 300_000, False))
    scattered = voxels(work_shape(box, 80, LARGE, 300_000, True))
    assert plain <= 310_000 < thin <= 700_000 < scattered <= 3_100_000
    assert work_shape(Box(0, 30, 0, 40), 20, LARGE, 300_000, False) == (30, 40)


@pytest.mark.parametrize("axis", "xyz")
def test_slices_come_first_and_go_back_along_every_axis(axis):
    array = np.arange(24).reshape(2, 3, 4)
    first = slices_first(array, axis)
    assert first.shape[0] == array.shape["zyx".index(axis)]
    assert np.array_equal(slices_back(first, axis), array)


def test_intensities_are_whole_steps_from_dark_to_bright():
    frame = frame_of(tube().volume)
    assert frame.native.dtype == np.int16
    low, high = np.percentile(frame.native, (1, 99))
    assert -0.2 * GREY_STEPS <= low < 0.25 * GREY_STEPS < 0.75 * GREY_STEPS < high <= 1.2 * GREY_STEPS
    assert torch.allclose(frame.work, torch.from_numpy(frame.native / GREY_STEPS).float(), atol=1e-6)


def test_invalid_and_coloured_voxels_are_read():
    array = tube().volume.array.copy()
    array[0, 0, 0], array[1, 1, 1] = np.nan, np.inf
    assert np.isfinite(frame_of(Volume(array, np.eye(4))).native).all()
    colours = np.random.default_rng(0).integers(0, 255, (3, 20, 24, 3)).astype(np.uint8)
    assert frame_of(Volume(colours, np.eye(4))).native.shape == (3, 20, 24)


def test_enlarging_a_window_is_the_same_part_of_the_whole_picture():
    frame = frame_of(tube().volume, shape=(17, 13))
    masks = torch.rand(2, 3, 17, 13, generator=torch.Generator().manual_seed(0))
    whole = F.interpolate(masks, (40, 40), mode="bilinear", align_corners=False)
    window = (slice(5, 31), slice(0, 22))
    assert torch.allclose(frame.enlarged(masks, (slice(0, 40), slice(0, 40))), whole, atol=1e-6)
    assert torch.allclose(frame.enlarged(masks, window), whole[:, :, 5:31, :22], atol=1e-6)


def test_slices_are_registered_once_and_in_the_wanted_direction_only():
    frame = frame_of(tube().volume)
    run_to_end(frame.register(2, 6, upwards=True))
    assert [frame.is_registered_onto(z, True) for z in (2, 3, 6, 7)] == [False, True, True, False]
    assert not frame.is_registered_onto(3, False)
    before = frame.field_onto(4, True).clone()
    steps = list(frame.register(2, 6, upwards=True))
    assert not steps and torch.equal(frame.field_onto(4, True), before)


def test_thick_slices_have_a_large_anisotropy():
    thin, thick = (Volume(tube().volume.array, np.diag((1.0, 1.0, mm, 1.0))) for mm in (1.0, 6.0))
    assert frame_of(thin).anisotropy == 1 and frame_of(thick).anisotropy == 3


def test_a_box_grows_on_the_sides_that_the_answer_reaches():
    found = np.zeros((5, 30, 40), bool)
    box = Box(10, 40, 0, 40)
    assert box.grown_to(found, 60, 90) is None
    found[:, 5:25, -3:] = True  # right
    found[:, 10:20, :3] = True  # left, where the slice ends
    assert box.grown_to(found, 60, 90) == Box(10, 40, 0, 53)
    assert box.grown_to(found, 60, 40) is None
