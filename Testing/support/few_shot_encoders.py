"""Small encoders for the tests of Few-shot: one that knows the grey values, one that knows nothing."""

from __future__ import annotations

import torch
from torch import nn

from S3NetSegmentLib.engine.few_shot.voters.encoders import FewShotEncoder
from S3NetSegmentLib.engine.nets.dinov2 import Architecture, Dinov2Encoder


class GreyValues(nn.Module):
    """Features that say which of twelve grey values is there; counts the slices that it encodes."""

    in_channels, channels, strides = 1, (12,), (2,)

    def __init__(self):
        super().__init__()
        self.levels = nn.Parameter(torch.linspace(0, 1, 12), requires_grad=False)
        self.encoded = 0

    def forward(self, image):
        self.encoded += len(image)
        small = nn.functional.avg_pool2d(image, 2, ceil_mode=True)
        return [torch.exp(-((small - self.levels.view(-1, 1, 1)) ** 2) / 0.005)]


def knowing() -> FewShotEncoder:
    return FewShotEncoder("grey values", "0" * 64, GreyValues())


def ignorant(seed: int = 0) -> FewShotEncoder:
    """A small vision transformer of DINOv2's kind with random weights: its features mean nothing."""
    transformer = Architecture(48, 2, 3, 96, registers=4).build()
    transformer.initialize(torch.Generator().manual_seed(seed)).requires_grad_(False).eval()
    return FewShotEncoder("random", f"{seed:064d}", Dinov2Encoder(transformer))
