"""Losses: reference values, properties, and a gradient where there must be one."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from S3NetSegmentLib.engine.common.affine2d import Affine2d
from S3NetSegmentLib.engine.common.tensors import torch_generator
from S3NetSegmentLib.engine.nets.losses import (
    affine_consistency_loss,
    clustering_loss,
    entropy_floor_loss,
    spatial_consistency_loss,
)

GENERATOR = torch_generator(0, 0)


def random_log_probabilities(*shape):
    return torch.randn(*shape, generator=GENERATOR).log_softmax(1)


def test_clustering_loss_is_the_cross_entropy_to_the_labels_or_to_the_own_argmax():
    log_p = random_log_probabilities(2, 4, 5, 6)
    labels = torch.randint(0, 4, (2, 5, 6), generator=GENERATOR)
    by_hand = -np.mean([log_p[n, labels[n, i, j], i, j] for n in range(2) for i in range(5) for j in range(6)])
    assert clustering_loss(log_p, labels).item() == pytest.approx(by_hand, rel=1e-5)
    assert clustering_loss(log_p).item() == pytest.approx(-log_p.max(1).values.mean().item(), rel=1e-5)


def test_the_entropy_floor_is_one_sided():
    equal = torch.zeros(1, 4, 3, 3).log_softmax(1)
    assert entropy_floor_loss(equal, 0.5) == 0
    one_label = torch.full((1, 4, 3, 3), -50.0)
    one_label[:, 0] = 0
    assert entropy_floor_loss(one_label.log_softmax(1), 0.5).item() == pytest.approx(0.5 * math.log(4), rel=1e-4)
    assert entropy_floor_loss(one_label.log_softmax(1), 0.0) == 0


def test_the_entropy_floor_brings_vanished_labels_back():
    scores = torch.randn(1, 4, 6, 6, generator=GENERATOR)
    scores[:, 0] += 5
    scores.requires_grad_()
    (gradient,) = torch.autograd.grad(entropy_floor_loss(scores.log_softmax(1), 0.9), scores)
    assert gradient[:, 0].sum() > 0 > gradient[:, 1:].sum()  # descent lowers the dominant label and lifts the others


def test_affine_consistency_is_zero_for_a_network_that_commutes_with_the_transformation():
    """A network that looks at single pixels is equivariant to a quarter turn and a mirror, exactly."""
    image = torch.rand(2, 3, 16, 16, generator=GENERATOR)
    head = torch.randn(4, 3, 1, 1, generator=GENERATOR) * 3
    for matrix in ([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]], [[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]):
        affine = Affine2d(np.array(matrix))
        log_p, of_view = (F.conv2d(x, head).log_softmax(1) for x in (image, affine.warp(image, (1.0, 1.0))))
        assert affine_consistency_loss(log_p, of_view, affine, (1.0, 1.0)).abs() < 1e-5
        assert affine_consistency_loss(log_p, log_p, affine, (1.0, 1.0)) > 0.1  # the untransformed answer is wrong


def test_affine_consistency_depends_on_the_transformation():
    log_p, of_view = random_log_probabilities(1, 3, 20, 20), random_log_probabilities(1, 3, 20, 20)
    values = {
        round(affine_consistency_loss(log_p, of_view, a, (1.0, 1.0)).item(), 6)
        for a in (Affine2d.random(torch_generator(seed, 0), (20, 20)) for seed in range(4))
    }
    assert len(values) == 4


def test_affine_consistency_ignores_what_comes_from_outside_the_image():
    shift = Affine2d(np.array([[1.0, 0.0, 10.0], [0.0, 1.0, 0.0]]))  # the view shows columns 10 .. and then nothing
    log_p = random_log_probabilities(1, 3, 20, 20)
    of_view = log_p.roll(-10, 3)
    assert affine_consistency_loss(log_p, of_view, shift, (1.0, 1.0)).abs() < 1e-5
    of_view[..., 10:] = random_log_probabilities(1, 3, 20, 10)
    assert affine_consistency_loss(log_p, of_view, shift, (1.0, 1.0)).abs() < 1e-5
    away = Affine2d(np.array([[1.0, 0.0, 500.0], [0.0, 1.0, 0.0]]))
    assert affine_consistency_loss(log_p, of_view, away, (1.0, 1.0)) == 0  # nothing in common: no loss, and no NaN


def test_affine_consistency_pulls_both_sides():
    scores = [torch.randn(1, 3, 12, 12, generator=GENERATOR, requires_grad=True) for _ in range(2)]
    affine = Affine2d.random(torch_generator(1, 0), (12, 12))
    loss = affine_consistency_loss(*(s.log_softmax(1) for s in scores), affine, (1.0, 1.0))
    assert all(g.abs().sum() > 0.01 for g in torch.autograd.grad(loss, scores))


def test_losses_that_sum_over_labels_add_up_over_heads_side_by_side():
    one, two = random_log_probabilities(1, 3, 9, 9), random_log_probabilities(1, 5, 9, 9)
    image = torch.rand(1, 1, 9, 9, generator=GENERATOR)
    affine = Affine2d.random(torch_generator(2, 0), (9, 9))
    both = torch.cat((one, two), 1)
    spatial = [spatial_consistency_loss(p.exp(), image, (1.0, 1.0), 0.3).item() for p in (one, two, both)]
    turned = [affine_consistency_loss(p, p.flip(2), affine, (1.0, 1.0)).item() for p in (one, two, both)]
    for first, second, together in (spatial, turned):
        assert together == pytest.approx(first + second, rel=1e-4)


def brute_force_spatial(p, image, spacing, contrast):
    total = weights = 0.0
    channels, height, width = image.shape
    for i in range(height):
        for j in range(width):
            for di, dj, distance in ((1, 0, spacing[0]), (0, 1, spacing[1])):
                a, b = i + di, j + dj
                if a < height and b < width:
                    step = ((image[:, i, j] - image[:, a, b]) ** 2).sum()
                    weight = math.exp(-step / (2 * contrast**2 * channels)) / distance
                    total += weight * abs(p[:, i, j] - p[:, a, b]).sum()
                    weights += weight
    return total / weights


def test_spatial_consistency_equals_the_sum_over_all_pairs_of_neighbours():
    p, image = random_log_probabilities(1, 3, 6, 7).exp(), torch.rand(1, 2, 6, 7, generator=GENERATOR)
    expected = brute_force_spatial(p[0].numpy(), image[0].numpy(), (3.0, 0.5), 0.3)
    assert spatial_consistency_loss(p, image, (3.0, 0.5), 0.3).item() == pytest.approx(expected, rel=1e-5)


def test_spatial_consistency_forgives_a_change_at_an_edge_and_across_a_gap():
    labels = torch.zeros(1, 2, 8, 8)
    labels[:, 0, :, :4], labels[:, 1, :, 4:] = 1, 1
    flat, edge = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    edge[..., 4:] = 5
    isotropic = spatial_consistency_loss(labels, flat, (1.0, 1.0), 0.3)
    assert spatial_consistency_loss(labels, edge, (1.0, 1.0), 0.3) < 1e-6 < isotropic
    far_columns = spatial_consistency_loss(labels, flat, (1.0, 10.0), 0.3)
    far_rows = spatial_consistency_loss(labels, flat, (10.0, 1.0), 0.3)
    assert far_columns < isotropic < far_rows  # the change is between columns
    turned = spatial_consistency_loss(labels.transpose(2, 3), flat, (1.0, 1.0), 0.3)
    assert turned.item() == pytest.approx(isotropic.item())


def test_spatial_consistency_has_a_gradient_that_smooths():
    scores = torch.zeros(1, 2, 9, 9)
    scores[0, 0, 4, 4] = 2  # one pixel that disagrees with its surroundings
    scores.requires_grad_()
    loss = spatial_consistency_loss(scores.softmax(1), torch.zeros(1, 1, 9, 9), (1.0, 1.0), 0.3)
    (gradient,) = torch.autograd.grad(loss, scores)
    assert gradient[0, 0, 4, 4] > 0 > gradient[0, 1, 4, 4]


def test_one_pixel_has_no_neighbours_and_no_loss():
    one = torch.zeros(1, 2, 1, 1).log_softmax(1)
    assert spatial_consistency_loss(one.exp(), torch.zeros(1, 1, 1, 1), (1.0, 1.0), 0.3) == 0
