"""The U-Net: sizes, protocol, two different decoders, first weights from a seed."""

import pytest
import torch

from S3NetSegmentLib.engine.common.errors import InputError
from S3NetSegmentLib.engine.nets.unet import CHANNELS, TwoStreamUNet, UNetDecoder, UNetEncoder, seeded
from S3NetSegmentLib.engine.training.model.model_file import build_network, describe_network, network_tensors
from S3NetSegmentLib.engine.training.trainer.optimisation import averaged_copy, update_average


def weights(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


def test_the_u_net_has_the_size_of_the_community_protocol():
    encoder = UNetEncoder()
    assert weights(encoder) == pytest.approx(1.18e6, rel=0.01)
    assert weights(encoder, UNetDecoder(encoder.channels, 4)) == pytest.approx(1.81e6, rel=0.005)


def test_the_encoder_drops_more_from_level_to_level_as_published():
    rates = [m.p for m in UNetEncoder().modules() if isinstance(m, torch.nn.Dropout)]
    assert rates == [0.05, 0.1, 0.2, 0.3, 0.5]
    assert not any(m.p for m in UNetEncoder(dropout=False).modules() if isinstance(m, torch.nn.Dropout))


def test_the_tiny_u_net_has_about_a_fifteenth_of_it():
    encoder = UNetEncoder(channels=CHANNELS["tiny"])
    assert 0.10e6 < weights(encoder, UNetDecoder(encoder.channels, 4)) < 0.13e6


@pytest.mark.parametrize("size", [(32, 48), (33, 45), (17, 31)])
def test_maps_and_logits_have_the_promised_sizes_for_any_image(size):
    network = seeded(lambda: TwoStreamUNet(3, channels=CHANNELS["tiny"]), 0).eval()
    image = torch.rand(2, 1, *size)
    for level, channels, stride in zip(
        network.encoder(image), network.encoder.channels, network.encoder.strides, strict=True
    ):
        assert level.shape == (2, channels, -(-size[0] // stride), -(-size[1] // stride))
    assert network(image).shape == (2, 3, *size)
    assert [stream.shape for stream in network.streams(image)] == [(2, 3, *size)] * 2


def test_the_answer_is_the_mean_probability_of_two_different_decoders():
    network = seeded(lambda: TwoStreamUNet(3, channels=CHANNELS["tiny"]), 0).eval()
    image = torch.rand(1, 1, 32, 32)
    first, second = (stream.softmax(1) for stream in network.streams(image))
    assert not torch.allclose(first, second, atol=1e-3)
    assert torch.allclose(network(image).exp(), (first + second) / 2, atol=1e-6)


def test_two_models_share_nothing_and_both_take_a_pre_trained_encoder():
    network = seeded(lambda: TwoStreamUNet(3, channels=CHANNELS["tiny"], streams="models"), 0).eval()
    shared = seeded(lambda: TwoStreamUNet(3, channels=CHANNELS["tiny"]), 0)
    assert weights(network) == weights(shared) + weights(shared.encoder)
    image = torch.rand(1, 1, 32, 32)
    first, second = (stream.sum() for stream in network.streams(image))
    for stream, own, other in ((first, 0, 1), (second, 1, 0)):
        network.zero_grad()
        stream.backward()
        assert all(p.grad is not None for p in network.encoders[own].parameters())
        for part in (network.encoders[other], network.decoders[other]):
            assert all(p.grad is None for p in part.parameters())
    trained = seeded(lambda: UNetEncoder(channels=CHANNELS["tiny"]), 3)
    network.load_encoder(trained.state_dict())
    for encoder in network.encoders:
        assert torch.equal(encoder.levels[3][4].weight, trained.levels[3][4].weight)
    rebuilt = build_network(describe_network(network), network_tensors(network))
    assert torch.equal(rebuilt(image), network(image))


def test_group_normalisation_treats_each_image_by_itself():
    images = torch.rand(3, 1, 32, 32)
    for normalization, alone in (("group", True), ("batch", False)):
        encoder = seeded(lambda n=normalization: UNetEncoder(channels=(8, 16), normalization=n, dropout=False), 0)
        together, single = encoder(images)[-1][:1], encoder(images[:1])[-1]
        assert torch.allclose(together, single, atol=1e-5) is alone


def test_first_weights_follow_from_the_seed_and_leave_the_global_random_state_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    a, b, c = (seeded(UNetEncoder, seed).state_dict()["levels.0.0.weight"] for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_pre_trained_encoder_is_taken_and_another_one_refused():
    network = TwoStreamUNet(3, channels=CHANNELS["tiny"])
    trained = seeded(lambda: UNetEncoder(channels=CHANNELS["tiny"], dropout=False), 3)
    network.load_encoder(trained.state_dict())
    assert torch.equal(network.encoder.levels[2][0].weight, trained.levels[2][0].weight)
    with pytest.raises(InputError, match="8, 16, 32, 64 channels, batch normalisation"):
        network.load_encoder(UNetEncoder(channels=(8, 16)).state_dict())
    with pytest.raises(InputError, match="another network"):
        network.load_encoder(UNetEncoder(channels=CHANNELS["tiny"], normalization="group").state_dict())


def test_impossible_networks_are_refused():
    with pytest.raises(InputError, match="at least one class"):
        TwoStreamUNet(1)
    with pytest.raises(InputError, match="decoders or models"):
        TwoStreamUNet(2, streams="three")
    with pytest.raises(InputError, match="batch or group"):
        UNetEncoder(normalization="layer")
    with pytest.raises(InputError, match="transposed or bilinear"):
        UNetDecoder((8, 16), 2, upsampling="nearest")


def test_a_moving_average_follows_weights_and_copies_statistics():
    network = seeded(lambda: UNetEncoder(channels=(8, 16)), 0)
    average = averaged_copy(network)
    start = average.levels[0][0].weight.clone()
    network(torch.rand(2, 1, 16, 16))
    with torch.no_grad():
        network.levels[0][0].weight.add_(1.0)
    update_average(average, network, 0.9)
    assert torch.allclose(average.levels[0][0].weight, start + 0.1, atol=1e-6)
    assert torch.equal(average.levels[0][1].running_mean, network.levels[0][1].running_mean)
    assert average.levels[0][1].running_mean.abs().max() > 0
    assert not any(p.requires_grad for p in average.parameters())


@pytest.mark.parametrize("streams", ["decoders", "models"])
def test_its_answer_is_the_mean_of_its_streams(streams):
    network = seeded(lambda: TwoStreamUNet(3, 1, (4, 8, 12), streams=streams), 0).eval()
    image = torch.rand(2, 1, 21, 30, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        mean = sum(stream.softmax(1) for stream in network.streams(image)) / 2
        assert torch.allclose(network(image).exp(), mean, atol=1e-6)


@pytest.mark.parametrize("size", [(16, 32, 32), (11, 33, 45), (1, 17, 31)])
@pytest.mark.parametrize("across", [(2, 2, 2), (1, 2, 2), (1, 1, 1)])
def test_a_3d_network_answers_stacks_of_any_size_and_can_be_described(size, across):
    network = seeded(lambda: TwoStreamUNet(3, channels=CHANNELS["tiny"], across=across), 0).eval()
    images = torch.rand(1, 1, *size)
    assert network(images).shape == (1, 3, *size)
    maps, factor = network.encoder(images), 1
    for level, step in zip(maps[1:], across, strict=True):
        factor *= step
        assert level.shape[2] == -(-size[0] // factor)
    again = build_network(describe_network(network), network_tensors(network))
    assert torch.equal(again(images), network(images))


def test_slices_are_not_mixed_before_voxels_are_about_as_long_as_wide():
    def reach(across, level):
        encoder = seeded(lambda: UNetEncoder(channels=CHANNELS["tiny"], across=across), 0).eval()
        images = torch.rand(1, 1, 9, 16, 16)
        changed = images.clone()
        changed[:, :, 4] += 1
        moved = (encoder(images)[level] != encoder(changed)[level]).amax((0, 1, 3, 4))
        return int(moved.sum())

    assert reach((1, 2, 2), 0) == 1 and reach((2, 2, 2), 0) == 5
    assert reach((1, 1, 1), 2) == 1 and reach((1, 1, 1), 3) > 1  # at the coarsest level at last


def test_a_3d_network_has_the_same_size_as_the_2d_one_but_for_the_third_axis_of_its_kernels():
    flat, deep = (weights(TwoStreamUNet(3, channels=CHANNELS["tiny"], across=across)) for across in ((), (2, 2, 2)))
    assert 2.2 * flat < deep < 3 * flat


@pytest.mark.parametrize("across", [(2,), (2, 2, 3), (0, 2, 2)])
def test_shrinking_that_does_not_suit_the_levels_is_refused(across):
    with pytest.raises(InputError, match=r"across is .* it must be empty, or 3 numbers 1 or 2"):
        UNetEncoder(channels=CHANNELS["tiny"], across=across)
