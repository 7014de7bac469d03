"""A network that is shown a picture and a prompt (box, points, stroke) and answers with the mask of the object that is meant.

The picture is cut out around the prompt and brought to one size, so the network never learns how large things are. The
encoder is made of S3-Net's parts (I-LKA blocks, input-predicted deformable convolution); ``blocks="plain"`` is the U-Net
of the same size that it is compared with.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from S3NetSegmentLib.engine.nets.layers import DeformableConv2d
from S3NetSegmentLib.engine.nets.s3net import InceptionLargeKernelAttention

SIDE = 96  # pixels of the cut-out, along both sides
CHANNELS = 8  # of the input, see :func:`network_input`
WIDTHS = {"s3net": (16, 32, 48, 64, 80), "plain": (16, 32, 48, 64, 80)}
_GROUPS = 4
_POINT_SIGMA = 2.0  # pixels of the cut-out


def network_input(
    features: torch.Tensor, box: torch.Tensor, inside: torch.Tensor, outside: torch.Tensor, answer: torch.Tensor
) -> torch.Tensor:
    """What the network sees, float ``[N, 8, H, W]``.

    :param features: grey ``[N, 1, H, W]`` (0 to 1) or Lab / 100 ``[N, 3, H, W]`` of the cut-out.
    :param box: ``[N, H, W]``, 1 inside the box and 0 outside; all 1 where there is no box.
    :param inside, outside: ``[N, H, W]``, 0 to 1: how near each pixel is to a point or stroke of that kind.
    :param answer: ``[N, H, W]``, probabilities of the answer so far; all 0.5 where there is none.
    """
    light = features[:, 0]
    mean = light.mean((1, 2), keepdim=True)
    deviation = light.std((1, 2), keepdim=True) + 1e-3
    # where the object most likely is: the prompts inside it, else the middle of the box
    weight = torch.where((inside.amax((1, 2)) > 0)[:, None, None], inside, box)
    weight = weight / weight.sum((1, 2), keepdim=True).clamp_min(1e-6)
    there = (light * weight).sum((1, 2), keepdim=True)
    spread = ((light - there).square() * box).sum((1, 2), keepdim=True) / box.sum((1, 2), keepdim=True).clamp_min(1)
    own = ((light - there) / (spread.sqrt() + 1e-2)).clamp(-4, 4) / 2
    if features.shape[1] == 3:
        colour = features[:, 1:]
        colour = (colour - colour.mean((2, 3), keepdim=True)) / deviation[:, None]
    else:
        colour = features.new_zeros(len(features), 2, *features.shape[2:])
    maps = torch.stack(((light - mean) / deviation, own, 2 * box - 1, inside, outside, 2 * answer - 1), 1)
    return torch.cat((maps[:, :2], colour.clamp(-4, 4), maps[:, 2:]), 1)


def point_map(points: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """How near each pixel is to the nearest of ``points`` ``[P, 2]`` (row, column): ``[H, W]``, 1 at a point."""
    rows = torch.arange(shape[0], dtype=torch.float32)[:, None]
    columns = torch.arange(shape[1], dtype=torch.float32)[None]
    if not len(points):
        return torch.zeros(shape)
    squared = (rows - points[:, 0, None, None]) ** 2 + (columns - points[:, 1, None, None]) ** 2
    return torch.exp(-squared.amin(0) / (2 * _POINT_SIGMA**2))


class PromptedNet(nn.Module):
    """Encoder of five levels and a decoder with skip connections: ``[N, 8, H, W]`` to logits ``[N, H, W]``.

    H and W are multiples of 16.

    :param blocks: "s3net": at the third and fourth level (24 and 12 pixels) a 3x3 convolution, I-LKA and a 3x3 convolution,
        deformable at the fourth; "plain": two 3x3 convolutions at every level.
    """

    def __init__(self, blocks: str = "s3net", widths: tuple[int, ...] | None = None):
        super().__init__()
        self.blocks, widths = blocks, widths or WIDTHS[blocks]
        before = (CHANNELS, *widths)
        self.down = nn.ModuleList(
            self._stage(level, before[level], width, blocks == "s3net") for level, width in enumerate(widths)
        )
        self.up = nn.ModuleList(
            _plain(widths[level] + widths[level - 1], widths[level - 1]) for level in range(len(widths) - 1, 0, -1)
        )
        self.head = nn.Conv2d(widths[0], 1, 1)

    @staticmethod
    def _stage(level: int, before: int, after: int, attention: bool) -> nn.Module:
        if not attention or level not in (2, 3):
            return _plain(before, after)
        second = (
            DeformableConv2d(after, after, reach=3.0, bias=False)
            if level == 3
            else nn.Conv2d(after, after, 3, padding=1, bias=False)
        )
        block = InceptionLargeKernelAttention(after)
        block.norm = nn.GroupNorm(_GROUPS, after)  # one picture is normalised like a batch of them
        return nn.Sequential(*_convolved(before, after), block, second, nn.GroupNorm(_GROUPS, after), nn.ReLU(True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skipped = []
        for level, stage in enumerate(self.down):
            x = stage(x if level == 0 else F.avg_pool2d(x, 2))
            skipped.append(x)
        skipped.pop()
        for stage in self.up:
            x = stage(torch.cat((F.interpolate(x, scale_factor=2, mode="bilinear"), skipped.pop()), 1))
        return self.head(x)[:, 0]


def _convolved(before: int, after: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(before, after, 3, padding=1, bias=False), nn.GroupNorm(_GROUPS, after), nn.ReLU(True)


def _plain(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(*_convolved(before, after), *_convolved(after, after))
