"""IDEAL's fine-tuning: its losses, presets, pseudo-labels, determinism and moving average."""

import dataclasses

import numpy as np
import pytest
import torch

from S3NetSegmentLib.engine.common.errors import InputError
from S3NetSegmentLib.engine.training.ideal import finetuning as ideal_finetuning
from S3NetSegmentLib.engine.training.ideal.finetuning import IdealFinetuning
from S3NetSegmentLib.engine.training.ideal.pretraining import IdealPretraining
from S3NetSegmentLib.engine.training.ideal.settings import FinetuningSettings, finetuning_preset, pretraining_preset
from S3NetSegmentLib.engine.training.trainer.optimisation import measure_statistics

TINY = finetuning_preset("tiny")
CREDULOUS = dataclasses.replace(TINY, trust=False)  # every pseudo-label counts from the first step
PAPER = dataclasses.replace(finetuning_preset("paper"), network="tiny")


def batch(step=0, seed=0, labelled=2, unlabelled=3, size=32):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.zeros(labelled, size, size, dtype=torch.long)
    labels[:, 8:20, 8:24] = 1
    return {
        "labelled": torch.rand(labelled, 1, size, size, generator=generator) * 0.2 + 0.6 * labels[:, None],
        "labels": labels,
        "unlabelled": torch.rand(unlabelled, 1, size, size, generator=generator),
        "valid": torch.ones(unlabelled, 1, size, size, dtype=torch.bool),
        "seed": seed,
        "step": step,
        "rank": 0,
    }


def trusted(task):
    """``task`` whose teacher has found every class on labelled slices."""
    for _ in range(40):
        task.trust.observe(batch()["labels"], batch()["labels"])
    return task


def total(losses):
    return sum(loss for name, loss in losses.items() if not name.startswith("_"))


@pytest.mark.parametrize("settings", [TINY, PAPER], ids=["plus", "paper"])
def test_the_same_batch_gives_the_same_losses_whatever_the_global_random_state(settings):
    results = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        before = torch.get_rng_state()
        results.append(IdealFinetuning(2, settings, seed=3)(batch(), 0.5))
        assert torch.equal(torch.get_rng_state(), before)
    for name, value in results[0].items():
        assert torch.equal(value, results[1][name]), name
    other = IdealFinetuning(2, settings, seed=3)(batch(step=1), 0.5)
    assert not torch.equal(other["supervised"], results[0]["supervised"])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"views": "same", "teacher": "network", "pseudo_dice": False},
        {"trust": False},
        {"mix": "off"},
        {"mix": "unlabelled"},
        {"teacher": "network"},
        {"channel_dropout": True},
        {"streams": "models"},
        {"streams": "models", "channel_dropout": True},
        {"spatial_weight": 0.5},
        {"normalization": "group", "dropout": False, "flip": True},
    ],
)
def test_every_option_teaches_the_network_and_not_its_average(changes):
    task = trusted(IdealFinetuning(2, dataclasses.replace(TINY, threshold=0.0, **changes)))
    losses = task(batch(labelled=4), 1.0)
    total(losses).backward()
    assert losses["unlabelled"] > 0
    assert ("spatial" in losses) is ("spatial_weight" in changes)
    for part in (*task.network.encoders, *task.network.decoders):
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in part.parameters())
    assert all(p.grad is None for p in task.average.parameters())


def test_the_weight_of_the_unlabelled_slices_rises():
    settings = dataclasses.replace(CREDULOUS, threshold=0.0, ramp_share=0.5)
    early, late, end = (IdealFinetuning(2, settings)(batch(), t)["unlabelled"].item() for t in (0.0, 0.5, 1.0))
    assert early == pytest.approx(0.0067379 * late, rel=1e-4)
    assert late == end


def test_without_their_weight_unlabelled_slices_do_not_matter():
    task = IdealFinetuning(2, dataclasses.replace(TINY, unlabelled_weight=0.0))
    losses = task(batch(), 1.0)
    assert list(losses) == ["supervised"]
    alone = batch()
    del alone["unlabelled"], alone["valid"]
    assert torch.equal(task(alone, 1.0)["supervised"], losses["supervised"])


def test_spatial_consistency_alone_needs_unlabelled_slices_too():
    task = IdealFinetuning(2, dataclasses.replace(TINY, unlabelled_weight=0.0, spatial_weight=1.0))
    losses = task(batch(), 1.0)
    assert losses["unlabelled"] == 0
    assert losses["spatial"] > 0


