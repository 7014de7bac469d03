"""Two voters: appearance, and drawn slices that are carried to the next ones."""

import numpy as np
import pytest
import torch
from few_shot_scenes import Scene, tube

from S3NetSegmentLib.engine import run_to_end
from S3NetSegmentLib.engine.few_shot import frame
from S3NetSegmentLib.engine.few_shot.drawings.drawing import SoftSlice
from S3NetSegmentLib.engine.few_shot.frame import Box, Frame, pixel_features
from S3NetSegmentLib.engine.few_shot.voters.appearance import fit_pixels
from S3NetSegmentLib.engine.few_shot.voters.propagated import carry
from S3NetSegmentLib.engine.images.intensity import intensity_scale


def two_tones(depth=3, size=24):
    image = np.random.default_rng(0).normal(0.3, 0.03, (depth, size, size)).astype(np.float32)
    image[:, 6:16, 8:18] += 0.4
    return image


def drawn(image, z=1):
    """Features of all pixels of a slice, and the memberships of a bright square and its background."""
    features = run_to_end(pixel_features(image, (1.0, 1.0, 1.0)))
    targets = torch.zeros(*image.shape[1:], 2)
    targets[..., 0] = 1
    targets[6:16, 8:18] = torch.tensor([0.0, 1.0])
    return features, features[z].reshape(-1, features.shape[-1]), targets.reshape(-1, 2)


def test_features_of_a_constant_image_are_its_value_or_nothing():
    features = run_to_end(pixel_features(np.full((3, 10, 12), 0.5, np.float32), (2.0, 1.0, 1.0)))
    assert features.shape == (3, 10, 12, 25)
    for number in range(features.shape[-1]):
        channel = features[..., number]
        assert torch.allclose(channel, channel[0, 0, 0].expand_as(channel), atol=1e-3)
        assert min(abs(channel[0, 0, 0] - 0.5), abs(channel[0, 0, 0])) < 2e-3


def test_features_are_computed_in_short_steps_and_are_the_same_for_it(monkeypatch):
    image = np.random.default_rng(1).random((20, 9, 11), np.float32)
    whole = run_to_end(pixel_features(image, (2.0, 1.0, 1.0)))
    monkeypatch.setattr(frame, "_STEP_PIXELS", 300)  # of 1980
    blur, sizes = frame.ndimage.gaussian_filter1d, []

    def noted(part, *arguments, **more):
        sizes.append(part.size)
        return blur(part, *arguments, **more)

    monkeypatch.setattr(frame.ndimage, "gaussian_filter1d", noted)
    steps, seen = pixel_features(image, (2.0, 1.0, 1.0)), []
    assert torch.equal(run_to_end(steps, seen.append), whole)
    assert max(sizes) <= 300 and len(seen) > len(sizes) > 80


def test_features_know_no_position():
    image = two_tones()
    moved = np.roll(image, (0, 2, -3), (0, 1, 2))
    inner = (slice(None), slice(10, 14), slice(10, 14))
    features, shifted = (run_to_end(pixel_features(i, (1.0, 1.0, 1.0))) for i in (image, moved))
    assert torch.allclose(features[inner][..., :3], torch.roll(shifted, (-2, 3), (1, 2))[inner][..., :3], atol=1e-5)


def test_features_of_one_slice_and_of_one_row_are_finite():
    for shape in ((1, 9, 9), (4, 1, 9), (1, 1, 1)):
        features = run_to_end(pixel_features(np.random.default_rng(0).random(shape, np.float32), (1.0, 1.0, 1.0)))
        assert features.shape == (*shape, 25) and torch.isfinite(features).all()


def test_classes_that_look_different_are_told_apart_on_other_slices():
    image = two_tones()
    features, picked, targets = drawn(image)
    classifier = run_to_end(fit_pixels(picked, targets, seed=0, steps=60))
    found = classifier.log_probabilities(features[2]).argmax(-1)
    truth = targets.argmax(1).view(image.shape[1:])
    assert (found == truth).float().mean() > 0.97


def test_probabilities_sum_to_one_and_the_frequency_is_that_of_the_drawing():
    features, picked, targets = drawn(two_tones())
    classifier = run_to_end(fit_pixels(picked, targets, seed=0, steps=25))
    assert torch.allclose(classifier.log_probabilities(features).exp().sum(-1), torch.ones(3, 24, 24), atol=1e-5)
    assert torch.allclose(classifier.frequency, targets.mean(0), atol=1e-6)


