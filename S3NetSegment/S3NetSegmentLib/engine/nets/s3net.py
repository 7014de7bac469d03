"""S3-Net: the encoder of I-LKA blocks, and the linear heads that turn its features into region labels.

Source: Karimijafarbigloo et al., "Self-supervised Semantic Segmentation: Consistency over Transformation",
arXiv 2309.00143.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from .encoder import Encoder
from .layers import DeformableConv2d

_BRANCHES = ((3, 1), (5, 2), (7, 3))  # kernel size and dilation: fields of 3, 9 and 19 pixels


class S3Net(Encoder):
    """Encoder: 3x3 stem, I-LKA blocks, 3x3 (ordinary or deformable) convolution; one level at full resolution.

    ``[N, in_channels, H, W]`` to ``[[N, channels, H, W]]``.

    :param attention: False replaces the attention by plain 3x3 convolutions.
    :param deformable_reach: largest offset in pixels of the last convolution; None makes it an ordinary one.
    :param activated: whether GELU follows the last normalisation (published: no).
    """

    strides = (1,)

    def __init__(
        self,
        in_channels: int,
        channels: int = 16,
        *,
        blocks: int = 2,
        attention: bool = True,
        deformable_reach: float | None = None,
        activated: bool = True,
    ):
        super().__init__()
        self.in_channels = in_channels
        self.channels = (channels,)
        self.stem = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        self.stem_norm = FrozenBatchNorm2d(channels)
        block = InceptionLargeKernelAttention if attention else PlainBlock
        self.blocks = nn.Sequential(*(block(channels) for _ in range(blocks)))
        self.last = (
            nn.Conv2d(channels, channels, 3, padding=1, bias=False)
            if deformable_reach is None
            else DeformableConv2d(channels, channels, reach=deformable_reach, bias=False)
        )
        self.last_norm = FrozenBatchNorm2d(channels)
        self._activated = activated

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        x = self.blocks(self.stem_norm(self.stem(image)))
        x = self.last_norm(self.last(x))
        return [F.gelu(x) if self._activated else x]


class RegionNetwork(nn.Module):
    """An encoder and one linear head per number of regions, over [features, input channels], or the features alone.

    The input channels are a skip connection: the features may be computed on a small image and enlarged, and the labels
    still follow the full-resolution image (see :meth:`heads`).

    :param responses: the number of labels of each head.
    :param balanced: normalise the responses over the batch before the labels are read off, as in Kanezaki 2018: no
        label can then be the largest everywhere. For a random start; heads that learn given labels do without.
    :param sees_image: whether the heads see the input channels, too (published: no).
    """

    def __init__(
        self, encoder: Encoder, responses: tuple[int, ...], *, balanced: bool = False, sees_image: bool = True
    ):
        super().__init__()
        self.encoder = encoder
        self.responses = tuple(responses)
        self.features = encoder.channels[0]
        total = sum(self.responses)
        self._sees_image = sees_image
        seen = self.features + (encoder.in_channels if sees_image else 0)
        self.head = nn.Conv2d(seen, total, 1, bias=not balanced)
        self.balance = FrozenBatchNorm2d(total) if balanced else nn.Identity()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Log-probabilities ``[N, sum(responses), H, W]`` of ``image`` ``[N, C, H, W]``, each head normalised."""
        return self.heads(self.encoder(image)[0], image)

    def heads(self, features: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """The same from ``features`` of the encoder, which are enlarged to the size of ``image`` if they are smaller."""
        weight = self.head.weight.flatten(1)
        # a linear layer and an enlargement can change places: the features are weighted while they are small
        scores = _weighted(weight[:, : self.features], features)
        if features.shape[-2:] != image.shape[-2:]:
            scores = F.interpolate(scores, image.shape[-2:], mode="bilinear", align_corners=False)
        if self._sees_image:
            scores = scores + _weighted(weight[:, self.features :], image)
        if self.head.bias is not None:
            scores = scores + self.head.bias[:, None, None]
        return torch.cat([part.log_softmax(1) for part in self.balance(scores).split(self.responses, 1)], 1)

    def initialize(self, generator: torch.Generator) -> RegionNetwork:
        """Draws all weights from ``generator`` (uniform, +-1/sqrt(fan-in), the default of torch); returns itself.

        Deformable convolutions keep their zero start.
        """
        still = {id(p) for m in self.modules() if isinstance(m, DeformableConv2d) for p in m.predict.parameters()}
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, DeformableConv2d)) and id(module.weight) not in still:
                bound = module.weight[0].numel() ** -0.5
                with torch.no_grad():
                    for parameter in (module.weight, module.bias):
                        if parameter is not None:
                            parameter.uniform_(-bound, bound, generator=generator)
        return self

    def set_prototypes(self, centres: list[torch.Tensor], first: int, temperature: float) -> None:
        """Starts each head at the nearest-prototype rule on input channels ``first``, ``first`` + 1, ...

        The score of prototype c is (2 x.c - |c|^2) / (2 temperature), which is linear in x, so the head holds it exactly;
        the features start with no say.

        :param centres: one ``[responses, C]`` per head.
        """
        with torch.no_grad():
            c = torch.cat(centres).to(self.head.weight)
            self.head.weight.zero_()
            start = self.features + first
            self.head.weight[:, start : start + c.shape[1], 0, 0] = c / temperature
            if self.head.bias is None:
                raise ValueError("heads with balanced responses have no prototypes")
            self.head.bias.copy_(-c.square().sum(1) / (2 * temperature))


