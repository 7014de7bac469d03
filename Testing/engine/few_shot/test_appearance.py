"""Appearance: features of pixels, and the small network that learns the drawn classes."""

import numpy as np
import torch

from S3NetSegmentLib.engine import run_to_end
from S3NetSegmentLib.engine.few_shot.frame import pixel_features
from S3NetSegmentLib.engine.few_shot.voters.appearance import fit_pixels


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
