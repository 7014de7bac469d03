"""Random changes of the intensities of slices, and boxes to mix slices: whole batches at once, on their device.

Geometry is the business of :class:`~...common.affine2d.Affine2d`. Every function draws its parameters from a ``torch.Generator`` on
the CPU, the same number of them whatever happens, so equal generators give equal results.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ...common.tensors import summed

_BLUR_REACH = 3.0  # standard deviations that a blur kernel covers
_BIAS_CELLS = 4  # side of the coarse grid of a bias field
_ELONGATION = 2.0  # largest ratio of the sides of a random box, relative to those of the image
_CUT_OUTS = (0.02, 0.15)  # share of the image that a cut-out covers


@dataclass(frozen=True)
class IntensityRanges:
    """How far intensities may change; all ranges are symmetric about no change.

    :param probability: with which each operation is applied to an image.
    :param gamma: largest logarithm of the exponent (0.5: x^0.61 to x^1.65).
    :param brightness: largest shift, where the slice reaches from 0 to 1.
    :param contrast: largest logarithm of the factor about the mean.
    :param blur: largest standard deviation of the blur, pixels.
    :param noise: largest standard deviation of the Gaussian noise.
    :param bias: standard deviation of the logarithm of a smooth field that multiplies the image.
    :param cut_out: probability that one box is replaced by a constant.
    """

    probability: float
    gamma: float
    brightness: float
    contrast: float
    blur: float
    noise: float
    bias: float
    cut_out: float = 0.0


WEAK = IntensityRanges(0.5, gamma=0.2, brightness=0.05, contrast=0.1, blur=0.0, noise=0.02, bias=0.1)
STRONG = IntensityRanges(0.8, gamma=0.7, brightness=0.2, contrast=0.5, blur=1.0, noise=0.08, bias=0.4)
VIEW = IntensityRanges(0.8, gamma=0.5, brightness=0.15, contrast=0.4, blur=1.0, noise=0.06, bias=0.3, cut_out=0.3)


def change_intensities(images: torch.Tensor, ranges: IntensityRanges, generator: torch.Generator) -> torch.Tensor:
    """``images`` ``[N, ..., H, W]``, 0 to 1, each with bias field, gamma, contrast and brightness, blur, noise and cut-out
    of its own; the channels of an image, and the slices of a patch, are changed alike. The result may leave 0 to 1 a little."""
    shape, images = images.shape, images.flatten(1, -3)
    count, _, height, width = images.shape
    draws = 2 * torch.rand(count, 7, generator=generator) - 1  # one column for each operation
    used = torch.rand(count, 7, generator=generator) < ranges.probability
    coarse = torch.randn(count, 1, _BIAS_CELLS, _BIAS_CELLS, generator=generator)
    boxes = random_boxes(count, (height, width), generator, share=_CUT_OUTS)
    noise_seed = int(torch.randint(2**62, (1,), generator=generator))
    draws = torch.where(used, draws, 0.0)

    def each(values):
        return values.to(images).view(count, 1, 1, 1)

    x = images
    if ranges.bias > 0:
        field = F.interpolate(coarse.to(x), (height, width), mode="bicubic", align_corners=True)
        x = x * torch.exp(each(draws[:, 0].abs() * ranges.bias) * field)
    if ranges.gamma > 0:
        x = x.clamp_min(1e-6) ** each(torch.exp(draws[:, 1] * ranges.gamma))
    if ranges.contrast > 0 or ranges.brightness > 0:
        mean = x.mean((1, 2, 3), keepdim=True)
        x = (x - mean) * each(torch.exp(draws[:, 2] * ranges.contrast)) + mean + each(draws[:, 3] * ranges.brightness)
    if ranges.blur > 0:
        x = _blurred(x, draws[:, 4].abs() * ranges.blur, ranges.blur)
    if ranges.noise > 0:
        there = torch.Generator(images.device).manual_seed(noise_seed)
        noise = torch.randn(images.shape, generator=there, device=images.device, dtype=images.dtype)
        x = x + each(draws[:, 5].abs() * ranges.noise) * noise
    if ranges.cut_out > 0:
        least = 1 - ranges.cut_out / max(ranges.probability, ranges.cut_out)  # so that cut_out of all images are cut
        wanted = draws[:, 6].abs() > least
        cut = (boxes & wanted.view(count, 1, 1, 1)).to(x.device)
        x = torch.where(cut, x.mean((1, 2, 3), keepdim=True), x)
    return x.view(shape)


def random_boxes(
    count: int, shape: Sequence[int], generator: torch.Generator, *, share: tuple[float, float] = (0.1, 0.4)
) -> torch.Tensor:
    """One box in each of ``count`` images of ``shape`` (rows, columns): bool ``[count, 1, H, W]`` on the CPU.

    :param share: smallest and largest part of the image that a box covers.
    """
    area, ratio, down, right = torch.rand(count, 4, generator=generator, dtype=torch.float64).T
    area = share[0] + area * (share[1] - share[0])
    stretch = torch.exp((2 * ratio - 1) * 0.5 * math.log(_ELONGATION))
    sides = torch.stack((area.sqrt() * stretch, area.sqrt() / stretch), 1).clamp_max(1.0)
    starts = torch.stack((down, right), 1) * (1 - sides)
    inside = []
    for axis, length in enumerate(shape):
        centre = (torch.arange(length, dtype=torch.float64) + 0.5) / length
        start = starts[:, axis, None]
        inside.append((centre >= start) & (centre < start + sides[:, axis, None]))
    return (inside[0][:, :, None] & inside[1][:, None, :])[:, None]


def mixed(outside: torch.Tensor, inside: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """CutMix (Yun et al., arXiv 1905.04899): ``inside`` within the ``boxes`` ``[N, 1, H, W]``, ``outside`` elsewhere, for
    images ``[N, C, H, W]`` and for labels and masks ``[N, H, W]``; boxes go through all slices of patches, ``[N, ..., H, W]``."""
    boxes = boxes.view(len(boxes), *(1,) * (outside.ndim - 3), *boxes.shape[-2:])
    return torch.where(boxes, inside, outside)


def _blurred(images: torch.Tensor, widths: torch.Tensor, largest: float) -> torch.Tensor:
    """Each of ``images`` blurred by a Gaussian of its own standard deviation ``widths`` ``[N]``, pixels."""
    count, _, height, width = images.shape
    reach = min(math.ceil(_BLUR_REACH * largest), height - 1, width - 1)
    distance = torch.arange(-reach, reach + 1, dtype=torch.float32)
    kernels = torch.exp(-0.5 * (distance / widths.clamp_min(1e-3)[:, None]) ** 2)
    kernels = (kernels / kernels.sum(1, keepdim=True)).to(images)
    x = F.pad(images, (reach,) * 4, mode="reflect")
    # shifted sums are faster than grouped convolutions of one channel on a CPU
    x = summed(x[:, :, i : i + height] * kernels[:, i].view(count, 1, 1, 1) for i in range(2 * reach + 1))
    return summed(x[..., i : i + width] * kernels[:, i].view(count, 1, 1, 1) for i in range(2 * reach + 1))
