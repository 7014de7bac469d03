"""Segment as a whole: an image in, regions and objects on its own voxels out."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from S3NetSegmentLib.engine import Extent, InputError, SegmentSettings, Volume, run_to_end
from S3NetSegmentLib.engine.segment import settings as settings_module
from S3NetSegmentLib.engine.segment.find_regions import find_regions
from S3NetSegmentLib.engine.segment.prompts import Prompts
from S3NetSegmentLib.engine.segment.run import SegmentTask, segment_image

QUICK = SegmentSettings(steps=3, restarts=1)


def dice(a, b):
    return 2 * (a & b).sum() / max(1, a.sum() + b.sum())


def picture(rgb=False, shape=(90, 120)):
    """A bright disk (its mask is returned too) on a noisy background with a dim rectangle."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: shape[0], : shape[1]]
    disk = (y - 40) ** 2 + (x - 70) ** 2 < 20**2
    grey = np.where(disk, 170.0, 60.0)
    grey[5:25, 5:35] = 100
    grey = grey + rng.normal(0, 5, shape)
    array = np.stack([grey, grey * 0.7, grey * 0.5], -1).astype(np.uint8) if rgb else grey.astype(np.int16)
    return Volume(array[None], np.diag((-0.5, -0.5, 3, 1)), "picture"), disk[None]


def ball_volume(spacing=(1.0, 1.0, 2.5)):
    """A bright ball in a dim body in the dark, thick slices."""
    k, j, i = np.mgrid[:24, :60, :64]
    ball = ((k - 12) * spacing[2]) ** 2 + ((j - 28) * spacing[1]) ** 2 + ((i - 34) * spacing[0]) ** 2 < 14**2
    body = ((j - 30) / 26) ** 2 + ((i - 32) / 28) ** 2 < 1
    array = np.where(ball, 300.0, np.where(body, 150.0, 10.0)) + np.random.default_rng(0).normal(0, 12, ball.shape)
    return Volume(array.astype(np.int16), np.diag((-spacing[0], -spacing[1], spacing[2], 1)), "body"), ball


@pytest.mark.parametrize("rgb", [False, True])
def test_a_click_in_a_picture_gives_the_object_there(rgb):
    volume, disk = picture(rgb)
    regions = run_to_end(find_regions(volume, settings=QUICK))
    choice = regions.object_at([(70, 40, 0)])
    assert choice.mask.shape == disk.shape and choice.mask.dtype == bool
    assert dice(choice.mask, disk) > 0.95
    assert choice.mask[0, 40, 70]
    assert len(choice.alternatives) <= 3 and choice.alternatives[0] == choice.index


def test_a_click_in_a_volume_gives_the_object_in_all_its_slices():
    volume, ball = ball_volume()
    choice = run_to_end(find_regions(volume)).object_at([(34, 28, 12)])
    assert choice.mask.shape == ball.shape
    assert dice(choice.mask, ball) > 0.9


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_one_slice_along_any_axis_is_a_picture_in_its_place(axis):
    volume, ball = ball_volume((1.0, 1.0, 1.0))
    centre = {"x": 34, "y": 28, "z": 12}[axis]
    extent = Extent.slab(volume, axis, centre, centre)
    regions = run_to_end(find_regions(volume, extent=extent, axis="auto"))
    assert regions.axis == axis
    choice = regions.object_at([(34, 28, 12)])
    assert choice.mask.shape == ball[extent.slices].shape
    assert dice(choice.mask, ball[extent.slices]) > 0.9


def test_the_ladder_grows_and_the_choice_can_step_along_it():
    volume, _ = picture()
    choice = run_to_end(find_regions(volume)).object_at([(70, 40, 0)])
    areas = [choice.at(n).mask.sum() for n in range(choice.steps)]
    assert choice.steps > 1 and areas == sorted(areas)
    assert choice.at(-5).index == 0 and choice.at(10_000).index == choice.steps - 1


