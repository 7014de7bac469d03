"""Random intensities, boxes and CutMix; and two views of the same slices: exact correspondences, padding, places at the same height,
drawn cells."""

import dataclasses

import pytest
import torch

from S3NetSegmentLib.engine.common.affine2d import Affine2d
from S3NetSegmentLib.engine.training.ideal.contrast import (
    View,
    correspondences,
    drawn_cells,
    near_on_slice,
    sample_cells,
)
from S3NetSegmentLib.engine.training.slices.augmentation import (
    STRONG,
    VIEW,
    WEAK,
    change_intensities,
    mixed,
    random_boxes,
)

NOTHING = dataclasses.replace(WEAK, gamma=0.0, brightness=0.0, contrast=0.0, blur=0.0, noise=0.0, bias=0.0, cut_out=0.0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images(count=6, channels=1, height=32, width=24):
    return torch.rand(count, channels, height, width, generator=generator(9))


@pytest.mark.parametrize("ranges", [WEAK, STRONG, VIEW])
def test_the_same_generator_gives_the_same_images_and_another_one_others(ranges):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    a, b, c = (change_intensities(images(), ranges, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.isfinite(a).all()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_strong_change_is_stronger_than_a_weak_one():
    change = [(change_intensities(images(32), r, generator()) - images(32)).abs().mean() for r in (WEAK, STRONG)]
    assert change[1] > 2 * change[0] > 0


def test_every_operation_does_something_and_none_does_nothing():
    assert torch.allclose(change_intensities(images(), NOTHING, generator()), images(), atol=1e-6)
    for name, reach in {
        "gamma": 0.5, "brightness": 0.2, "contrast": 0.5, "blur": 1.0, "noise": 0.1, "bias": 0.3, "cut_out": 0.5,
    }.items():  # fmt: skip
        ranges = dataclasses.replace(NOTHING, probability=1.0, **{name: reach})
        assert (change_intensities(images(), ranges, generator()) - images()).abs().max() > 0.01, name


def test_the_probability_says_how_many_images_are_changed():
    ranges = dataclasses.replace(NOTHING, brightness=0.3, probability=0.25)
    moved = change_intensities(images(2000, height=2, width=2), ranges, generator()) - images(2000, height=2, width=2)
    assert (moved.abs().amax((1, 2, 3)) > 1e-6).float().mean() == pytest.approx(0.25, abs=0.03)


def test_about_as_many_images_are_cut_as_asked_for():
    ranges = dataclasses.replace(NOTHING, cut_out=0.3, probability=0.8)
    moved = change_intensities(images(1000, height=16, width=16), ranges, generator()) - images(
        1000, height=16, width=16
    )
    assert (moved.abs().amax((1, 2, 3)) > 1e-6).float().mean() == pytest.approx(0.3, abs=0.05)


def test_a_blur_keeps_the_mean_of_a_flat_image_and_calms_noise():
    ranges = dataclasses.replace(NOTHING, blur=2.0, probability=1.0)
    flat = torch.full((3, 2, 20, 20), 0.4)
    assert torch.allclose(change_intensities(flat, ranges, generator()), flat, atol=1e-6)
    noise = torch.rand(8, 1, 40, 40, generator=generator(3))
    assert (change_intensities(noise, ranges, generator()).std((1, 2, 3)) < noise.std((1, 2, 3))).all()


def test_channels_of_an_image_are_changed_alike():
    grey = images().expand(-1, 3, -1, -1).contiguous()
    quiet = dataclasses.replace(STRONG, noise=0.0)
    result = change_intensities(grey, quiet, generator())
    assert torch.allclose(result[:, 0], result[:, 2], atol=1e-6)


def test_boxes_have_the_share_asked_for_and_lie_anywhere():
    boxes = random_boxes(500, (40, 60), generator(), share=(0.1, 0.4))
    assert boxes.shape == (500, 1, 40, 60)
    share = boxes.float().mean((1, 2, 3))
    assert share.min() > 0.06
    assert share.max() < 0.45
    assert share.mean() == pytest.approx(0.25, abs=0.02)
    everywhere = boxes.float().mean((0, 1))
    assert everywhere.amax(0).min() > 0
    assert everywhere.amax(1).min() > 0
    rows, columns = boxes[0, 0].any(1), boxes[0, 0].any(0)
    assert torch.equal(boxes[0, 0], rows[:, None] & columns[None])


def test_image_label_and_confidence_are_mixed_by_the_same_box():
    boxes = random_boxes(4, (32, 24), generator())
    outside, inside = torch.zeros(4, 1, 32, 24), torch.ones(4, 1, 32, 24)
    image = mixed(outside, inside, boxes)
    labels = mixed(outside[:, 0].long(), inside[:, 0].long(), boxes)
    sure = mixed(outside[:, 0].bool(), inside[:, 0].bool(), boxes)
    assert 0 < image.mean() < 1
    assert torch.equal(image[:, 0].long(), labels)
    assert torch.equal(labels.bool(), sure)
    assert torch.equal(sure, boxes[:, 0])


def coordinate_ramp(height, width):
    """An image that shows at each pixel its own (row, column)."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack((rows, columns)).float()[None]


@pytest.mark.parametrize("stride", [1, 8])
def test_corresponding_cells_show_the_same_place_also_when_mirrored(stride):
    generator, size, count = torch.Generator().manual_seed(4), (64, 48), 12
    ranges = {"rotation": 30.0, "scaling": 0.25, "shear": 0.1, "shift": 0.15, "flip": True}
    affines = [Affine2d.random(generator, size, count, **ranges) for _ in range(2)]
    assert all((torch.tensor(a.matrix[:, :, :2]).det() < 0).any() for a in affines), "some are mirrored"
    ramp = coordinate_ramp(*size).expand(count, -1, -1, -1)
    cells, whole, views = [], [], []
    for affine in affines:
        warped = affine.warp(ramp, (1.0, 1.0))
        cells.append(torch.nn.functional.avg_pool2d(warped, stride))
        shown = affine.warp(torch.ones(count, 1, *size), (1.0, 1.0))
        whole.append(torch.nn.functional.avg_pool2d(shown, stride)[:, 0] > 1 - 1e-6)
        views.append(View(affine, warped, shown))
    places, shared = correspondences(*views, stride)
    height, width = whole[0].shape[1:]
    # away from the rim of the key view and of the image, the ramp is linear, so bilinear sampling is exact
    row, column = places.unbind(-1)
    shared = shared & (row >= 0) & (row <= height - 1) & (column >= 0) & (column <= width - 1)
    shared &= whole[0] & (sample_cells(whole[1][:, None].float(), places)[:, 0] > 1 - 1e-6)
    assert shared.float().mean() > 0.2
    error = (sample_cells(cells[1], places) - cells[0]).abs().amax(1)[shared]
    assert error.max() < 2e-4


def test_padding_is_neither_asked_nor_a_place_to_be_found():
    generator, count, size = torch.Generator().manual_seed(4), 6, (64, 64)
    affine = Affine2d.random(generator, size, count, rotation=20.0)
    everything = torch.ones(count, 1, *size)
    half = everything.clone()
    half[..., 32:] = 0
    query, key = View(Affine2d.identity(), everything, everything), View(affine, everything, half)
    places, shared = correspondences(query, key, 8)
    assert shared.any()
    assert (places[shared][:, 1] <= 3.5 + 1e-4).all()
    _, shared = correspondences(dataclasses.replace(query, shown=half), key, 8)
    assert shared.any()
    assert not shared[:, :, 4:].any()


def test_near_places_are_told_one_pair_at_a_time():
    """What each cell shows is read off a warped coordinate ramp, away from the rim where cells show a mixture."""
    generator, size, count, stride = torch.Generator().manual_seed(4), (64, 48), 3, 8
    ramp = coordinate_ramp(*size).expand(count, -1, -1, -1)
    views, shown = [], []
    for _ in range(2):
        affine = Affine2d.random(generator, size, count, rotation=20.0, scaling=0.1, shift=0.1)
        views.append(View(affine, ramp, affine.warp(torch.ones(count, 1, *size), (1.0, 1.0))))
        shown.append(torch.nn.functional.avg_pool2d(affine.warp(ramp, (1.0, 1.0)), stride))
    whole = [torch.nn.functional.avg_pool2d(view.shown, stride)[:, 0] > 1 - 1e-6 for view in views]
    cells = whole[1].flatten().nonzero()[:, 0][::5]
    found = near_on_slice(*views, stride, whole[0], cells, 1.5)
    places, there = shown[0].permute(0, 2, 3, 1)[whole[0]], shown[1].permute(0, 2, 3, 1).flatten(0, 2)[cells]
    assert found.any()
    assert not found.all()
    for q, place in enumerate(places.tolist()):
        for k, other in enumerate(there.tolist()):
            far = max(abs(place[0] - other[0]), abs(place[1] - other[1])) / stride
            if abs(far - 1.5) > 1e-3:
                assert bool(found[q, k]) is (far < 1.5)


def test_cells_are_drawn_without_replacement_and_up_to_the_limit():
    cells = torch.rand(3, 5, 7, generator=torch.Generator().manual_seed(1)) > 0.5
    for limit in (1, 10, int(cells.sum()), 1000):
        drawn = drawn_cells(cells, limit, torch.Generator().manual_seed(2))
        assert not (drawn & ~cells).any()
        assert drawn.sum() == min(limit, int(cells.sum()))
