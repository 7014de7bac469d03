"""What every encoder is: an image in, feature maps at one or more resolutions out."""

from __future__ import annotations

from torch import nn


class Encoder(nn.Module):
    """``forward(image)`` takes ``[N, in_channels, H, W]`` and returns one map per level, finest first.

    Attributes: ``in_channels``; ``channels``, the channel count of each level; ``strides``, the image pixels per feature
    pixel of each level (a map of stride s has ceil(H / s) rows and ceil(W / s) columns).
    """

    in_channels: int
    channels: tuple[int, ...]
    strides: tuple[int, ...]