@pytest.mark.parametrize("make", [picture, ball_volume])
def test_an_object_is_found_in_steps_and_then_remembered(make):
    volume, truth = make()
    regions = run_to_end(find_regions(volume))
    k, j, i = (int(n) for n in np.argwhere(truth)[truth.sum() // 2])
    steps = [step.fraction for step in regions.object_steps(Prompts(((i, j, k),)))]
    assert len(steps) >= (8 if truth.shape[0] > 1 else 1)
    assert steps == sorted(steps) and 0 <= steps[0] <= steps[-1] <= 1
    assert not list(regions.object_steps(Prompts(((i, j, k),))))
    assert regions.object_at([(i, j, k)]).index == run_to_end(find_regions(volume)).object_at([(i, j, k)]).index


def test_further_points_add_and_remove_regions():
    volume, disk = picture()
    regions = run_to_end(find_regions(volume))
    both = regions.object_at([(70, 40, 0), (15, 15, 0)]).mask
    assert both[0, 40, 70] and both[0, 15, 15]
    assert dice(both & disk, disk) > 0.9
    without = regions.object_at([(70, 40, 0), (15, 15, 0)], [(12, 12, 0)]).mask
    assert without[0, 40, 70] and not without[0, 12, 12]


def test_regions_are_canonical_complete_and_repeatable():
    volume, _ = picture()
    first, second = (run_to_end(find_regions(volume, settings=SegmentSettings(seed=5))) for _ in range(2))
    for count in first.counts:
        labels = first.labels(count)
        assert labels.dtype == np.uint8 and labels.shape == volume.array.shape
        assert labels.min() >= 1 and labels.max() <= count
        means = [volume.array[labels == v].mean() for v in np.unique(labels)]
        assert means == sorted(means)
        assert np.array_equal(labels, second.labels(count))
    with pytest.raises(InputError, match="7 regions"):
        first.labels(7)


def test_the_same_click_gives_the_same_object_bit_for_bit_with_the_network():
    volume, _ = picture(rgb=True)
    masks = []
    for state in (1, 2):
        np.random.seed(state)  # noqa: NPY002 - global generators must not matter
        __import__("torch").manual_seed(state)
        masks.append(run_to_end(find_regions(volume, settings=QUICK)).object_at([(70, 40, 0)]).mask)
    assert np.array_equal(*masks)


def test_a_picture_with_a_main_object_gets_it():
    volume, disk = picture(rgb=True)
    choice = run_to_end(find_regions(volume, settings=QUICK)).main_object()
    assert choice is not None and dice(choice.mask, disk) > 0.9


def test_the_network_alone_can_be_the_source():
    volume, disk = picture(rgb=True)
    settings = SegmentSettings(sources="s3net")
    regions = run_to_end(find_regions(volume, settings=settings))
    assert regions.labels(2).max() == 2
    assert dice(regions.object_at([(70, 40, 0)]).mask, disk) > 0.85


def test_the_network_fits_one_set_of_regions_for_a_volume():
    volume, _ = ball_volume()
    settings = SegmentSettings(sources="s3net", steps=4, restarts=1, region_counts=(3,))
    labels = run_to_end(find_regions(volume, settings=settings)).labels(3)
    assert labels[12, 28, 34] == 3 and labels[3, 2, 2] == 1 and labels[3, 30, 32] == labels[20, 30, 32]


def test_confidence_is_high_inside_and_lower_at_the_border():
    volume, _ = picture()
    regions = run_to_end(find_regions(volume))
    choice = regions.object_at([(70, 40, 0)])
    radius = np.hypot(*(np.mgrid[:90, :120] - np.array([40, 70])[:, None, None]))[None]
    for confidence in (regions.confidence(choice), regions.confidence(count=2)):
        assert confidence.dtype == np.float32 and confidence.shape == volume.array.shape
        assert 0 <= confidence.min() and confidence.max() <= 1
        assert confidence[radius < 10].mean() > confidence[np.abs(radius - 20) < 1].mean()


def test_a_region_can_be_picked_at_a_voxel():
    volume, disk = picture()
    assert dice(run_to_end(find_regions(volume)).region_at((70, 40, 0), 2), disk) > 0.9


def test_region_segments_lie_on_the_grid_of_the_whole_image():
    volume, _ = ball_volume()
    regions = run_to_end(find_regions(volume, extent=Extent((10, 5, 3), (60, 50, 9))))
    segmentation = regions.region_segmentation(3)
    assert segmentation.layers[0].shape == volume.array.shape
    assert not segmentation.layers[0][:3].any() and segmentation.layers[0][3:9, 5:50, 10:60].all()
    assert [s.name for s in segmentation.segments] == ["Region 1", "Region 2", "Region 3"]


@pytest.mark.parametrize(
    ("array", "count"),
    [
        (np.array([[[0, 1, 5]]], np.uint8), 2),
        (np.where(np.arange(16) < 8, 10, 200).astype(np.uint8).reshape(1, 1, 16).repeat(16, 1).repeat(8, 0), 2),
        (np.random.default_rng(0).integers(0, 255, (1, 4, 4)).astype(np.uint8), None),
    ],
)
def test_an_image_with_fewer_regions_than_asked_for_gets_no_empty_ones(array, count):
    volume = Volume(array, np.diag((-1.0, -1, 1, 1)))
    outcome = run_to_end(segment_image(volume, SegmentTask(regions=8, regions_only=True)))
    found = outcome.segmentation
    voxels = [int(found.mask(s).sum()) for s in found.segments]
    assert all(voxels) and sum(voxels) == array.size and len(voxels) == (count or len(voxels)) < 8
    assert [(s.name, s.value) for s in found.segments] == [(f"Region {n}", n) for n in range(1, len(voxels) + 1)]
    assert outcome.notes[-1:] == [
        f"only {len(voxels)} of 8 regions can be told apart in this image; the others are left out"
    ]


def test_an_object_that_slips_through_the_working_grid_is_no_main_object():
    halves = np.where(np.arange(64) < 32, 10, 200).astype(np.uint8).reshape(1, 1, 64).repeat(64, 1)
    outcome = run_to_end(segment_image(Volume(halves, np.eye(4)), SegmentTask()))
    assert outcome.choice is None
    assert all(outcome.segmentation.mask(s).any() for s in outcome.segmentation.segments)


@pytest.mark.parametrize(
    ("point", "told"),
    [
        ((-20.0, -10.0, 10.0), "if it was given as LPS, write 20,10,10"),
        ((34.0, 28.0, 12.0), "if it is a voxel i,j,k, say so: a pixel 34,28,12"),
        ((500.0, 0.0, 0.0), None),
    ],
)
def test_a_point_outside_is_refused_with_what_it_may_be_instead(point, told):
    volume = Volume(
        ball_volume()[0].array, np.diag((1, 1, 2.5, 1)) if told is None or "LPS" in told else np.diag((-1, -1, 2.5, 1))
    )
    with pytest.raises(InputError, match="is outside image") as error:
        run_to_end(segment_image(volume, SegmentTask(points=(point,))))
    assert str(error.value).endswith(told) if told else "; if it" not in str(error.value)


def test_a_device_that_nothing_is_computed_on_is_told(monkeypatch):
    monkeypatch.setattr("S3NetSegmentLib.engine.common.device.choose_device", torch.device)
    outcome = run_to_end(segment_image(picture()[0], SegmentTask(pixels=((70, 40),)), "cuda"))
    assert outcome.notes == ["this image was segmented without the network, on the CPU; device cuda was not needed"]


def test_a_radius_larger_than_the_image_or_smaller_than_a_voxel_is_told():
    volume, _ = picture()
    outcome = run_to_end(segment_image(volume, SegmentTask(pixels=((70, 40),), radius=500)))
    assert "a radius of 500 mm is more than the image holds, whose diagonal has 75 mm" in outcome.notes
    outcome = run_to_end(segment_image(volume, SegmentTask(pixels=((70, 40),), radius=0.01)))
    assert any("a radius of 0.01 mm is less than a voxel of" in note for note in outcome.notes)
    assert not run_to_end(segment_image(volume, SegmentTask(pixels=((70, 40),), radius=10))).notes


@pytest.mark.parametrize("kind", ["volume", "picture"])
def test_a_label_map_in_the_place_of_the_image_is_noticed(kind):
    volume, mask = ball_volume() if kind == "volume" else picture()
    labels = Volume(mask.astype(np.uint8) * 3, volume.ijk_to_ras, "labels")
    regions = run_to_end(find_regions(labels))
    assert regions.notes == [
        "image 'labels' holds only 2 different values, as label maps do; if it is one, give the image itself"
    ]
    assert not run_to_end(find_regions(volume)).notes


def test_a_setting_of_the_network_alone_is_told_to_have_no_effect_where_no_network_is_asked():
    grey, _ = picture()
    told = run_to_end(find_regions(grey, settings=SegmentSettings(rotation=10.0, restarts=1))).notes
    why = "S3-Net alone reads such settings, and a grey image is segmented without it; choose sources=all to ask S3-Net"
    assert told == [f"restarts, rotation had no effect: {why}"]
    told = run_to_end(find_regions(grey, settings=SegmentSettings(sources="classical", steps=3))).notes
    assert told[0].startswith("steps had no effect: S3-Net alone reads such settings, and sources is classical;")
    asked = dataclasses.replace(QUICK, sources="s3net", steps=2, restarts=1, fit_size=24)
    assert not run_to_end(find_regions(grey, settings=asked)).notes


def test_every_setting_of_the_network_is_known_as_one():
    """A new field that region search without the network reads has to be listed, or it is called idle there."""
    read = set()
    for path in Path(settings_module.__file__).parent.rglob("*.py"):
        if "s3net" not in path.parts and path.name != "settings.py":
            read |= set(re.findall(r"settings\.(\w+)", path.read_text("utf-8")))
    assert read & {f.name for f in dataclasses.fields(SegmentSettings)} == set(settings_module._WITHOUT_NETWORK)


@pytest.mark.parametrize("step", [500, -500])
def test_a_step_beyond_the_candidates_takes_the_last_one_and_says_so(step):
    volume = Volume(np.random.default_rng(0).integers(0, 200, (1, 40, 40)).astype(np.uint8), np.eye(4))
    outcome = run_to_end(segment_image(volume, SegmentTask(pixels=((20, 20),), step=step)))
    assert outcome.choice.index == (outcome.choice.steps - 1 if step > 0 else 0)
    assert any(f"step {step:+d} goes beyond the candidates" in note for note in outcome.notes)


@pytest.mark.parametrize(
    "call, complaint",
    [
        (lambda r: r.object_at([]), "at least one point"),
        (lambda r: r.object_at([(500, 0, 0)]), r"500.*outside the searched part"),
        (lambda r: r.object_at([(70, 40, 0)], [(70, 40, 0)]), "inside and outside at once"),
        (lambda r: r.object_at([(70, 40, 0)], radius_mm=0), "radius is 0"),
        (lambda r: r.object_at([(70, 40, 0)], radius_mm=float("nan")), "radius is nan"),
    ],
)
def test_impossible_points_are_refused(call, complaint):
    regions = run_to_end(find_regions(picture()[0]))
    with pytest.raises(InputError, match=complaint):
        call(regions)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 9), (1, 3, 3), (2, 2, 2), (1, 2, 50), (5, 1, 1), (3, 40, 2)])