def test_no_pseudo_label_counts_below_the_threshold_or_in_the_padding():
    unsure = IdealFinetuning(2, dataclasses.replace(CREDULOUS, threshold=1.0, mix="off"))
    losses = unsure(batch(), 1.0)
    assert losses["unlabelled"] == losses["_confident"] == 0
    padded = batch()
    padded["valid"][:] = False
    losses = IdealFinetuning(2, dataclasses.replace(CREDULOUS, threshold=0.0, mix="off"))(padded, 1.0)
    assert losses["unlabelled"] == losses["_confident"] == 0


STILL = {"rotation": 0.0, "rotation_steps": 0, "scaling": 0.0, "shear": 0.0, "shift": 0.0, "flip": False}


@pytest.mark.parametrize("settings", [
    dataclasses.replace(CREDULOUS, **STILL, threshold=0.0, mix="off"), dataclasses.replace(PAPER, **STILL, threshold=0.0),
], ids=["plus", "paper"])  # fmt: skip
def test_each_stream_learns_what_the_other_one_believes(monkeypatch, settings):
    seen, crossed = [], ideal_finetuning.cross_pseudo_loss
    monkeypatch.setattr(ideal_finetuning, "cross_pseudo_loss", lambda *a: seen.append(a) or crossed(*a))
    task = IdealFinetuning(8, settings, seed=1)
    shown = batch(step=1)
    task(shown, 1.0)
    first, second, of_first, of_second, _ = seen[0]
    if settings.teacher == "average":
        first, second = task._answers(shown["unlabelled"])
    assert not torch.equal(first.argmax(1), second.argmax(1))
    assert torch.equal(of_first[0], first.argmax(1)) and torch.equal(of_second[0], second.argmax(1))


def test_pixels_without_a_label_are_not_learnt():
    unknown = batch()
    unknown["labels"][:] = -1
    task = IdealFinetuning(2, dataclasses.replace(TINY, unlabelled_weight=0.0))
    assert task(unknown, 1.0)["supervised"].item() == 0


def test_drawn_labels_are_pasted_with_their_slices():
    """All unlabelled slices are padding, so what counts in the mixed view comes from labelled slices."""
    padded = batch(labelled=3, unlabelled=8)
    padded["valid"][:] = False
    for mix, counts in (("both", True), ("unlabelled", False)):
        task = IdealFinetuning(2, dataclasses.replace(CREDULOUS, threshold=1.0, mix=mix))
        assert bool(task(padded, 1.0)["_confident"] > 0.02) is counts


def test_it_is_training_on_labelled_slices_alone_until_the_teacher_deserves_trust():
    alone = IdealFinetuning(2, dataclasses.replace(TINY, unlabelled_weight=0.0), seed=1)
    task = IdealFinetuning(2, TINY, seed=1)
    for step in (1, 2, 3):
        losses, expected = (t(batch(step, labelled=4), 0.5) for t in (task, alone))
        assert losses["_trust"] == 0
        assert "unlabelled" not in losses
        assert torch.equal(losses["supervised"], expected["supervised"])
    assert "unlabelled" in trusted(task)(batch(1, labelled=4), 0.5)


def test_unlabelled_slices_take_the_place_of_labelled_ones(monkeypatch):
    task = trusted(IdealFinetuning(2, TINY))
    sizes = []
    streams = task.network.streams
    monkeypatch.setattr(task.network, "streams", lambda images: sizes.append(len(images)) or streams(images))
    task(batch(step=1, labelled=8, unlabelled=4), 1.0)
    task.trust.overlap.mul_(0.5)  # half trust
    task(batch(step=1, labelled=8, unlabelled=4), 1.0)
    task(batch(step=1, labelled=2, unlabelled=4), 1.0)
    assert sizes == [8, 8, 2]


def test_a_class_that_the_teacher_does_not_find_gives_no_pseudo_labels():
    task = IdealFinetuning(3, dataclasses.replace(TINY, threshold=0.0))
    labels = torch.tensor([0, 1, 2]).repeat(10).view(1, 5, 6)
    task.trust.observe(labels.clamp_max(1), labels)
    known = torch.zeros_like(labels)
    found, weights = task._judged((labels, torch.ones_like(labels, dtype=torch.bool)), known)
    assert torch.equal(found, labels)
    assert (weights[labels == 1] > 0).all()
    assert (weights[labels != 1] == 0).all(), "the background may hide the class that is not found"


