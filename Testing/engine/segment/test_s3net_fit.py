"""Fitting S3-Net to a stack: what it finds, in which order, how repeatably, and what it does when memory runs out."""

import dataclasses

import numpy as np
import pytest
import torch

from S3NetSegmentLib.engine import InputError, ResourceError, SegmentSettings, preset
from S3NetSegmentLib.engine.common.device import BatchFallback
from S3NetSegmentLib.engine.common.progress import run_to_end
from S3NetSegmentLib.engine.nets.s3net import S3Net
from S3NetSegmentLib.engine.segment.regions.clustering import merge_clusters
from S3NetSegmentLib.engine.segment.s3net.fit import fit_s3net
from S3NetSegmentLib.engine.segment.s3net.input import SliceChannels, gaussian, gradient_magnitude, guided_filter

CPU = torch.device("cpu")
QUICK = SegmentSettings(steps=6, restarts=1, region_counts=(2, 3))
PAPER = dataclasses.replace(preset("paper"), channels=12, fit_size=32, self_training_steps=30)


def disk_stack(depth=1, channels=1, size=(48, 60), noise=0.03):
    """A bright disk and a middling bar on a dark ground, noisy; the true labels 0, 1, 2 by intensity."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: size[0], : size[1]]
    truth = np.zeros((depth, *size), int)
    for z in range(depth):
        truth[z][:, 42:54] = 1
        truth[z][(y - 24) ** 2 + (x - 18 - z) ** 2 < 12**2] = 2
    levels = np.array([0.2, 0.5, 0.9])[truth][..., None] * np.array([1.0, 0.6, -0.4])[:channels]
    return (levels + noise * rng.standard_normal(levels.shape)).astype(np.float32), truth


def fit(stack, settings=QUICK, spacing=(1.0, 1.0, 1.0), device=CPU):
    return run_to_end(fit_s3net(stack, spacing, settings, device))


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / max(1, np.count_nonzero(a) + np.count_nonzero(b))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_parts_of_a_simple_picture_become_regions_in_the_order_of_their_intensity(channels):
    stack, truth = disk_stack(channels=channels)
    fitted = fit(stack, SegmentSettings(region_counts=(2, 3), steps=40))
    labels = fitted.label_maps()[3]
    assert labels.shape == truth.shape and labels.dtype == np.uint8
    assert all(dice(labels == k, truth == k) > 0.85 for k in range(3))
    for count, found in fitted.label_maps().items():
        means = [stack[..., 0][found == k].mean() for k in range(count) if (found == k).any()]
        assert means == sorted(means)


def test_one_network_labels_all_slices_of_a_volume_alike():
    stack, truth = disk_stack(depth=9)
    stack[:4, :, :, 0] *= 0.97  # a drift that per-slice statistics would answer with shifted labels
    fitted = fit(stack, dataclasses.replace(QUICK, fit_slices=4), spacing=(3.0, 1.0, 1.0))
    labels = fitted.label_maps()[3]
    assert all(dice(labels[z] == 2, truth[z] == 2) > 0.85 for z in range(9))


def test_the_same_seed_gives_the_same_labels_whatever_the_global_random_state():
    stack, _ = disk_stack(depth=3)
    torch.manual_seed(1)
    first = fit(stack)
    torch.rand(3)
    state = torch.get_rng_state().clone()
    again = fit(stack)
    assert torch.equal(torch.get_rng_state(), state)  # and it does not move that state either
    for count in first.counts:
        assert np.array_equal(first.label_maps()[count], again.label_maps()[count])
        assert np.array_equal(first.soft(count), again.soft(count))
        assert np.array_equal(first.stability(count), again.stability(count))
    other = fit(stack, dataclasses.replace(QUICK, seed=5))
    assert not np.array_equal(first.soft(2), other.soft(2))


def test_threads_and_types_of_torch_stay_as_they_were():
    before = torch.get_num_threads(), torch.get_default_dtype(), torch.are_deterministic_algorithms_enabled()
    fit(disk_stack()[0])
    assert before == (torch.get_num_threads(), torch.get_default_dtype(), torch.are_deterministic_algorithms_enabled())


def test_soft_labels_add_up_and_their_largest_is_the_label():
    stack, _ = disk_stack(depth=2)
    fitted = fit(stack)
    soft = fitted.soft(3)
    assert soft.shape == (2, 3, 48, 60) and soft.dtype == np.float32 and soft.min() >= 0
    assert np.allclose(soft.sum(1), 1, atol=1e-5)
    assert np.array_equal(soft.argmax(1), fitted.label_maps()[3])
    best = np.sort(soft, 1)
    assert np.allclose(fitted.margin(3), best[:, -1] - best[:, -2], atol=1e-6)
    assert np.allclose(fitted.soft(3, 1, 2), soft[1:], atol=1e-5)


def test_confidence_is_high_inside_the_parts_and_low_at_their_borders():
    stack, truth = disk_stack(noise=0.01)
    fitted = fit(stack, SegmentSettings(region_counts=(3,)))
    confidence = fitted.margin(3) * fitted.stability(3)
    assert confidence.shape == truth.shape and 0 <= confidence.min() and confidence.max() <= 1
    y, x = np.mgrid[:48, :60]
    radius = np.hypot(y - 24, x - 18)
    assert confidence[0][radius < 8].mean() > confidence[0][abs(radius - 12) < 1].mean() + 0.1


def test_stability_falls_where_noise_decides():
    stack, _ = disk_stack()
    stack[0, :, :30, 0] = 0.5 + 0.2 * np.random.default_rng(1).standard_normal((48, 30))
    fitted = fit(stack, dataclasses.replace(SegmentSettings(), region_counts=(2,), fit_blur=0.0))
    stability = fitted.stability(2)[0]
    assert stability[:, :26].mean() < stability[:, 34:].mean()


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 1, 1, 3), (3, 1, 1, 1), (1, 1, 9, 1), (1, 33, 1, 3), (2, 7, 5, 1)])
@pytest.mark.parametrize("settings", [QUICK, dataclasses.replace(PAPER, self_training_steps=2, region_counts=(2, 3))])
def test_odd_and_tiny_stacks_are_labelled(shape, settings):
    stack = np.random.default_rng(0).random(shape).astype(np.float32)
    fitted = fit(stack, settings, spacing=(5.0, 1.0, 0.2))
    for count in (2, 3):
        labels = fitted.label_maps()[count]
        assert labels.shape == shape[:3] and labels.max() < count
        assert (
            np.isfinite(fitted.soft(count)).all() and np.isfinite(fitted.margin(count) * fitted.stability(count)).all()
        )


def test_a_stack_without_contrast_is_one_region():
    fitted = fit(np.full((2, 6, 7, 1), 0.4, np.float32))
    assert all(not labels.any() for labels in fitted.label_maps().values())
    assert (fitted.soft(3)[:, 0] == 1).all() and ((fitted.margin(3) * fitted.stability(3)) == 1).all()


def test_a_constant_channel_changes_nothing_and_breaks_nothing():
    stack, truth = disk_stack(channels=3)
    stack[..., 1] = 0.3
    labels = fit(stack, SegmentSettings(region_counts=(3,))).label_maps()[3]
    assert dice(labels == 2, truth == 2) > 0.85


def test_fewer_kinds_of_pixels_than_regions_leave_regions_empty():
    stack = np.zeros((1, 16, 16, 1), np.float32)
    stack[:, :, 8:] = 1
    fitted = fit(stack, dataclasses.replace(QUICK, region_counts=(8,)))
    labels = fitted.label_maps()[8]
    assert not np.intersect1d(labels[:, :, :6], labels[:, :, 10:]).size


def test_it_steps_often_and_says_how_far_it_is():
    steps = []
    settings = dataclasses.replace(QUICK, restarts=2)
    run_to_end(fit_s3net(disk_stack(depth=2)[0], (1.0, 1.0, 1.0), settings, CPU), steps.append)
    fractions = [step.fraction for step in steps]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert sum("Fitting" in step.message for step in steps) == 2 * settings.steps


def test_the_published_way_keeps_several_regions_and_nests_them():
    stack, _ = disk_stack(channels=3)
    maps = fit(stack, dataclasses.replace(PAPER, region_counts=(2, 3, 5))).label_maps()
    assert len(np.unique(maps[3])) == 3  # the published losses end at one or two labels, whatever the picture
    values = stack[..., 0]
    within = sum(((values[maps[5] == k] - values[maps[5] == k].mean()) ** 2).sum() for k in np.unique(maps[5]))
    assert within < 0.5 * ((values - values.mean()) ** 2).sum()
    for fine, coarse in ((5, 3), (3, 2)):
        shares = [np.bincount(maps[coarse][maps[fine] == k]) for k in np.unique(maps[fine])]
        assert all(s.max() > 0.9 * s.sum() for s in shares)  # a region of the finer answer lies in one coarser region


def test_self_training_ends_early_when_the_labels_stand_still():
    steps = []
    settings = dataclasses.replace(QUICK, steps=10, self_training_steps=200, learning_rate=0.01)
    run_to_end(fit_s3net(disk_stack()[0], (1.0, 1.0, 1.0), settings, CPU), steps.append)
    assert sum("Fitting" in step.message for step in steps) < 150


@pytest.mark.parametrize(
    "changes",
    [
        {"attention": False},
        {"deformable": True},
        {"affine_weight": 0.0},
        {"spatial_weight": 0.0},
        {"context_channels": False},
        {"prototypes": "on", "steps": 0},
        {"start": "random", "self_training_steps": 3, "restarts": 2},
        {"blocks": 0},
        {"guided_radius": 0},
        {"self_training_steps": 3},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_part_can_be_switched_off_or_on(changes):
    fitted = fit(disk_stack(channels=3)[0], dataclasses.replace(QUICK, **changes))
    assert len(np.unique(fitted.label_maps()[2])) == 2


def test_prototypes_without_steps_are_k_means():
    """The network then only smooths k-means: the way back to it is part of the recipe."""
    stack, truth = disk_stack()
    labels = fit(stack, dataclasses.replace(QUICK, steps=0, prototypes="on")).label_maps()[3]
    assert all(dice(labels == k, truth == k) > 0.85 for k in range(3))


def test_full_memory_means_fewer_slices_at_once_and_the_same_labels(monkeypatch):
    stack, _ = disk_stack(depth=6)
    settings = dataclasses.replace(QUICK, fit_slices=1)  # the fit itself needs no more than one slice and its view
    expected = fit(stack, settings)
    forward = S3Net.forward

    def small_device(self, image):
        if len(image) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return forward(self, image)

    monkeypatch.setattr(S3Net, "forward", small_device)
    fitted = fit(stack, settings)
    assert any("smaller parts" in note for note in fitted.notes)
    same = np.mean(fitted.label_maps()[2] == expected.label_maps()[2])
    assert same > 0.9  # the statistics now come from fewer slices


def test_full_memory_for_even_one_slice_is_a_clear_error(monkeypatch):
    def no_memory(self, image):
        raise MemoryError

    monkeypatch.setattr(S3Net, "forward", no_memory)
    with pytest.raises(ResourceError, match="fit_size"):
        fit(disk_stack()[0])


def test_a_device_without_memory_or_operation_hands_over_to_the_cpu():
    for error in (torch.cuda.OutOfMemoryError("CUDA out of memory."), NotImplementedError("not for the MPS device")):
        notes, tried = [], []

        def work(device, batch, error=error, tried=tried):
            tried.append((device.type, batch))
            if device.type != "cpu":
                raise error
            return "done"

        fallback = BatchFallback(torch.device("mps"), 4, notes, "fitting")
        assert fallback.run(work) == "done" and fallback.device == CPU
        assert "continued on the CPU" in notes[-1]
        batches = [batch for _, batch in tried]
        assert batches == ([4, 2, 1, 1] if isinstance(error, torch.cuda.OutOfMemoryError) else [4, 4])


def test_other_errors_are_not_taken_for_full_memory():
    def work(device, batch):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        BatchFallback(CPU, 4, [], "fitting").run(work)


@pytest.mark.parametrize(
    ("stack", "spacing", "message"),
    [
        (np.zeros((4, 4), np.float32), (1, 1, 1), "stack"),
        (np.zeros((1, 4, 4, 2), np.float32), (1, 1, 1), "stack"),
        (np.zeros((1, 4, 4, 1)), (1, 1, 1), "float32"),
        (np.full((1, 4, 4, 1), np.nan, np.float32), (1, 1, 1), "finite"),
        (np.zeros((1, 4, 4, 1), np.float32), (1, 0, 1), "spacing"),
    ],
)
def test_unusable_stacks_are_refused(stack, spacing, message):
    with pytest.raises(InputError, match=message):
        fit(stack, spacing=spacing)


def test_counts_and_slices_that_are_not_there_are_refused():
    fitted = fit(disk_stack()[0])
    with pytest.raises(InputError, match="7 regions"):
        fitted.soft(7)
    with pytest.raises(InputError, match="slices 0 to 0"):
        fitted.margin(3, 0, 2)


def test_channels_look_equally_far_across_slices_whatever_their_distance():
    """Along z the volume is a ramp of 1 per mm: one reach up must be the same step for thin and for thick slices."""
    settings = SegmentSettings(fit_size=16)
    steps = []
    for distance in (0.5, 1.0, 4.0):
        z = np.arange(12) * distance
        stack = np.broadcast_to(z[:, None, None, None], (12, 32, 32, 1)).astype(np.float32) / 50
        channels = SliceChannels(np.ascontiguousarray(stack), (distance, 1.0, 1.0), settings)
        full = channels.full(0, 12, CPU)
        assert full.shape == (12, channels.count, 32, 32) and channels.fit.shape == (12, channels.count, 16, 16)
        middle = full[5:7, :, 0, 0]
        up = (middle[:, -1] - middle[:, 0]).mean() / float((full[1, 0] - full[0, 0]).mean() / distance)
        steps.append(float(up))
    assert np.allclose(steps, 2.0, atol=0.01)  # a pixel of the fit is 2 mm wide


def test_gaussian_and_gradient_have_their_reference_values():
    impulse = torch.zeros(1, 1, 41, 41)
    impulse[0, 0, 20, 20] = 1
    blurred = gaussian(impulse, 2.0)[0, 0]
    y, x = np.mgrid[-20:21, -20:21]
    expected = np.exp(-(x**2 + y**2) / 8) / (8 * np.pi)
    assert np.allclose(blurred, expected, atol=1e-4)
    assert torch.equal(gaussian(impulse, 0.0), impulse)
    ramp = torch.from_numpy((3.0 * x + 4.0 * y).astype(np.float32))[None, None]
    assert np.allclose(gradient_magnitude(ramp, 1.0)[0, 0, 8:-8, 8:-8], 5.0, atol=1e-3)


def brute_force_guided(x, guide, radius, smoothness):
    height, width = guide.shape
    slope, offset = np.zeros_like(x), np.zeros_like(x)

    def window(i, j):
        return np.s_[max(0, i - radius) : i + radius + 1, max(0, j - radius) : j + radius + 1]

    for i in range(height):
        for j in range(width):
            g, p = guide[window(i, j)], x[window(i, j)]
            slope[i, j] = ((g * p).mean() - g.mean() * p.mean()) / (g.var() + smoothness)
            offset[i, j] = p.mean() - slope[i, j] * g.mean()
    means = [[(slope[window(i, j)].mean(), offset[window(i, j)].mean()) for j in range(width)] for i in range(height)]
    means = np.array(means)
    return means[..., 0] * guide + means[..., 1]


@pytest.mark.parametrize("shape", [(9, 14), (1, 7), (6, 1)])
def test_the_guided_filter_equals_its_definition(shape):
    rng = np.random.default_rng(0)
    x, guide = rng.random((2, 5, *shape)), rng.random(shape)
    expected = np.stack([[brute_force_guided(c, guide, 3, 0.02) for c in n] for n in x])
    given = torch.from_numpy(guide).expand(2, 1, *shape)
    assert np.allclose(guided_filter(torch.from_numpy(x), given, 3, 0.02), expected, atol=1e-9)
    constant = torch.full((1, 2, *shape), 0.3, dtype=torch.float64)
    assert np.allclose(guided_filter(constant, given[:1], 3, 0.02), 0.3)


def test_merging_joins_the_nearest_first_and_nests():
    means = np.array([[0.0], [0.1], [5.0], [5.2], [9.0]])
    groups = merge_clusters(means, np.ones(5), (2, 3, 4, 8))
    assert groups[3][0] == groups[3][1] != groups[3][2] == groups[3][3] != groups[3][4]
    assert groups[8].tolist() == [0, 1, 2, 3, 4]
    for fine, coarse in ((4, 3), (3, 2)):
        for k in range(fine):
            assert len(set(groups[coarse][groups[fine] == k])) == 1
    small_first = merge_clusters(np.array([[0.0], [1.0], [1.6]]), np.array([100.0, 100.0, 1.0]), (2,))[2]
    assert small_first[1] == small_first[2]
