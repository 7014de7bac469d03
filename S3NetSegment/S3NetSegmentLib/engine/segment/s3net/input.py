"""What S3-Net sees of a stack of slices: standardised intensities and their surroundings, small and at full size; and the
filters for it on torch tensors (Gaussian, gradient, guided), so that they run where the network runs."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

from ...common.tensors import summed
from ...images.colors import rgb_from_lab
from ..settings import SegmentSettings

_FLOOR = 0.04  # added to the standard deviation (of intensities 0..1), so that noise in flat images is not blown up
_SLICES = 16  # slices prepared at once
_GROUP_VALUES = 1 << 18


class SliceChannels:
    """Input channels of the slices of a stack, at the size of the fit and at the stack's own size.

    Intensities are standardised by the mean and standard deviation of the whole stack, so all slices are treated alike.
    With ``fit_input`` "plain" they are left as they are (0 to 1, colour as BGR) and brought to a square, whose pixels count as
    1 mm: as published.
    Channels: intensities (1 or 3); with ``context_channels`` also the intensities blurred and the gradient of the first;
    in a volume also the intensities one (small) pixel size below and above, interpolated between the slices, so that
    the network looks equally far in every direction whatever the slice distance.

    :param stack: float32 ``[Z, H, W, C]``; kept, not copied.
    :param spacing_mm: (slice distance, row, column).

    Attributes: ``depth``, ``size`` (H, W), ``fit_size`` (h, w), ``fit_spacing`` (mm of a row, of a column at the size of
    the fit), ``count`` (number of channels), ``intensities`` (number of the first channels that are intensities),
    ``fit`` (all channels of all slices, ``[Z, count, h, w]``, on the CPU), ``contrast`` (whether there is any).
    """

    def __init__(self, stack: np.ndarray, spacing_mm: tuple[float, float, float], settings: SegmentSettings):
        self._stack = stack
        self.depth, height, width, self.intensities = stack.shape
        self.size = (height, width)
        self._plain = settings.fit_input == "plain"
        scale = min(1.0, settings.fit_size / max(height, width))
        h, w = max(1, round(height * scale)), max(1, round(width * scale))
        if self._plain:
            h = w = settings.fit_size
        self.fit_size = (h, w)
        self.fit_spacing = (spacing_mm[1] * height / h, spacing_mm[2] * width / w)
        self._shrink = max(height / h, width / w)
        self._blur = settings.fit_blur
        self._context = settings.context_channels
        self._reach = float(np.mean(self.fit_spacing)) / spacing_mm[0] if self.depth > 1 else 0.0  # in slices
        self.blurred = slice(self.intensities, 2 * self.intensities)  # where the blurred intensities are
        small = torch.cat([self._reduced(z) for z in range(0, self.depth, _SLICES)])
        spread, mean = torch.var_mean(small.double(), (0, 2, 3), correction=0, keepdim=True)
        self.contrast = bool((spread > 1e-12).any()) and self.depth * h * w > 1
        self._mean, self._scale = mean.float(), 1 / (spread.sqrt() + _FLOOR).float()
        if self._plain:
            self._mean, self._scale = torch.zeros_like(self._mean), torch.ones_like(self._scale)
            self.fit_spacing = (1.0, 1.0)
        small = (small - self._mean) * self._scale
        parts = [small]
        if self._context:
            gradient = gradient_magnitude(small[:, :1], 1.0)
            spread, mean = torch.var_mean(gradient.double(), correction=0)
            self._small_gradient = (gradient - mean.float()) / (spread.sqrt().float() + 1e-3)
            parts += [gaussian(small, self._blur), self._small_gradient]
        if self.depth > 1:
            parts += [self._neighbour(small, direction) for direction in (-1, 1)]
        self.fit = torch.cat(parts, 1)
        self.count = self.fit.shape[1]

    def full(self, first: int, stop: int, device: torch.device) -> torch.Tensor:
        """All channels of slices ``first`` to ``stop`` (excluded) at the stack's size, ``[n, count, H, W]``."""
        image = self._standardised(range(first, stop), device)
        parts = [image]
        if self._context:
            gradient = self._small_gradient[first:stop].to(device)
            gradient = F.interpolate(gradient, self.size, mode="bilinear", align_corners=False)
            parts += [gaussian(image, self._blur * self._shrink), gradient]
        if self.depth > 1:
            for direction in (-1, 1):
                below, above, share = self._between(first, stop, direction)
                below, above = self._standardised(below, device), self._standardised(above, device)
                parts.append(torch.lerp(below, above, share.to(device)))
        return torch.cat(parts, 1).contiguous(memory_format=torch.channels_last)

    def targets(self) -> np.ndarray:
        """The blurred intensities of all slices at the size of the fit, float32 ``[Z, h, w, C]``: what is clustered."""
        blurred = self.fit[:, self.blurred] if self._context else gaussian(self.fit[:, : self.intensities], self._blur)
        return np.ascontiguousarray(blurred.permute(0, 2, 3, 1).numpy())

    def _reduced(self, first: int) -> torch.Tensor:
        part = self._images(range(first, min(first + _SLICES, self.depth)))
        if part.shape[-2:] == self.fit_size:
            return part
        if self._plain:  # bicubic and not antialiased
            return F.interpolate(part, self.fit_size, mode="bicubic", align_corners=False)
        return F.interpolate(part, self.fit_size, mode="area")

    def _images(self, slices) -> torch.Tensor:
        picked = self._stack[slices.start : slices.stop] if isinstance(slices, range) else self._stack[slices]
        if self._plain and self.intensities == 3:
            picked = rgb_from_lab(100 * picked)[..., ::-1]
        return torch.from_numpy(np.ascontiguousarray(picked.transpose(0, 3, 1, 2), dtype=np.float32))

    def _standardised(self, slices, device: torch.device) -> torch.Tensor:
        return (self._images(slices).to(device) - self._mean.to(device)) * self._scale.to(device)

    def _neighbour(self, small: torch.Tensor, direction: int) -> torch.Tensor:
        below, above, share = self._between(0, self.depth, direction)
        return torch.lerp(small[below], small[above], share)

    def _between(self, first: int, stop: int, direction: int):
        """The slices below and above the place one reach from each slice, and the share of the upper one."""
        place = np.clip(np.arange(first, stop) + direction * self._reach, 0, self.depth - 1)
        below = np.floor(place).astype(int)
        share = torch.from_numpy((place - below).astype(np.float32))[:, None, None, None]
        return below, np.minimum(below + 1, self.depth - 1), share


