"""The preset ``published`` of Few-shot: ALPNet's prototypes as the released program of DINOv2 with ALPNet computes them."""

import dataclasses

import numpy as np
import pytest
import torch
from few_shot_encoders import ignorant, knowing
from few_shot_phantoms import dice, organs
from scipy import ndimage

from S3NetSegmentLib.engine import InputError, run_to_end
from S3NetSegmentLib.engine.common.arrays import LimitedCache
from S3NetSegmentLib.engine.few_shot.method import DrawnSlice, FewShot
from S3NetSegmentLib.engine.few_shot.settings import FewShotSettings, few_shot_preset
from S3NetSegmentLib.engine.few_shot.vote.decision import keep_one_part
from S3NetSegmentLib.engine.few_shot.voters import encoders
from S3NetSegmentLib.engine.few_shot.voters.alpnet import HeadSettings, PrototypeHead, SupportSlice
from S3NetSegmentLib.engine.few_shot.voters.encoders import SliceFeatures
from S3NetSegmentLib.engine.few_shot.voters.making import published_head
from S3NetSegmentLib.engine.images import Volume
from S3NetSegmentLib.engine.images.intensity import intensity_scale
from S3NetSegmentLib.engine.tasks.few_shot import FewShotTask

PUBLISHED = dataclasses.replace(few_shot_preset("published"), encoder_side=84)


@pytest.fixture(autouse=True)
def no_features_of_other_tests():
    encoders.SHARED.clear()


def features_of(volume, encoder, **options):
    return SliceFeatures(volume, intensity_scale(volume), "z", encoder, b"", cache=LimitedCache(10**9), **options)


def answer_of(settings, encoder=None, drawn=(9,)):
    volume, labels = organs()
    tool = FewShot(volume, settings, "z", encoder or knowing(), "cpu")
    tool.set_support([DrawnSlice("z", z, labels[z]) for z in drawn])
    return tool, run_to_end(tool.propagate()), labels


# ---- the head ----


def support(seed, channels=6, side=8, covered=None):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.zeros(side, side)
    mask[covered or (slice(0, 4), slice(0, 4))] = 1
    return SupportSlice(torch.randn(channels, side, side, generator=generator), torch.stack((1 - mask, mask)))


def by_hand(prototypes, query, temperature):
    """The smooth maximum of the published head, in float64: prototypes ``[P, C]``, query ``[C, h, w]``."""
    cells = query.double().flatten(1)
    units = prototypes.double() / prototypes.double().norm(dim=1, keepdim=True)
    likeness = temperature * units @ (cells / cells.norm(dim=0))
    return (likeness.softmax(0) * likeness).sum(0).view(query.shape[1:])


def prototypes_by_hand(one, covered, with_mean):
    """Of a slice whose class fills ``covered`` windows of 2 x 2 cells: their means, and the mean over the class."""
    pooled = torch.nn.functional.avg_pool2d(one.features[None].double(), 2)[0]
    local = pooled[:, covered].T
    if not with_mean:
        return local
    mask = one.coverage[1].double()
    return torch.cat((local, ((one.features.double() * mask).sum((1, 2)) / (mask.sum() + 1e-5))[None]))


def test_the_best_of_two_drawn_slices_counts_and_the_background_is_one_pool():
    shots, query = [support(1), support(2)], torch.randn(6, 8, 8, generator=torch.Generator().manual_seed(3))
    settings = published_head(PUBLISHED)
    assert (settings.window, settings.threshold, settings.temperature, settings.shots) == (2, 0.95, 20.0, "max")
    assert (settings.foreground, settings.background, settings.fallback_window) == ("gridconv+", "gridconv", 4)
    assert (settings.neighbourhood, settings.weighting, settings.adaptive, settings.most_prototypes) == (
        0,
        "none",
        False,
        0,
    )
    scores = PrototypeHead(shots, settings).scores(query[None])[0]
    covered = torch.zeros(4, 4, dtype=torch.bool)
    covered[:2, :2] = True
    own = [by_hand(prototypes_by_hand(one, covered, True), query, 20.0) for one in shots]
    outside = torch.cat([prototypes_by_hand(one, ~covered, False) for one in shots])
    assert torch.allclose(scores[1].double(), torch.maximum(*own), atol=1e-4)
    assert torch.allclose(scores[0].double(), by_hand(outside, query, 20.0), atol=1e-4)
    pooled = PrototypeHead(shots, dataclasses.replace(settings, shots="pooled")).scores(query[None])[0]
    together = torch.cat([prototypes_by_hand(one, covered, True) for one in shots])
    assert torch.allclose(pooled[1].double(), by_hand(together, query, 20.0), atol=1e-4)
    assert torch.equal(pooled[0], scores[0]) and not torch.allclose(pooled[1], scores[1], atol=0.01)


