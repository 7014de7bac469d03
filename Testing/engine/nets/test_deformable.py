"""Deformable convolution against an ordinary one, a brute-force reference, and numeric gradients."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from S3NetSegmentLib.engine import InputError
from S3NetSegmentLib.engine.common.tensors import torch_generator
from S3NetSegmentLib.engine.nets.layers import DeformableConv2d, deformable_conv2d


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch_generator(seed, 0), dtype=dtype)


def brute_force(x, offsets, mask, weight, dilation=1):
    """Every output value as its definition says, in float64: sum over taps and channels of weight x mask x sample."""

    def sample(plane, y, z):
        y0, z0 = int(np.floor(y)), int(np.floor(z))
        value = 0.0
        for i in (y0, y0 + 1):
            for j in (z0, z0 + 1):
                if 0 <= i < plane.shape[0] and 0 <= j < plane.shape[1]:
                    value += plane[i, j] * (1 - abs(y - i)) * (1 - abs(z - j))
        return value

    count, channels, height, width = x.shape
    size = weight.shape[-1]
    out = np.zeros((count, weight.shape[0], height, width))
    for n in range(count):
        for i in range(height):
            for j in range(width):
                for tap in range(size * size):
                    y = i + (tap // size - size // 2) * dilation + offsets[n, 2 * tap, i, j]
                    z = j + (tap % size - size // 2) * dilation + offsets[n, 2 * tap + 1, i, j]
                    for c in range(channels):
                        value = mask[n, tap, i, j] * sample(x[n, c], y, z)
                        out[n, :, i, j] += weight[:, c, tap // size, tap % size] * value
    return out


@pytest.mark.parametrize(("size", "dilation"), [(3, 1), (3, 2), (1, 1), (5, 1)])
@pytest.mark.parametrize("shape", [(2, 3, 7, 9), (1, 2, 1, 6), (1, 2, 5, 1), (1, 1, 1, 1)])
def test_zero_offsets_and_unit_mask_give_an_ordinary_convolution(size, dilation, shape):
    x = draw(*shape)
    weight, bias = draw(4, shape[1], size, size, seed=1), draw(4, seed=2)
    offsets = x.new_zeros(shape[0], 2 * size * size, *shape[2:])
    mask = x.new_ones(shape[0], size * size, *shape[2:])
    out = deformable_conv2d(x, offsets, mask, weight, bias, dilation=dilation)
    assert torch.allclose(out, F.conv2d(x, weight, bias, padding=dilation * (size // 2), dilation=dilation), atol=1e-10)


@pytest.mark.parametrize(("size", "dilation"), [(3, 1), (3, 2)])
def test_moved_taps_agree_with_the_brute_force_reference_also_across_the_border(size, dilation):
    x, weight = draw(2, 2, 5, 6), draw(3, 2, size, size, seed=1)
    offsets = 2.5 * draw(2, 2 * size * size, 5, 6, seed=2)  # fractional, and far enough to leave the image
    mask = draw(2, size * size, 5, 6, seed=3)
    expected = brute_force(x.numpy(), offsets.numpy(), mask.numpy(), weight.numpy(), dilation)
    out = deformable_conv2d(x, offsets, mask, weight, dilation=dilation)
    assert np.allclose(out.numpy(), expected, atol=1e-10)
    single = deformable_conv2d(x.float(), offsets.float(), mask.float(), weight.float(), dilation=dilation)
    assert np.allclose(single.numpy(), expected, atol=2e-5)


@pytest.mark.parametrize("chunk_values", [1, 1 << 23])
def test_gradients_to_everything_agree_with_numeric_ones(chunk_values):
    x, weight, bias = draw(1, 2, 3, 4), draw(2, 2, 3, 3, seed=1), draw(2, seed=2)
    fraction = 0.2 + 0.6 * torch.rand(1, 18, 3, 4, generator=torch_generator(3, 0), dtype=torch.float64)
    offsets = torch.randint(-2, 2, (1, 18, 3, 4), generator=torch_generator(4, 0)) + fraction  # away from the kinks
    mask = draw(1, 9, 3, 4, seed=5)
    inputs = [t.requires_grad_() for t in (x, offsets, mask, weight, bias)]
    assert torch.autograd.gradcheck(lambda *t: deformable_conv2d(*t, chunk_values=chunk_values), inputs, fast_mode=True)


def test_small_groups_of_rows_give_the_same_and_keep_less_for_the_backward_pass():
    x, weight = draw(1, 8, 40, 30, dtype=torch.float32), draw(8, 8, 3, 3, seed=1, dtype=torch.float32)
    offsets, mask = draw(1, 18, 40, 30, seed=2, dtype=torch.float32), draw(1, 9, 40, 30, seed=3, dtype=torch.float32)
    results, kept = [], []
    for chunk_values in (1 << 23, 9 * 8 * 30 * 4):
        stored = []
        leaf = [t.clone().requires_grad_() for t in (x, offsets, mask, weight)]

        def pack(tensor, stored=stored):
            stored.append(tensor.untyped_storage())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            out = deformable_conv2d(*leaf, chunk_values=chunk_values)
        kept.append(sum({s.data_ptr(): s.nbytes() for s in stored}.values()))
        results.append((out, *torch.autograd.grad(out.square().sum(), leaf)))
    for whole, grouped in zip(*results, strict=True):
        assert torch.allclose(whole, grouped, rtol=1e-4, atol=1e-4 * whole.abs().max().item())
    assert kept[1] < kept[0] / 3


def test_the_layer_starts_as_an_ordinary_convolution_and_bounds_its_offsets():
    layer = DeformableConv2d(3, 5, reach=2.0)
    x = draw(2, 3, 8, 6, dtype=torch.float32)
    assert torch.allclose(layer(x), F.conv2d(x, layer.weight, layer.bias, padding=1), atol=1e-4)
    with torch.no_grad():
        layer.predict.bias[:18] = 1000.0  # all taps as far as they may go: two rows down, two columns to the right
        layer.predict.bias[18:] = 1000.0  # mask 2
    far = F.conv2d(F.pad(x, (0, 2, 0, 2))[:, :, 2:, 2:], layer.weight, None, padding=0)
    moved = layer(x) - layer.bias[:, None, None]
    assert torch.allclose(moved[:, :, 1 : 1 + far.shape[2], 1 : 1 + far.shape[3]], 2 * far, atol=1e-4)


def test_offsets_mask_and_weights_of_the_layer_learn():
    layer = DeformableConv2d(3, 5)
    loss = layer(draw(1, 3, 8, 8, dtype=torch.float32)).square().mean()
    predicted = torch.autograd.grad(loss, [layer.predict.weight, layer.weight])
    assert predicted[0][:18].abs().sum() > 0 and predicted[0][18:].abs().sum() > 0 and predicted[1].abs().sum() > 0


def test_wrong_shapes_are_refused():
    x = torch.zeros(1, 2, 4, 4)
    with pytest.raises(InputError, match="offsets"):
        deformable_conv2d(x, torch.zeros(1, 9, 4, 4), torch.zeros(1, 9, 4, 4), torch.zeros(1, 2, 3, 3))
    with pytest.raises(InputError, match="odd"):
        deformable_conv2d(x, torch.zeros(1, 8, 4, 4), torch.zeros(1, 4, 4, 4), torch.zeros(1, 2, 2, 2))
