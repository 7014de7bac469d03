"""Inception large-kernel attention (I-LKA), the block of S3-Net."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from .normalization import FrozenBatchNorm2d

_BRANCHES = ((3, 1), (5, 2), (7, 3))  # kernel size and dilation: fields of 3, 9 and 19 pixels


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