def test_a_segment_that_fills_no_block_of_four_cells_is_left_with_its_mean():
    shot, query = support(1, covered=(slice(0, 2), slice(0, 8))), torch.randn(6, 8, 8)
    scores = PrototypeHead([shot], published_head(PUBLISHED)).scores(query[None])[0]
    mean = prototypes_by_hand(shot, torch.zeros(4, 4, dtype=torch.bool), True)
    assert torch.allclose(scores[1].double(), by_hand(mean, query, 20.0), atol=1e-4)


def test_every_number_of_the_head_is_a_setting():
    changed = dataclasses.replace(
        PUBLISHED, prototype_window=4, prototype_threshold=0.5, prototype_temperature=30.0, foreground="mask", background="mask",
        shots="pooled",
    )  # fmt: skip
    head = published_head(changed)
    assert (head.window, head.threshold, head.temperature, head.shots) == (4, 0.5, 30.0, "pooled")
    assert (head.foreground, head.background) == ("mask", "mask")
    assert published_head(FewShotSettings()) is None
    with pytest.raises(InputError, match="shots is 'mean'"):
        HeadSettings(shots="mean")


# ---- what the encoder sees ----


def test_dinov2_sees_whole_slices_at_252_pixels_as_18_by_18_tokens():
    settings, encoder = few_shot_preset("published"), ignorant()
    volume = Volume(np.random.default_rng(0).random((3, 64, 64)).astype(np.float32), np.eye(4), "square")
    volume.array[:, :, :30] = 0  # the body alone is narrower
    options = {"side": settings.encoder_side, "cells": settings.encoder_grid, "whole": settings.encoder_view == "slice"}
    seen, forward = [], encoder.network.transformer.forward

    def watched(image):
        found = forward(image)
        seen.append((tuple(image.shape[-2:]), tuple(found[0].shape[-2:])))
        return found

    encoder.network.transformer.forward = watched
    features = run_to_end(features_of(volume, encoder, **options).of([1]))
    assert seen == [((252, 252), (18, 18))] and features.shape[-2:] == (32, 32)
    assert features_of(volume, encoder, side=252, cells=32).view.columns[0] > 20


def test_intensities_have_mean_0_and_deviation_1_over_the_volume_and_are_not_scaled_again():
    volume, _ = organs()
    encoder = ignorant().with_zscores()
    features = features_of(volume, encoder, side=56, cells=16, whole=True)
    images = torch.cat([features.image(z) for z in range(len(volume.array))])
    assert abs(float(images.mean())) < 0.05 and abs(float(images.std()) - 1) < 0.1
    seen = []
    encoder.network.transformer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    run_to_end(features.of([4]))
    shown = torch.nn.functional.interpolate(images[4:5], seen[0].shape[-2:], mode="bilinear", align_corners=False)
    assert torch.allclose(seen[0][:, :1], shown, atol=1e-5) and torch.equal(seen[0][0, 0], seen[0][0, 2])


def test_the_weights_are_not_copied_and_the_given_encoder_stays_as_it_is():
    encoder = ignorant()
    other = encoder.with_zscores()
    assert other.is_zscored and not encoder.is_zscored and other.with_zscores() is other
    assert all(a is b for a, b in zip(encoder.network.parameters(), other.network.parameters(), strict=True))
    assert knowing().with_zscores().is_zscored is False  # trained here, on its own scale


def test_features_of_the_two_scales_are_not_mistaken_for_each_other():
    volume, _ = organs()
    encoder, cache = ignorant(), LimitedCache(10**9)
    options = {"side": 56, "cells": 16, "cache": cache}
    one, two = (
        run_to_end(SliceFeatures(volume, intensity_scale(volume), "z", e, b"", **options).of([4]))
        for e in (encoder, encoder.with_zscores())
    )
    assert not torch.allclose(one, two, atol=0.01)


