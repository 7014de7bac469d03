"""S3-Net's layers: shapes, equality with their plain definitions, shared statistics, gradients from every loss."""

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
from S3NetSegmentLib.engine.nets.s3net import (
    DilatedDepthwiseConv2d,
    FrozenBatchNorm2d,
    InceptionLargeKernelAttention,
    PointwiseConv2d,
    RegionNetwork,
    S3Net,
    freeze_statistics,
)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch_generator(seed, 0))


def network(responses=(2, 3), seed=0, channels=6, in_channels=4, balanced=False, **options):
    encoder = S3Net(in_channels, channels, **options)
    return RegionNetwork(encoder, responses, balanced=balanced).initialize(torch_generator(seed, 0))


@pytest.mark.parametrize(("size", "dilation"), [(3, 1), (5, 2), (7, 3)])
@pytest.mark.parametrize("shape", [(2, 4, 12, 18), (1, 4, 7, 5), (1, 4, 1, 9), (1, 4, 33, 1), (1, 4, 1, 1)])
def test_the_interleaved_dilated_convolution_equals_the_ordinary_one(size, dilation, shape):
    layer = DilatedDepthwiseConv2d(4, size, dilation)
    x = draw(*shape).requires_grad_()
    plain = F.conv2d(x, layer.weight, layer.bias, padding=dilation * (size // 2), dilation=dilation, groups=4)
    assert torch.allclose(layer(x), plain, atol=1e-5)
    targets = [x, layer.weight]
    for ours, theirs in zip(
        torch.autograd.grad(layer(x).square().sum(), targets),
        torch.autograd.grad(plain.square().sum(), targets),
        strict=True,
    ):
        assert torch.allclose(ours, theirs, atol=1e-3)


def test_the_pointwise_convolution_equals_the_ordinary_one():
    layer = PointwiseConv2d(5, 3)
    x = draw(2, 5, 4, 6)
    assert torch.allclose(layer(x), F.conv2d(x, layer.weight, layer.bias), atol=1e-6)


def test_the_attention_block_follows_its_equation():
    block = InceptionLargeKernelAttention(6)
    x = draw(2, 6, 15, 13)
    u = F.gelu(F.conv2d(x, block.enter.weight, block.enter.bias))
    near = F.conv2d(u, block.local.weight, block.local.bias, padding=2, groups=6)
    seen = [
        F.conv2d(near, b.weight, b.bias, padding=p, dilation=d, groups=6)
        for b, p, d in zip(block.branches, (1, 4, 9), (1, 2, 3), strict=True)
    ]
    weight = torch.cat([g.weight for g in block.gates], 1)  # one 1x1 convolution over all branches
    gate = F.conv2d(torch.cat(seen, 1), weight, block.gates[0].bias)
    y = x + F.conv2d(u * gate, block.leave.weight)
    mean, variance = y.mean((0, 2, 3), keepdim=True), y.var((0, 2, 3), keepdim=True, correction=0)
    assert torch.allclose(block(x), (y - mean) / (variance + 1e-5).sqrt(), atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 4, 1, 9), (2, 4, 7, 5), (1, 4, 33, 1), (1, 4, 24, 17)])
@pytest.mark.parametrize("options", [{}, {"deformable_reach": 2.0}, {"attention": False}, {"blocks": 0}])
def test_the_encoder_keeps_its_protocol_for_any_size(shape, options):
    encoder = S3Net(4, 6, **options)
    (features,) = encoder(draw(*shape))
    assert (encoder.in_channels, encoder.channels, encoder.strides) == (4, (6,), (1,))
    assert features.shape == (shape[0], 6, *shape[2:]) and torch.isfinite(features).all()


def test_each_head_gives_probabilities_of_its_own():
    probabilities = network((2, 3, 5))(draw(2, 4, 9, 8)).exp()
    assert probabilities.shape == (2, 10, 9, 8)
    for part in probabilities.split((2, 3, 5), 1):
        assert torch.allclose(part.sum(1), torch.ones(2, 9, 8), atol=1e-5)