def test_the_seed_decides_the_network_and_the_global_random_state_does_not():
    _, picked, targets = drawn(two_tones())
    state = torch.random.get_rng_state()
    first = run_to_end(fit_pixels(picked, targets, seed=3, steps=20)).log_probabilities(picked)
    torch.manual_seed(99)
    second = run_to_end(fit_pixels(picked, targets, seed=3, steps=20)).log_probabilities(picked)
    other = run_to_end(fit_pixels(picked, targets, seed=4, steps=20)).log_probabilities(picked)
    assert torch.equal(first, second) and not torch.equal(first, other)
    torch.random.set_rng_state(state)
    run_to_end(fit_pixels(picked, targets, seed=3, steps=20))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_class_of_a_single_pixel_is_learned_without_failing():
    _, picked, targets = drawn(two_tones())
    targets = torch.zeros_like(targets)
    targets[:, 0] = 1
    targets[130] = torch.tensor([0.0, 1.0])
    classifier = run_to_end(fit_pixels(picked, targets, seed=0, steps=20))
    assert torch.isfinite(classifier.log_probabilities(picked)).all()


def frame_of(scene: Scene) -> Frame:
    height, width = scene.truth.shape[1:]
    return Frame(scene.volume, intensity_scale(scene.volume), "z", Box(0, height, 0, width), (height, width))


def drawn_on(scene: Scene, *indices: int, known=None) -> dict[int, SoftSlice]:
    whole = torch.ones(scene.truth.shape[1:]) if known is None else known
    found = {}
    for z in indices:
        mask = torch.from_numpy((scene.truth[z] == 1).astype(np.float32))
        found[z] = SoftSlice(torch.stack((1 - mask, mask)), whole)
    return found


def carried(scene, drawn, first, last, evidence=None, weight=0.05, blur=0.5):
    return run_to_end(carry(frame_of(scene), drawn, first, last, evidence, weight, blur))


def test_between_two_drawn_slices_the_mask_follows_the_body():
    scene = tube()
    masks = carried(scene, drawn_on(scene, 2, 13), 0, 15)
    assert masks.shape == (16, 2, 40, 40)
    labels = masks.argmax(1).numpy()
    assert min(dice(labels[z], scene.truth[z]) for z in range(16)) > 0.85
    # The tube moves by 6 pixels between them, so that a copy of the nearest drawn slice is worse.
    assert dice(labels[7], scene.truth[7]) > dice(scene.truth[2], scene.truth[7]) + 0.1


def dice(a, b):
    return 2 * np.count_nonzero((a > 0) & (b > 0)) / (np.count_nonzero(a) + np.count_nonzero(b))


def test_beyond_a_single_drawn_slice_it_is_carried_in_both_directions():
    scene = tube()
    labels = carried(scene, drawn_on(scene, 8), 0, 15).argmax(1).numpy()
    assert dice(labels[1], scene.truth[1]) > 0.8 and dice(labels[14], scene.truth[14]) > 0.8


def test_drawn_slices_are_themselves_and_memberships_sum_to_one():
    scene = tube()
    drawn = drawn_on(scene, 3, 9)
    masks = carried(scene, drawn, 0, 15)
    for z in (3, 9):
        assert torch.allclose(masks[z], drawn[z].masks, atol=2e-3)
    assert torch.allclose(masks.sum(1), torch.ones(16, 40, 40), atol=1e-4)


@pytest.mark.parametrize("wanted", [(5, 5), (0, 2), (11, 15)])
def test_a_few_slices_are_the_same_as_those_of_the_whole_volume(wanted):
    scene = tube()
    first, last = wanted
    whole = carried(scene, drawn_on(scene, 3, 10), 0, 15)
    part = carried(scene, drawn_on(scene, 3, 10), first, last)
    assert torch.allclose(part, whole[first : last + 1], atol=1e-5)


def test_an_empty_drawn_slice_stops_what_is_carried():
    scene = tube()
    empty = torch.zeros(2, 40, 40)
    empty[0] = 1
    drawn = drawn_on(scene, 4) | {9: SoftSlice(empty, torch.ones(40, 40))}
    masks = carried(scene, drawn, 0, 15)
    assert not masks[9:, 1].any() and masks[6, 1].sum() > 50


def test_of_a_partial_drawing_only_the_known_part_replaces_what_is_carried():
    scene = tube(drift=0)
    left = torch.zeros(40, 40)
    left[:, :20] = 1
    nothing = torch.zeros(2, 40, 40)
    nothing[0] = 1
    drawn = drawn_on(scene, 4) | {8: SoftSlice(nothing, left)}
    mask = carried(scene, drawn, 0, 15)[8, 1]
    assert not mask[:, :20].any() and mask[:, 20:].sum() > 20


def test_evidence_moves_an_uncertain_edge():
    scene = tube(drift=0)
    against = torch.zeros(16, 2, 40, 40)
    against[:, 1] = -60.0
    plain, pushed = (
        carried(scene, drawn_on(scene, 2), 0, 15, evidence) for evidence in (torch.zeros_like(against), against)
    )
    assert pushed[12, 1].sum() < 0.5 * plain[12, 1].sum()
