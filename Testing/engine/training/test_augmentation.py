"""Random intensities, boxes and CutMix."""

import dataclasses

import pytest
import torch

from S3NetSegmentLib.engine.training.augmentation import STRONG, VIEW, WEAK, change_intensities, mixed, random_boxes

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