def test_tiny_images_give_a_sensible_answer(shape):
    array = np.arange(np.prod(shape), dtype=float).reshape(shape)
    volume = Volume(array, np.eye(4))
    if array.size == 1:
        with pytest.raises(InputError, match="constant"):
            run_to_end(find_regions(volume))
        return
    regions = run_to_end(find_regions(volume))
    voxel = tuple(n // 2 for n in volume.size)
    mask = regions.object_at([voxel]).mask
    assert mask.shape == shape and mask[voxel[::-1]]
    assert regions.labels(2).shape == shape


def test_a_constant_slice_of_a_good_volume_is_refused_with_advice():
    array = np.random.default_rng(0).normal(size=(4, 20, 20))
    array[2] = 0
    volume = Volume(array, np.eye(4))
    with pytest.raises(InputError, match=r"constant.*another slice"):
        run_to_end(find_regions(volume, extent=Extent.slab(volume, "z", 2, 2)))


@pytest.mark.parametrize("spacing", [(12.0, 1.0), (1.0, 12.0)])
def test_an_object_of_pixels_much_longer_than_wide_is_found_to_the_pixel(spacing):
    y, x = np.mgrid[:30, :34]
    disk = ((y - 14) ** 2 + (x - 18) ** 2 < 7.5**2)[None]
    array = np.where(disk, 200.0, 60.0) + np.random.default_rng(0).normal(0, 5, disk.shape)
    regions = run_to_end(find_regions(Volume(array, np.diag((*spacing, 1, 1)), "long pixels"), settings=QUICK))
    mask = regions.object_at([(18, 14, 0)]).mask
    assert np.abs(np.argwhere(mask).mean(0) - np.argwhere(disk).mean(0)).max() < 0.25
    assert dice(mask, disk) > 0.85


@pytest.mark.parametrize("spacing", [(0.001, 0.001, 100), (50, 0.1, 0.1), (1, 1, 1000)])
def test_huge_spacing_ratios_are_survived(spacing):
    array = np.random.default_rng(0).normal(0, 0.1, (6, 30, 30))
    array[2:5, 8:20, 8:20] += 1
    regions = run_to_end(find_regions(Volume(array, np.diag((*spacing, 1.0)))))
    assert regions.object_at([(12, 12, 3)]).mask[3, 12, 12]


def test_an_extent_outside_the_image_is_refused():
    with pytest.raises(InputError, match="does not lie in image 'picture'"):
        run_to_end(find_regions(picture()[0], extent=Extent((0, 0, 0), (500, 10, 1))))


def test_dropping_the_work_half_way_leaves_nothing_running():
    steps = find_regions(picture(rgb=True)[0], settings=QUICK)
    for _ in range(3):
        next(steps)
    steps.close()
    with pytest.raises(StopIteration):
        next(steps)


def test_progress_only_grows():
    fractions = []
    run_to_end(find_regions(ball_volume()[0]), lambda step: fractions.append(step.fraction))
    assert fractions == sorted(fractions) and 0 <= fractions[0] and fractions[-1] <= 1