def gaussian(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """``x`` ``[N, C, H, W]`` blurred by ``sigma`` pixels; the border is continued with its own values."""
    if sigma <= 0:
        return x
    weights = _samples(sigma)
    return _along_columns(_along_rows(x, weights), weights)


def gradient_magnitude(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """Length of the gradient of ``x`` ``[N, C, H, W]`` at scale ``sigma`` pixels, per pixel."""
    smooth = _samples(sigma)
    offsets = torch.arange(len(smooth), dtype=smooth.dtype) - len(smooth) // 2
    slope = smooth * offsets
    slope = slope / (slope * offsets).sum()  # a ramp of 1 per pixel has the slope 1
    down = _along_columns(_along_rows(x, slope), smooth)
    right = _along_columns(_along_rows(x, smooth), slope)
    return torch.sqrt(down * down + right * right)


def guided_filter(x: torch.Tensor, guide: torch.Tensor, radius: int, smoothness: float) -> torch.Tensor:
    """``x`` ``[N, C, H, W]`` smoothed over windows of 2 ``radius`` + 1 pixels along the edges of ``guide``
    ``[N, 1, H, W]``; contrasts of the guide below sqrt(``smoothness``) count as flat.

    Windows end at the border of the image. Source: He, Sun and Tang, "Guided image filtering", TPAMI 2013.
    """
    if radius == 0:
        return x
    guide = guide.contiguous()
    mean_guide = _window_mean(guide, radius)
    variance = _window_mean(guide * guide, radius) - mean_guide**2
    group = max(1, _GROUP_VALUES // guide.numel())  # a few channels at a time stay in the processor's cache
    parts = [_guided(part.contiguous(), guide, mean_guide, variance, radius, smoothness) for part in x.split(group, 1)]
    return torch.cat(parts, 1)


def _guided(x, guide, mean_guide, variance, radius: int, smoothness: float) -> torch.Tensor:
    mean = _window_mean(x, radius)
    covariance = _window_mean(guide * x, radius) - mean_guide * mean
    slope = covariance / (variance + smoothness)
    offset = mean - slope * mean_guide
    return _window_mean(slope, radius) * guide + _window_mean(offset, radius)


def _window_mean(x: torch.Tensor, radius: int) -> torch.Tensor:
    """Mean over the part of the window inside the image, ``[N, C, H, W]``."""
    for dim in (2, 3):
        counts = _window_sum(torch.ones_like(x.narrow(0, 0, 1).narrow(1, 0, 1)), radius, dim)
        x = _window_sum(x, radius, dim) / counts
    return x


def _window_sum(x: torch.Tensor, radius: int, dim: int) -> torch.Tensor:
    """Sum of 2 ``radius`` + 1 neighbours along ``dim``, from sums of 1, 2, 4, ... of them: a few additions in all."""
    size = 2 * radius + 1
    padding = (0, 0, radius, radius) if dim == 2 else (radius, radius)
    part, length = F.pad(x, padding), 1  # part[i] = sum of ``length`` values from i on
    pieces, done = [], 0
    while length <= size:
        if size & length:
            pieces.append(part.narrow(dim, done, x.shape[dim]))
            done += length
        if 2 * length <= size:
            part = part.narrow(dim, 0, part.shape[dim] - length) + part.narrow(dim, length, part.shape[dim] - length)
        length *= 2
    return summed(pieces)


def _samples(sigma: float) -> torch.Tensor:
    radius = max(1, math.ceil(3.5 * sigma))
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weights = torch.exp(-offsets.square() / (2 * sigma * sigma))
    return weights / weights.sum()


def _along_rows(x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Correlation along H, i.e. down the rows."""
    return _correlate(x, weights[:, None])


def _along_columns(x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return _correlate(x, weights[None, :])


def _correlate(x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    count, channels, height, width = x.shape
    rows, columns = kernel.shape[0] // 2, kernel.shape[1] // 2
    x = F.pad(x.reshape(-1, 1, height, width), (columns, columns, rows, rows), mode="replicate")
    return F.conv2d(x, kernel[None, None].to(x)).view(count, channels, height, width)
