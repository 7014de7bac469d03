"""Dice with cross-entropy, cross pseudo supervision and the ramp; and how far pseudo-labels deserve trust, class by class."""

import pytest
import torch

from S3NetSegmentLib.engine.nets.losses import (
    cross_pseudo_loss,
    dice_and_cross_entropy_loss,
    masked_cross_entropy,
    pseudo_labels,
    ramp,
)
from S3NetSegmentLib.engine.training.ideal.finetuning import ClassTrust


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def sure(labels, classes=3, strength=50.0):
    """Logits that say ``labels`` almost without doubt."""
    return strength * torch.nn.functional.one_hot(labels, classes).permute(0, 3, 1, 2).float()


def test_a_perfect_answer_costs_nothing_and_a_wrong_one_much():
    labels = torch.arange(2 * 4 * 4).view(2, 4, 4) % 3
    assert dice_and_cross_entropy_loss(sure(labels), labels) == pytest.approx(0, abs=1e-5)
    assert dice_and_cross_entropy_loss(sure((labels + 1) % 3), labels) > 10


def test_the_value_is_that_of_the_definition():
    logits, labels = random(2, 3, 5, 4), (random(2, 5, 4, seed=1) > 0).long()
    p = logits.softmax(1)
    entropy = torch.nn.functional.cross_entropy(logits, labels)
    dice = []
    for c in range(3):
        y = (labels == c).float()
        dice.append((2 * (p[:, c] * y).sum() + 1e-5) / (p[:, c].square().sum() + y.sum() + 1e-5))
    expected = 0.5 * entropy + 0.5 * (1 - sum(dice) / 3)
    assert torch.allclose(dice_and_cross_entropy_loss(logits, labels), expected, atol=1e-6)


@pytest.mark.parametrize("way", ["negative label", "mask"])
def test_pixels_that_do_not_count_change_nothing(way):
    logits, labels = random(1, 3, 4, 6), (random(1, 4, 6, seed=1) > 0).long()
    mask = None
    if way == "mask":
        mask = torch.ones(1, 4, 6, dtype=torch.bool)
        mask[..., 3:] = False
        other = labels
    else:
        other = labels.clone()
        other[..., 3:] = -1
    logits.requires_grad_()
    loss = dice_and_cross_entropy_loss(logits, other, mask)
    loss.backward()
    assert torch.allclose(loss, dice_and_cross_entropy_loss(logits[..., :3], labels[..., :3]))
    assert logits.grad[..., 3:].abs().max() == 0
    assert logits.grad[..., :3].abs().max() > 0


def test_a_batch_in_which_no_pixel_counts_costs_nothing():
    logits = random(1, 3, 4, 4).requires_grad_()
    nothing = torch.full((1, 4, 4), -1)
    for loss in (
        dice_and_cross_entropy_loss(logits, nothing),
        masked_cross_entropy(logits, nothing, torch.ones(1, 4, 4, dtype=torch.bool)),
    ):
        loss.backward()
        assert loss == 0
        assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_pseudo_labels_know_where_they_are_sure():
    logits = torch.tensor([[0.0, 3.0], [0.1, 0.0]]).view(1, 2, 1, 2)
    labels, mask = pseudo_labels(logits, 0.9)
    assert labels.tolist() == [[[1, 0]]]
    assert mask.tolist() == [[[False, True]]]
    assert pseudo_labels(logits)[1].all()


def test_unsure_pixels_still_count_in_the_mean_of_the_cross_entropy():
    logits, labels = random(1, 3, 2, 4), torch.zeros(1, 2, 4, dtype=torch.long)
    half = torch.tensor([True, False, True, False]).expand(1, 2, 4)
    whole = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    assert torch.allclose(masked_cross_entropy(logits, labels, half), (whole * half).sum() / 8)


def test_no_gradient_runs_through_the_pseudo_labels():
    first, second = (random(2, 3, 4, 4, seed=s).requires_grad_() for s in (1, 2))
    labels, mask = pseudo_labels(first, 0.3)
    cross_pseudo_loss(first.detach(), second, (labels, mask), pseudo_labels(second)).backward()
    assert first.grad is None
    assert second.grad.abs().max() > 0
    # the gradient of each stream is that of plain cross-entropy to constant labels
    constant = second.detach().clone().requires_grad_()
    torch.nn.functional.cross_entropy(constant, first.argmax(1), reduction="none").mul(mask).mean().backward()
    assert torch.allclose(second.grad, constant.grad, atol=1e-7)


def test_the_cross_loss_is_symmetric_under_a_swap_of_the_streams():
    first, second = random(2, 3, 4, 4, seed=1), random(2, 3, 4, 4, seed=2)
    a, b = pseudo_labels(first, 0.4), pseudo_labels(second, 0.4)
    assert torch.equal(cross_pseudo_loss(first, second, a, b), cross_pseudo_loss(second, first, b, a))
    assert cross_pseudo_loss(first, second, a, b) != cross_pseudo_loss(first, second, b, a)


def test_the_ramp_rises_to_one_at_its_length():
    assert ramp(0.0, 0.4) == pytest.approx(0.0067, abs=1e-4)
    assert ramp(0.2, 0.4) == pytest.approx(0.2865, abs=1e-4)
    assert ramp(0.4, 0.4) == ramp(0.9, 0.4) == ramp(0.0, 0.0) == 1.0


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
