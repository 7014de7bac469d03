"""What S3-Net sees of a stack of slices: standardised intensities and their surroundings, small and at full size."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from ...images.colors import rgb_from_lab
from ..regions.filters import gaussian, gradient_magnitude
from ..settings import SegmentSettings

_FLOOR = 0.04  # added to the standard deviation (of intensities 0..1), so that noise in flat images is not blown up
_SLICES = 16  # slices prepared at once


class SliceChannels:
    """Input channels of the slices of a stack, at the size of the fit and at the stack's own size.

    Intensities are standardised by the mean and standard deviation of the whole stack, so all slices are treated alike.
    With ``fit_input`` "plain" they are
    left as they are (0 to 1, colour as BGR) and brought to a square, whose pixels count as 1 mm: as published.
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
