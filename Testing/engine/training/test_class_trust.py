"""How far pseudo-labels deserve trust, class by class."""

import pytest
import torch

from S3NetSegmentLib.engine.training.ideal.finetuning import ClassTrust


def maps(*values):
    return torch.tensor(values).view(1, 1, -1)


def test_the_dice_is_that_of_the_definition_and_skips_unknown_pixels():
    trust = ClassTrust(3)
    trust.observe(maps(0, 1, 1, 2, 2, 2), maps(0, 1, 2, 2, -1, 0))
    assert trust.dice().tolist() == pytest.approx([2 / 3, 2 / 3, 2 / 4])


def test_nothing_deserves_trust_before_anything_was_observed():
    assert ClassTrust(3).weights().tolist() == [0, 0, 0]


def test_a_class_that_is_not_found_gives_no_pseudo_label_and_forbids_the_background():
    trust = ClassTrust(3)
    trust.observe(maps(0, 0, 1, 1, 0, 0), maps(0, 0, 1, 1, 2, 2))
    assert trust.weights().tolist() == [0, 1, 0]


def test_trust_rises_with_dice():
    weights = []
    for right in (2, 4, 6, 8, 10):
        trust = ClassTrust(2)
        truth = maps(*[1] * 10 + [0] * 10)
        found = truth.clone()
        found[..., right:10] = 0
        found[..., 10 : 20 - right] = 1
        trust.observe(found, truth)
        assert trust.dice()[1] == pytest.approx(right / 10)
        weights.append(trust.weights()[1].item())
    assert weights == pytest.approx([0, 0, 0.5, 1, 1], abs=1e-6)


def test_a_class_that_was_never_drawn_does_not_forbid_the_others():
    trust = ClassTrust(3)
    trust.observe(maps(0, 1), maps(0, 1))
    assert trust.weights().tolist() == [1, 1, 0]


def test_what_was_observed_long_ago_is_forgotten():
    trust = ClassTrust(2)
    trust.observe(maps(0, 0, 0), maps(1, 1, 0))
    assert trust.weights()[1] == 0
    for _ in range(40):
        trust.observe(maps(1, 1, 0), maps(1, 1, 0))
    assert trust.dice()[1] > 0.98