def test_trust_comes_from_what_the_teacher_finds_on_labelled_slices():
    task = IdealFinetuning(2, TINY, seed=1)
    task(batch(step=1), 0.0)
    assert task.trust.total.sum() == 0, "not every step looks"
    task(batch(step=4), 0.0)
    pixels = task.trust.total.sum() / 2
    assert 2 * 32 * 32 / 2 < pixels <= 2 * 32 * 32, "the labelled slices, less their margins"


@pytest.mark.parametrize("mix", ["unlabelled", "both"])
def test_image_pseudo_labels_and_confidence_of_the_mixed_view_belong_together(monkeypatch, mix):
    """Every slice is as bright as its class, and its class tells whether it is sure; so it must be after mixing."""
    monkeypatch.setattr(ideal_finetuning, "change_intensities", lambda images, ranges, generator: images)
    task = IdealFinetuning(6, dataclasses.replace(TINY, mix=mix))
    unlabelled, drawn = torch.arange(4), torch.tensor([4, 5])

    def slices(values):
        return values[:, None, None].expand(-1, 32, 32)

    believed = slices(unlabelled)
    other = (believed + 1) % 4  # the second stream believes something else
    targets = [(labels, labels % 2 == 0) for labels in (believed, other)]
    strong, mixed = task._strong_view(
        believed[:, None].float(),
        targets,
        slices(drawn)[:, None].float(),
        slices(drawn),
        torch.Generator().manual_seed(1),
    )
    seen = strong[:, 0].long()
    assert (seen != believed).any(dim=(1, 2)).all(), "something is pasted into every slice"
    assert bool((seen >= 4).any()) is (mix == "both")
    for (labels, sure), shift in zip(mixed, (0, 1), strict=True):
        assert torch.equal(labels, torch.where(seen < 4, (seen + shift) % 4, seen))
        assert torch.equal(sure, torch.where(seen < 4, labels % 2 == 0, True))


def test_the_teacher_is_normalised_by_slices_as_they_are():
    """And not by those that the network learns from, which are turned, shifted and changed in their intensities."""
    task = IdealFinetuning(2, TINY)
    shown = batch(labelled=4, unlabelled=4)
    task(shown, 0.0)
    first = task.average.encoder.levels[0]
    unchanged = first[0](torch.cat((shown["labelled"], shown["unlabelled"])))
    assert torch.allclose(first[1].running_mean, unchanged.mean((0, 2, 3)), atol=1e-5)
    before = first[1].running_mean.clone()
    task.after_step(0.0)
    task(batch(step=1, seed=1), 0.0)
    assert torch.equal(first[1].running_mean, before), "between two looks they stay"
    task(batch(step=4, seed=1, labelled=4, unlabelled=4), 0.0)
    assert not torch.equal(first[1].running_mean, before)
    images = batch(labelled=4)["labelled"]
    answers = [measure_statistics(task.average.train(), images, 0.1)[0] for _ in range(2)]
    assert torch.equal(*answers), "without dropout"


def test_rotations_widen_in_the_first_steps():
    task = IdealFinetuning(2, dataclasses.replace(TINY, rotation=90.0, rotation_steps=100, shear=0.0))
    images = torch.zeros(64, 1, 32, 32)

    def largest(step):
        linear = task._affine(images, step, torch.Generator().manual_seed(1)).matrix[:, :, :2]
        return np.degrees(np.abs(np.arctan2(linear[:, 1, 0], linear[:, 0, 0]))).max()

    assert largest(9) <= 9 + 1e-6
    assert 80 < largest(99) == largest(5000) <= 90 + 1e-6


def test_the_average_answers_and_follows_the_network():
    task = IdealFinetuning(2, dataclasses.replace(TINY, average_decay=0.9), seed=1)
    assert task.predictor() is task.average
    weight = task.network.encoder.levels[0][0].weight
    start = weight.detach().clone()
    with torch.no_grad():
        weight.add_(1.0)
    task.after_step(0.0)
    assert torch.allclose(task.average.encoder.levels[0][0].weight, start + 0.9, atol=1e-6), "1 / 10 is kept at first"
    for _ in range(200):
        task.after_step(0.5)
    assert torch.allclose(task.average.encoder.levels[0][0].weight, start + 1.0, atol=1e-6)
    assert task.predictor()(torch.rand(1, 1, 32, 32)).shape == (1, 2, 32, 32)