def test_three_slices_are_the_colours_of_one_input_and_an_encoder_trained_here_sees_one():
    volume, _ = organs()
    seen = []

    def features(encoder, number, three=True):
        found = features_of(volume, encoder, side=56, cells=16, three=three)
        seen.append(found.image(number))
        return run_to_end(found.of([number]))

    alone = [features_of(volume, ignorant(), side=56, cells=16).image(n) for n in (3, 4, 5)]
    three, one = features(ignorant(), 4), features(ignorant(), 4, three=False)
    assert torch.equal(seen[0], torch.cat(alone, 1)) and seen[1].shape[1] == 1
    assert not torch.allclose(three, one, atol=0.01)
    features(ignorant(), 0)
    assert torch.equal(seen[2][:, 0], seen[2][:, 1]) and not torch.equal(seen[2][:, 1], seen[2][:, 2])
    features(knowing(), 4)
    assert seen[3].shape[1] == 1


def test_the_setting_reaches_the_encoder():
    _, one, _ = answer_of(dataclasses.replace(PUBLISHED, encoder_grid=16), ignorant())
    _, three, _ = answer_of(dataclasses.replace(PUBLISHED, encoder_grid=16, encoder_slices="three"), ignorant())
    assert not np.array_equal(one.labels, three.labels)


# ---- the whole ----


def test_the_published_way_finds_an_organ_with_features_that_know_it_and_keeps_the_drawing():
    tool, answer, labels = answer_of(dataclasses.replace(PUBLISHED, encoder_grid=42))
    assert answer.mix == {"prototypes": 1.0} and np.array_equal(answer.labels[9], labels[9])
    assert max(dice(answer.labels, labels, c) for c in (1, 2)) > 0.5
    assert tool._maker._settings.slice_smoothing == 0.0


def test_dinov2_gets_zscores_by_the_preset_and_its_own_scale_without():
    assert answer_of(dataclasses.replace(PUBLISHED, encoder_grid=16), ignorant())[0].encoder.is_zscored
    own = dataclasses.replace(PUBLISHED, encoder_grid=16, encoder_input="encoder")
    assert not answer_of(own, ignorant())[0].encoder.is_zscored


def test_scores_are_smoothed_across_slices_only_where_that_is_asked_for():
    plain = answer_of(PUBLISHED)[1].confidence
    smooth = answer_of(dataclasses.replace(PUBLISHED, slice_smoothing=6.0))[1].confidence
    assert not np.allclose(plain, smooth, atol=0.01)


def test_one_part_of_a_segment_stays_in_each_slice():
    _, answer, _ = answer_of(dataclasses.replace(PUBLISHED, largest_component=False))
    _, clean, labels = answer_of(PUBLISHED)

    def most_parts(found):
        planes = [found[z] == c for z in range(len(found)) if z != 9 for c in (1, 2)]
        return max(ndimage.label(plane, np.ones((3, 3)))[1] for plane in planes)

    assert most_parts(answer.labels) > 1 and most_parts(clean.labels) == 1
    assert np.array_equal(clean.labels[9], labels[9])


def test_the_part_with_the_largest_sum_of_probabilities_stays_and_the_sums_follow():
    classes = np.zeros((1, 6, 10), np.uint8)
    classes[0, 0, 0:3] = classes[0, 1, 3] = 1  # four pixels: a corner joins them
    classes[0, 4, 5:10] = 1  # five, less sure
    classes[0, 5, 0] = 2
    sureness = np.where(classes == 1, 0.9, 0.8).astype(np.float32)
    sureness[0, 4, 5:10] = 0.6
    sums = torch.zeros(1, 4, 3)
    keep_one_part(classes, sureness, sums)
    assert classes[0, 0, 0:3].all() and classes[0, 1, 3] == 1 and not classes[0, 4].any() and classes[0, 5, 0] == 2
    assert np.allclose(sureness[0, 4, 5:10], 0.4)
    assert sums[0, :2, 1].tolist() == pytest.approx([3.6, 4.0]) and not sums[0, :, 2].any()


def test_the_preset_is_chosen_by_name_and_its_settings_can_be_changed():
    assert few_shot_preset("default") == FewShotSettings()
    with pytest.raises(InputError, match="default or published"):
        few_shot_preset("paper")
    task = FewShotTask(support=("a.nrrd",), preset="published", settings=("shots=pooled",), seed=3)
    assert task.engine_settings() == dataclasses.replace(few_shot_preset("published"), shots="pooled", seed=3)
    assert task.wants_prototypes and not FewShotTask(support=("a.nrrd",)).wants_prototypes
    wrong = dataclasses.replace(task, encoder="default").contradictions(lambda name: name)
    assert any("needs an encoder" in text for text in wrong)