def _weighted(weight: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """``weight`` ``[O, C]`` times ``maps`` ``[N, C, H, W]``, contiguous whatever the layout of ``maps``."""
    return torch.bmm(weight.expand(len(maps), *weight.shape), maps.flatten(2)).unflatten(2, maps.shape[-2:])


class FrozenBatchNorm2d(nn.Module):
    """Batch normalisation that uses the statistics of its batch until :func:`freeze_statistics` fixes them.

    Normalising each slice with its own statistics would shift the decision from slice to slice, and running averages of
    a fit of a dozen steps still hold the untrained network. So fitting uses the statistics of the batch, and afterwards
    one pass of slices from the whole volume fixes them for good.
    """

    mean: torch.Tensor
    variance: torch.Tensor
    frozen: torch.Tensor

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))
        self.register_buffer("frozen", torch.tensor(False))
        self._is_frozen = False  # the buffer's value, read without waiting for the device
        self._is_measuring = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self._is_measuring:
            self.variance, self.mean = torch.var_mean(x, (0, 2, 3), correction=0)
        if self._is_measuring or self._is_frozen:
            return F.batch_norm(x, self.mean, self.variance, self.weight, self.bias, training=False)
        return F.batch_norm(x, None, None, self.weight, self.bias, training=True)

    def _load_from_state_dict(self, *args, **kwargs):
        super()._load_from_state_dict(*args, **kwargs)
        self._is_frozen = bool(self.frozen)


def freeze_statistics(network: nn.Module, batch: torch.Tensor) -> None:
    """Fixes the statistics of every :class:`FrozenBatchNorm2d` of ``network`` to those of ``batch`` ``[N, C, H, W]``.

    Layer by layer in one forward pass, so each layer sees what the already fixed layers before it give.
    """
    layers = [m for m in network.modules() if isinstance(m, FrozenBatchNorm2d)]
    for layer in layers:
        layer._is_measuring = True
    try:
        with torch.no_grad():
            network(batch)
    finally:
        for layer in layers:
            layer._is_measuring = False
    for layer in layers:
        layer._is_frozen = True
        layer.frozen.fill_(True)


class DilatedDepthwiseConv2d(nn.Conv2d):
    """Depthwise convolution with dilation, "same" size, zeros outside.

    On the CPU it is computed as an ordinary convolution of the d x d interleaved sub-images: the same sums, and 2 to 4
    times faster with the backward pass, where torch has no fast code for dilated depthwise convolution.
    """

    def __init__(self, channels: int, size: int, dilation: int):
        padding = dilation * (size // 2)
        super().__init__(channels, channels, size, padding=padding, dilation=dilation, groups=channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        d = self.dilation[0]
        if d == 1 or x.device.type != "cpu":
            return super().forward(x)
        count, channels, height, width = x.shape
        rows, columns = -(-height // d), -(-width // d)
        x = F.pad(x, (0, columns * d - width, 0, rows * d - height))
        # channels last, so that each sub-image is read and written in runs of whole pixels
        x = x.permute(0, 2, 3, 1).reshape(count, rows, d, columns, d, channels).permute(0, 2, 4, 1, 3, 5)
        x = x.reshape(count * d * d, rows, columns, channels).permute(0, 3, 1, 2)
        x = F.conv2d(x, self.weight, self.bias, padding=self.kernel_size[0] // 2, groups=channels)
        x = x.permute(0, 2, 3, 1).reshape(count, d, d, rows, columns, channels).permute(0, 3, 1, 4, 2, 5)
        x = x.reshape(count, rows * d, columns * d, channels)[:, :height, :width]
        return x.permute(0, 3, 1, 2)


class PointwiseConv2d(nn.Conv2d):
    """1x1 convolution as a matrix product over the channels, which suits tensors in channels-last layout."""

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True):
        super().__init__(in_channels, out_channels, 1, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


class InceptionLargeKernelAttention(nn.Module):
    """x <- norm(x + P2(u * W[dw3(d), dw5(d), dw7(d)])) with u = gelu(P1 x) and d = dw5(u); P1, P2 and W are 1x1.

    A pixel is weighted by what it sees at three scales at once (field of 23 pixels). Source: S3-Net, arXiv 2309.00143.
    Shapes: ``[N, C, H, W]`` to the same.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.enter = PointwiseConv2d(channels, channels)
        self.local = DilatedDepthwiseConv2d(channels, 5, 1)
        self.branches = nn.ModuleList(DilatedDepthwiseConv2d(channels, size, dilation) for size, dilation in _BRANCHES)
        self.gates = nn.ModuleList(PointwiseConv2d(channels, channels, bias=i == 0) for i in range(len(_BRANCHES)))
        self.leave = PointwiseConv2d(channels, channels, bias=False)  # a bias would vanish in the normalisation
        self.norm = FrozenBatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        u = F.gelu(self.enter(x))
        near = self.local(u)
        # one 1x1 convolution per branch, added up: the same as one over all of them, without joining the maps
        gate = sum(gate(branch(near)) for gate, branch in zip(self.gates, self.branches, strict=True))
        return self.norm(x + self.leave(u * gate))


class PlainBlock(nn.Module):
    """The same block with an ordinary 3x3 convolution in place of the attention, for comparison."""

    def __init__(self, channels: int):
        super().__init__()
        self.enter = PointwiseConv2d(channels, channels)
        self.local = nn.Conv2d(channels, channels, 3, padding=1)
        self.leave = PointwiseConv2d(channels, channels, bias=False)
        self.norm = FrozenBatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x + self.leave(F.gelu(self.local(F.gelu(self.enter(x))))))