def test_features_of_a_small_image_are_enlarged_under_the_heads():
    net = network()
    small, full = draw(1, 4, 6, 5), draw(1, 4, 18, 15, seed=1)
    (features,) = net.encoder(small)
    enlarged = F.interpolate(features, (18, 15), mode="bilinear", align_corners=False)
    scores = net.head(torch.cat((enlarged, full), 1))
    expected = torch.cat([part.log_softmax(1) for part in scores.split((2, 3), 1)], 1)
    assert torch.allclose(net.heads(features, full), expected, atol=1e-5)


def test_initial_weights_follow_from_the_generator_alone():
    torch.manual_seed(1)
    one = network(seed=3, deformable_reach=2.0).state_dict()
    torch.manual_seed(2)
    same, other = network(seed=3, deformable_reach=2.0).state_dict(), network(seed=4, deformable_reach=2.0).state_dict()
    assert all(torch.equal(one[k], same[k]) for k in one)
    assert not torch.equal(one["encoder.stem.weight"], other["encoder.stem.weight"])
    assert not one["encoder.last.predict.weight"].any()  # the deformable layer starts as an ordinary convolution


def test_prototypes_in_the_heads_are_the_nearest_centre_rule():
    net = network((2, 3))
    centres = [draw(2, 2, seed=1), draw(3, 2, seed=2)]
    net.set_prototypes(centres, first=1, temperature=0.1)
    image = draw(1, 4, 10, 10, seed=3)
    parts = net(image).split((2, 3), 1)
    for part, centre in zip(parts, centres, strict=True):
        distance = (image[:, None, 1:3] - centre[None, :, :, None, None]).square().sum(2)
        assert torch.equal(part.argmax(1), distance.argmin(1))
        assert torch.allclose(part, (-distance / 0.2).log_softmax(1), atol=1e-4)


def test_every_loss_reaches_every_layer_that_can_learn():
    """The published code's affine loss did not reach the layers that give the answer, and its spatial loss nothing."""
    net = network((3,), deformable_reach=2.0)
    image = draw(1, 4, 20, 20)
    affine = Affine2d.random(torch_generator(1, 0), (20, 20))
    log_p = net(image)
    labels = torch.randint(0, 3, (1, 20, 20), generator=torch_generator(2, 0))
    losses = {
        "clustering, given": clustering_loss(log_p, labels),
        "clustering, own": clustering_loss(log_p),
        "entropy": entropy_floor_loss(log_p, 1.0),
        "affine": affine_consistency_loss(log_p, net(affine.warp(image, (1.0, 1.0))), affine, (1.0, 1.0)),
        "spatial": spatial_consistency_loss(log_p.exp(), image[:, :1], (1.0, 1.0), 0.3),
    }
    names, parameters = zip(*net.named_parameters(), strict=True)
    for name, loss in losses.items():
        gradients = torch.autograd.grad(loss, parameters, retain_graph=True)
        silent = [n for n, g in zip(names, gradients, strict=True) if not g.abs().max() > 1e-9]
        assert not silent, (name, silent)


def test_frozen_statistics_do_not_depend_on_the_slices_that_are_looked_at():
    net = network((2,)).requires_grad_(False)
    volume = draw(6, 4, 8, 8) + torch.arange(6.0)[:, None, None, None]
    before = net(volume)
    alone = torch.cat([net(volume[z : z + 1]) for z in range(6)])
    assert not torch.allclose(before, alone, atol=1e-2)  # statistics of each slice: the decision shifts
    freeze_statistics(net, volume)
    after = net(volume)
    assert torch.allclose(after, before, atol=1e-4)  # frozen on the same batch: the same answer
    assert torch.allclose(after, torch.cat([net(volume[z : z + 1]) for z in range(6)]), atol=1e-4)


def test_frozen_statistics_are_saved_with_the_weights():
    net = network((2,)).requires_grad_(False)
    freeze_statistics(net, draw(3, 4, 8, 8) * 2 + 1)
    twin = network((2,), seed=9)
    twin.load_state_dict(net.state_dict())
    x = draw(1, 4, 8, 8, seed=5)
    assert torch.allclose(twin(x), net(x), atol=1e-5)


def test_normalisation_uses_the_batch_until_it_is_frozen():
    layer = FrozenBatchNorm2d(3)
    x = draw(4, 3, 5, 5) * 3 + 2
    assert np.allclose(layer(x).mean((0, 2, 3)).detach(), 0, atol=1e-5)
    assert np.allclose(layer(x).var((0, 2, 3), correction=0).detach(), 1, atol=1e-3)
