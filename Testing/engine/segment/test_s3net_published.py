"""The preset ``published``: what the released program of S3-Net does, part by part."""

import dataclasses

import numpy as np
import pytest
import torch

from S3NetSegmentLib.engine import preset, run_to_end
from S3NetSegmentLib.engine.common.affine2d import Affine2d
from S3NetSegmentLib.engine.common.tensors import torch_generator
from S3NetSegmentLib.engine.images.colors import lab_from_rgb, rgb_from_lab
from S3NetSegmentLib.engine.nets.losses import affine_label_loss
from S3NetSegmentLib.engine.nets.s3net import RegionNetwork, S3Net
from S3NetSegmentLib.engine.segment.s3net import fit as fitting
from S3NetSegmentLib.engine.segment.s3net.fit import _LabelWatch, _MomentumDescent, fit_s3net
from S3NetSegmentLib.engine.segment.s3net.input import SliceChannels

CPU = torch.device("cpu")
PUBLISHED = dataclasses.replace(preset("published"), channels=12, fit_size=32)


def disk_stack(channels=3):
    """A bright disk and a middling bar on a dark ground, noisy, ``[1, 48, 60, channels]``."""
    y, x = np.mgrid[:48, :60]
    levels = np.where((y - 24) ** 2 + (x - 18) ** 2 < 144, 0.9, np.where((x >= 42) & (x < 54), 0.5, 0.2))
    stack = levels[None, ..., None] * np.array([1.0, 0.2, -0.2])[:channels]
    return (stack + 0.03 * np.random.default_rng(0).standard_normal(stack.shape)).astype(np.float32)


def fit(stack, settings):
    return steps_of(stack, settings)[0]


def random_rgb(*shape):
    return np.random.default_rng(0).random((*shape, 3)).astype(np.float32)


def steps_of(stack, settings):
    steps = []
    fitted = run_to_end(fit_s3net(stack, (1.0, 1.0, 1.0), settings, CPU), steps.append)
    return fitted, sum("Fitting" in step.message for step in steps)


def test_the_network_sees_blue_green_and_red_from_0_to_1_in_a_square():
    rgb = random_rgb(1, 32, 32)
    channels = SliceChannels(lab_from_rgb(rgb) / np.float32(100), (1.0, 1.0, 1.0), PUBLISHED)
    assert channels.count == 3 and channels.fit_spacing == (1.0, 1.0)
    assert np.allclose(channels.fit[0].permute(1, 2, 0), rgb[0, :, :, ::-1], atol=1e-4)
    wide = SliceChannels(lab_from_rgb(random_rgb(1, 20, 50)) / np.float32(100), (1.0, 2.0, 0.5), PUBLISHED)
    assert wide.fit.shape == (1, 3, 32, 32) and wide.fit_spacing == (1.0, 1.0)
    assert wide.full(0, 1, CPU).shape == (1, 3, 20, 50)


def test_grey_slices_are_seen_as_they_are():
    stack = np.random.default_rng(0).random((1, 32, 32, 1)).astype(np.float32)
    assert np.allclose(SliceChannels(stack, (1.0, 1.0, 1.0), PUBLISHED).fit[0, 0], stack[0, ..., 0])


def test_colours_come_back_from_lab_as_they_were():
    rgb = np.concatenate((random_rgb(500), np.eye(3, dtype=np.float32), np.zeros((1, 3), np.float32)))
    assert np.abs(rgb_from_lab(lab_from_rgb(rgb)) - rgb).max() < 1e-4


def test_labels_are_read_from_normalised_features_alone():
    """64 features to 64 responses in the published size, without an activation between normalisation and head."""
    encoder = S3Net(3, 8, activated=False)
    network = RegionNetwork(encoder, (8,), balanced=True, sees_image=False).initialize(torch_generator(0, 0))
    assert network.head.weight.shape == (8, 8, 1, 1)
    image = torch.rand(1, 3, 16, 16)
    features = encoder(image)[0]
    assert features.min() < -1  # GELU never falls below -0.17
    scores = torch.einsum("oc,nchw->nohw", network.head.weight[:, :, 0, 0], features)
    mean, spread = scores.mean((0, 2, 3), keepdim=True), scores.var((0, 2, 3), correction=0, keepdim=True)
    expected = ((scores - mean) / (spread + 1e-5).sqrt()).log_softmax(1)
    assert torch.allclose(network(image), expected, atol=1e-4)
    assert torch.allclose(network.heads(features, image), network.heads(features, 1 - image))


