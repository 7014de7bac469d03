"""S3-Net: the encoder of I-LKA blocks, and the linear heads that turn its features into region labels.

Source: Karimijafarbigloo et al., "Self-supervised Semantic Segmentation: Consistency over Transformation",
arXiv 2309.00143.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from .attention import InceptionLargeKernelAttention, PlainBlock
from .deformable import DeformableConv2d
from .encoder import Encoder
from .normalization import FrozenBatchNorm2d


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
