"""The network of boxes in PyTorch's terms, for its training; the engine computes it with numpy (``objects/box_network.py``).

What ships is the plain U-Net. ``blocks="s3net"`` makes the encoder of S3-Net's parts (I-LKA blocks, input-predicted deformable
convolution).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from S3NetSegmentLib.engine.nets.layers import DeformableConv2d
from S3NetSegmentLib.engine.nets.s3net import InceptionLargeKernelAttention

CHANNELS = 5  # of the input, see ``box_network.network_input``
WIDTHS = (32, 64, 96, 128)  # channels at 48, 24, 12 and 6 pixels
_GROUPS = 8


class PromptedNet(nn.Module):
    """Encoder of four levels from half the input's size on and a decoder with skip connections: ``[N, 5, H, W]`` to logits ``[N, H, W]``.

    H and W are multiples of 16. The full size, which would take most of the time, is left to the last layer: it answers for four pixels
    at once.

    :param blocks: "s3net": at the second and third level (24 and 12 pixels) a 3x3 convolution, I-LKA and a 3x3 convolution,
        deformable at the third; "plain": two 3x3 convolutions at every level.
    """

    def __init__(self, blocks: str = "plain"):
        super().__init__()
        widths = WIDTHS
        self.stem = nn.Conv2d(CHANNELS, widths[0], 4, stride=2, padding=1)
        before = (widths[0], *widths)
        self.down = nn.ModuleList(
            self._stage(level, before[level], width, blocks == "s3net") for level, width in enumerate(widths)
        )
        self.up = nn.ModuleList(
            _plain(widths[level] + widths[level - 1], widths[level - 1]) for level in range(len(widths) - 1, 0, -1)
        )
        self.head = nn.Conv2d(widths[0], 4, 3, padding=1)

    @staticmethod
    def _stage(level: int, before: int, after: int, attention: bool) -> nn.Module:
        if not attention or level not in (1, 2):
            return _plain(before, after)
        second = (
            DeformableConv2d(after, after, reach=3.0, bias=False)
            if level == 2
            else nn.Conv2d(after, after, 3, padding=1, bias=False)
        )
        block = InceptionLargeKernelAttention(after)
        block.norm = nn.GroupNorm(_GROUPS, after)  # one picture is normalised like a batch of them
        return nn.Sequential(*_convolved(before, after), block, second, nn.GroupNorm(_GROUPS, after), nn.ReLU(True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(x))
        skipped = []
        for level, stage in enumerate(self.down):
            x = stage(x if level == 0 else F.avg_pool2d(x, 2))
            skipped.append(x)
        skipped.pop()
        for stage in self.up:
            x = stage(torch.cat((F.interpolate(x, scale_factor=2.0, mode="nearest"), skipped.pop()), 1))
        return F.pixel_shuffle(self.head(x), 2)[:, 0]


def _convolved(before: int, after: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(before, after, 3, padding=1, bias=False), nn.GroupNorm(_GROUPS, after), nn.ReLU(True)


def _plain(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(*_convolved(before, after), *_convolved(after, after))