def test_a_saved_state_goes_on_as_if_never_stopped():
    def steps(task, numbers):
        optimizer = torch.optim.SGD(task.network.parameters(), lr=0.01)
        for step in numbers:
            optimizer.zero_grad()
            total(task(batch(step), step / 4)).backward()
            optimizer.step()
            task.after_step(step / 4)

    whole = IdealFinetuning(2, TINY, seed=1)
    steps(whole, range(4))
    half = IdealFinetuning(2, TINY, seed=1)
    steps(half, range(2))
    rest = IdealFinetuning(2, TINY, seed=2)
    rest.load_state_dict(half.state_dict())
    steps(rest, range(2, 4))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, rest.state_dict()[name]), name


def test_it_starts_from_a_pre_trained_encoder():
    pretrained = IdealPretraining(pretraining_preset("tiny"), seed=5).predictor()
    task = IdealFinetuning(2, TINY, encoder=pretrained.state_dict())
    for network in (task.network, task.average):
        assert torch.equal(network.encoder.levels[1][0].weight, pretrained.levels[1][0].weight)
    both = IdealFinetuning(2, dataclasses.replace(TINY, streams="models"), encoder=pretrained.state_dict())
    assert len(both.network.encoders) == 2
    for encoder in both.network.encoders:
        assert torch.equal(encoder.levels[1][0].weight, pretrained.levels[1][0].weight)
    assert len(both.parameter_groups()[0]["params"]) == 2 * len(list(pretrained.parameters()))
    slow = IdealFinetuning(2, dataclasses.replace(TINY, encoder_rate=0.3), encoder=pretrained.state_dict())
    assert [group["rate"] for group in slow.parameter_groups()] == [0.3, 1.0]
    fresh = IdealFinetuning(2, dataclasses.replace(TINY, encoder_rate=0.3))
    assert [group["rate"] for group in fresh.parameter_groups()] == [1.0, 1.0]
    trained = sum(p.numel() for group in slow.parameter_groups() for p in group["params"])
    assert trained == sum(p.numel() for p in slow.network.parameters())
    with pytest.raises(InputError, match="another network"):
        IdealFinetuning(2, FinetuningSettings(), encoder=pretrained.state_dict())


def test_the_published_way_keeps_the_weights_themselves_and_turns_and_mirrors_slices_alone(monkeypatch):
    def no_change(*_):
        raise AssertionError("intensities are changed")

    monkeypatch.setattr(ideal_finetuning, "change_intensities", no_change)
    task, drawn = IdealFinetuning(2, PAPER, seed=3), []
    draw = ideal_finetuning.Affine2d.random.__func__
    record = classmethod(lambda cls, *given, **ranges: drawn.append(ranges) or draw(cls, *given, **ranges))
    monkeypatch.setattr(ideal_finetuning.Affine2d, "random", record)
    task(batch(), 0.0)
    assert drawn and all(
        ranges == {"rotation": 20.0, "scaling": 0.0, "shear": 0.0, "shift": 0.0, "flip": True} for ranges in drawn
    )
    with torch.no_grad():
        for parameter in task.network.parameters():
            parameter.add_(0.1)
    task.after_step(0.5)
    kept = zip(task.network.parameters(), task.predictor().parameters(), strict=True)
    assert all(torch.allclose(now, saved) for now, saved in kept)


@pytest.mark.parametrize("settings", [TINY, PAPER], ids=["plus", "paper"])
def test_intensities_are_changed_a_little_where_that_is_asked_for(monkeypatch, settings):
    seen = []
    for wanted in (False, True):
        task = IdealFinetuning(
            2, dataclasses.replace(settings, **STILL, weak_intensities=wanted, unlabelled_weight=0.0)
        )
        streams = task.network.streams
        monkeypatch.setattr(
            task.network, "streams", lambda images, streams=streams: seen.append(images) or streams(images)
        )
        task(batch(step=1), 0.0)
    assert torch.equal(seen[0], batch()["labelled"])
    assert 0.001 < (seen[1] - seen[0]).abs().mean() < 0.2


def test_presets_are_named():
    assert finetuning_preset("plus") == FinetuningSettings()
    assert finetuning_preset("paper").views == "same"
    with pytest.raises(InputError, match="plus, tiny or paper"):
        finetuning_preset("large")