def test_the_weights_go_down_as_with_sgd_and_the_published_momentum():
    ours, theirs = (torch.nn.Linear(3, 2) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    mine, reference = _MomentumDescent(ours, 0.2), torch.optim.SGD(theirs.parameters(), 0.2, momentum=0.9)
    for step in range(5):
        image = torch.full((4, 3), 0.1 * step)
        mine.step(ours(image).square().mean())
        reference.zero_grad()
        theirs(image).square().mean().backward()
        reference.step()
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_the_fit_builds_that_network(monkeypatch):
    made = []
    monkeypatch.setattr(
        RegionNetwork, "forward", lambda self, x: made.append(self) or self.heads(self.encoder(x)[0], x)
    )
    fit(disk_stack(), dataclasses.replace(PUBLISHED, self_training_steps=1))
    assert made[0].head.weight.shape[:2] == (12, 12) and made[0].head.bias is None
    assert made[0].encoder(torch.rand(1, 3, 32, 32))[0].min() < -0.5


def test_it_ends_when_three_labels_are_left_but_not_before_the_sixth_step():
    watch = _LabelWatch(3)

    def answer(labels):
        one = torch.full((1, 8, 4, 4), -9.0)
        one[0, :, 0, 0] = 0
        for n in range(labels):
            one[0, n, n // 4, n % 4] = 1.0
        return one

    slices = torch.tensor([0])
    assert [watch.still(slices, answer(2), (8,)) for _ in range(6)] == [False] * 5 + [True]
    assert not watch.still(slices, answer(5), (8,)) and watch.still(slices, answer(3), (8,))
    assert all(not _LabelWatch().still(slices, answer(2), (8,)) for _ in range(2))


def test_the_fit_ends_by_that_rule_and_the_labels_that_are_left_are_the_regions():
    stack = disk_stack()
    _, longest = steps_of(stack, dataclasses.replace(PUBLISHED, stop_labels=1, self_training_steps=12))
    _, steps = steps_of(stack, dataclasses.replace(PUBLISHED, stop_labels=9))
    assert longest == 12 and 6 <= steps < 12
    few = dataclasses.replace(PUBLISHED, stop_labels=9, region_counts=(8, 12))  # 12: as many as there are responses
    labels = fit(stack, few).label_maps()[12]
    assert len(np.unique(labels)) <= 10  # the last step still moved the weights


def test_a_turn_by_90_degrees_moves_whole_pixels():
    image = torch.rand(1, 2, 6, 6)
    turned = Affine2d.quarter_turn().warp(image, (1.0, 1.0))
    assert torch.allclose(turned, torch.rot90(image, -1, (2, 3)), atol=1e-5) or torch.allclose(
        turned, torch.rot90(image, 1, (2, 3)), atol=1e-5
    )


def test_the_affine_loss_is_the_cross_entropy_to_the_turned_labels():
    generator = torch.Generator().manual_seed(0)
    here, there = (torch.randn(1, 5, 6, 6, generator=generator).log_softmax(1) for _ in range(2))
    there.requires_grad_(True)
    turn = Affine2d.quarter_turn()
    labels = turn.warp_labels(here.argmax(1), (1.0, 1.0), outside=-1)
    assert (labels >= 0).all()
    loss = affine_label_loss(here, there, turn, (1.0, 1.0))
    assert loss.item() == pytest.approx(-there.detach().gather(1, labels[:, None]).mean().item(), abs=1e-5)
    loss.backward()
    assert there.grad.abs().sum() > 0
    certain = (50 * torch.nn.functional.one_hot(labels, 5).permute(0, 3, 1, 2).float()).log_softmax(1)
    assert affine_label_loss(here, certain, turn, (1.0, 1.0)) < 1e-6


@pytest.mark.parametrize(("name", "entropy"), [("published", 0), ("paper", 1)])
def test_the_loss_is_the_sum_of_its_parts_with_the_published_weights(monkeypatch, name, entropy):
    parts = {
        "clustering": 1.0,
        "affine_label": 10.0,
        "affine_consistency": 10.0,
        "spatial_consistency": 100.0,
        "entropy_floor": 1000.0,
    }
    for part, value in parts.items():
        monkeypatch.setattr(fitting, f"{part}_loss", lambda *_, value=value: torch.tensor(value))
    settings = dataclasses.replace(preset(name), channels=12, fit_size=32)
    channels = SliceChannels(disk_stack(), (1.0, 1.0, 1.0), settings)
    network = fitting._new_network(channels, None, settings, torch_generator(0, 0))
    turn = Affine2d.quarter_turn()
    loss, _ = fitting._loss(network, channels, torch.arange(1), None, True, turn, settings, CPU)
    assert loss.item() == pytest.approx(3.5 * 1 + 0.2 * 10 + 4 * 100 + entropy * 1000)


def test_another_transformation_is_another_loss_and_the_quarter_turn_is_the_published_one(monkeypatch):
    drawn = []
    turn = Affine2d.quarter_turn
    monkeypatch.setattr(Affine2d, "quarter_turn", classmethod(lambda cls: drawn.append("quarter") or turn()))
    settings = dataclasses.replace(PUBLISHED, self_training_steps=2)
    quarter = fit(disk_stack(1), settings)
    assert drawn == ["quarter"] * 2
    free = fit(disk_stack(1), dataclasses.replace(settings, transformation="random"))
    assert len(drawn) == 2 and not np.array_equal(quarter.soft(8), free.soft(8))


def test_each_pixel_has_its_most_probable_cluster_before_clusters_are_merged():
    stack = disk_stack()
    fitted = fit(stack, PUBLISHED)
    assert set(np.unique(fitted.soft(3))) <= {0.0, 1.0} and (fitted.margin(3) == 1).all()
    shares = fit(stack, dataclasses.replace(PUBLISHED, merging="shares"))
    assert len(np.unique(shares.soft(3))) > 2
