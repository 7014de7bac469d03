"""Intensities of any image on one scale: grey 0 to 1 (Hounsfield-aware), colour as CIE Lab.

The scale is taken from the whole volume once, so that every slice of it is treated alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .volume import Volume

# Hounsfield units to 0..1: soft tissue gets most of the range, lung and bone stay distinguishable.
CT_KNOTS = (-1024.0, -160.0, 240.0, 1500.0)
CT_VALUES = (0.0, 0.12, 0.88, 1.0)
_SAMPLES = 2_000_000  # voxels looked at to find the scale


@dataclass(frozen=True)
class IntensityScale:
    """How the intensities of one volume become features; see :func:`intensity_scale`.

    :param kind: "ct" (Hounsfield units), "grey" or "rgb".
    :param low, high: the values that become 0 and 1 (grey); high = full scale of the colour channels (rgb).
    :param has_invalid: whether NaN or infinite voxels were seen; they are read as ``low``.
    """

    kind: str
    low: float
    high: float
    has_invalid: bool = False

    @property
    def channels(self) -> int:
        return 3 if self.kind == "rgb" else 1

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Voxels ``[...]`` or ``[..., 3]`` to features float32 ``[..., channels]``: grey 0 to 1; Lab / 100."""
        values = np.asarray(array, dtype=np.float32)
        if self.has_invalid:
            values = np.nan_to_num(values, nan=self.low, posinf=self.high, neginf=self.low)
        if self.kind == "rgb":
            return lab_from_rgb(np.clip(values / self.high, 0.0, 1.0)) / np.float32(100.0)
        if self.kind == "ct":
            scaled = np.interp(values, CT_KNOTS, CT_VALUES).astype(np.float32)
        else:
            scaled = np.clip((values - self.low) / (self.high - self.low), 0.0, 1.0)
        return scaled[..., None]


def intensity_scale(volume: Volume) -> IntensityScale:
    """The intensity scale of ``volume``.

    CT is recognised by integer-like values that reach from air (below -500) to tissue. Other grey images are scaled
    from their 0.5 to 99.5 percentile; a constant background that fills much of the image (masked images) is left out.

    :raises InputError: nothing finite, or no contrast at all.
    """
    array = volume.array
    stride = max(1, int(np.ceil((array.shape[0] * array.shape[1] * array.shape[2] / _SAMPLES) ** (1 / 3))))
    steps = [stride if n > 8 * stride else 1 for n in array.shape[:3]]
    sample = array[:: steps[0], :: steps[1], :: steps[2]].astype(np.float64)
    finite = np.isfinite(sample)
    # A voxel type without NaN needs no full check; for floats the sample could miss a lone NaN.
    invalid = array.dtype.kind == "f" and not (finite.all() and _all_finite(array))
    values = sample[finite]
    if values.size == 0:
        raise InputError(
            f"image {volume.name!r} holds no finite value (only NaN or infinity); check how it was written"
        )
    minimum, maximum = values.min(), values.max()
    if not maximum > minimum:
        raise InputError(
            f"image {volume.name!r} is constant (every voxel is {minimum:g}); there is nothing to tell apart. "
            "Choose another volume, frame or slice"
        )
    if volume.is_rgb:
        full = 255.0 if array.dtype == np.uint8 or 1.0 < maximum <= 255.0 else float(maximum)
        return IntensityScale("rgb", 0.0, full, invalid)
    if (
        minimum < -500
        and maximum > 0
        and (array.dtype.kind in "iu" or np.allclose(values[:1000], np.round(values[:1000])))
    ):
        return IntensityScale("ct", CT_KNOTS[0], CT_KNOTS[-1], invalid)
    background = np.count_nonzero(values == minimum) / values.size
    inside = values[values > minimum] if background > 0.2 else values
    low, high = np.percentile(inside, (0.5, 99.5))
    if not high > low:
        low, high = minimum, maximum
    return IntensityScale("grey", float(low), float(high), invalid)


def lab_from_rgb(rgb: np.ndarray) -> np.ndarray:
    """sRGB 0 to 1 ``[..., 3]`` to CIE L*a*b* (D65), L 0 to 100. Source: IEC 61966-2-1 and CIE 15."""
    rgb = np.asarray(rgb, dtype=np.float32)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    matrix = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]],
        np.float32,
    )
    xyz = linear @ matrix.T / np.array([0.95047, 1.0, 1.08883], np.float32)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), xyz * np.float32(24389 / 27 / 116) + np.float32(16 / 116))
    return np.stack((116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])), -1).astype(
        np.float32
    )


def _all_finite(array: np.ndarray) -> bool:
    return all(np.isfinite(plane).all() for plane in array)
