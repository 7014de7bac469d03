"""Intensities of any image on one scale: grey 0 to 1 (Hounsfield-aware), colour as CIE Lab.

The scale is taken from the whole volume once, so that every slice of it is treated alike. It hangs on how the values of the
image are distributed, not on their number format, nor on padding or single voxels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ..common.arrays import two
from ..common.errors import InputError
from .colors import lab_from_rgb
from .padding import RealRange, hounsfield_offset, is_cut_off, own_values, real_range
from .volume import Volume

# Hounsfield units to 0..1: soft tissue gets most of the range, lung and bone stay distinguishable.
CT_KNOTS = (-1024.0, -160.0, 240.0, 1500.0)
CT_VALUES = (0.0, 0.12, 0.88, 1.0)
_AIR = (-1100.0, -900.0)  # Hounsfield units: outside a scanner's circle these are what is measured there
_SAMPLES = 2_000_000  # voxels looked at to find the scale
_FULL_SCALES = (1.0, 255.0, 4095.0, 65535.0)  # of colours
_APART = 0.5  # of the range of the image: padding so far away is reported
_VERY_FAR = 3.0  # of the same: padding above
_FINE = 1 << 10  # values so much larger than their range lose contrast as float32
_HUGE = 1e18  # ranges beyond this, or below its inverse, are not for float32


@dataclass(frozen=True)
class IntensityScale:
    """How the intensities of one volume become features; see :func:`intensity_scale`.

    :param kind: "ct" (Hounsfield units), "grey" or "rgb".
    :param low, high: the values, less ``offset`` and over ``unit``, that become 0 and 1 (the darkest and the full scale of
        the colour channels for rgb).
    :param has_invalid: whether NaN or infinite voxels were seen; they are read as ``low``, above all others as ``high``.
    :param offset, unit: of the values of the voxels, 0 and 1 for most images.
    :param bottom, top: values (as ``low``) beyond which lie only padding and lone extremes; they are read as these ends.
    :param padding: values from this one on, at the high end, are padding and read as ``bottom``; None: there are none.
    :param notes: what the user should know.
    """

    kind: str
    low: float
    high: float
    has_invalid: bool = False
    offset: float | int = 0
    unit: float = 1.0
    bottom: float = -math.inf
    top: float = math.inf
    padding: float | int | None = None
    notes: tuple[str, ...] = ()

    @property
    def channels(self) -> int:
        return 3 if self.kind == "rgb" else 1

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Voxels ``[...]`` or ``[..., 3]`` to features float32 ``[..., channels]``: grey 0 to 1; Lab / 100."""
        values = self.relative(array)
        if self.kind == "ct":
            return np.interp(values, CT_KNOTS, CT_VALUES).astype(np.float32)[..., None]
        if self.kind == "rgb":
            return lab_from_rgb(self.rgb(array)) / np.float32(100.0)
        return np.clip((values - np.float32(self.low)) / np.float32(self.high - self.low), 0.0, 1.0)[..., None]

    def rgb(self, array: np.ndarray) -> np.ndarray:
        """Voxels ``[..., 3]`` of an image in colour as sRGB, float32 ``[..., 3]``, 0 to 1."""
        values = self.relative(array)
        return np.clip((values - np.float32(self.low)) / np.float32(self.high - self.low), 0.0, 1.0)

    def without_number(self, array: np.ndarray) -> np.ndarray | None:
        """Where voxels ``[K, J, I]`` or ``[K, J, I, 3]`` are NaN or infinite, bool ``[K, J, I]``, which no answer is to hold; None:
        nowhere."""
        if not self.has_invalid:
            return None
        return ~(np.isfinite(array) if array.ndim == 3 else np.isfinite(array).all(-1))

    def relative(self, array: np.ndarray) -> np.ndarray:
        """Voxels less ``offset`` and over ``unit`` (Hounsfield units of a CT) without padding, extremes, NaN; float32."""
        array = np.asarray(array)
        values = _less(array, self.offset, self._ends(array.dtype))
        values = np.asarray(values if self.unit == 1 else values / self.unit, np.float32)
        if self.has_invalid:
            values = np.nan_to_num(values, nan=self.low, posinf=self.high, neginf=self.low)
        if self.padding is not None:
            values[array >= self.padding] = max(self.bottom, self.low)
        if self.bottom > -math.inf or self.top < math.inf:
            values = np.clip(values, np.float32(self.bottom), np.float32(self.top))
        return values

    def darkest(self, dtype: np.dtype) -> np.generic:
        """The value that becomes 0, as a voxel of this type."""
        value = self.low * self.unit
        if dtype.kind not in "iu":
            return dtype.type(value + self.offset)
        limits = np.iinfo(dtype)
        return dtype.type(min(max(math.ceil(value) + int(self.offset), limits.min), limits.max))

    def _ends(self, dtype: np.dtype) -> tuple[float | int, float | int] | None:
        """The values between which all voxels are, where the difference to ``offset`` would overflow beyond them."""
        if dtype.kind not in "iu" or dtype.itemsize < 8 or not self.offset:
            return None
        limits = np.iinfo(dtype)
        return two(
            min(max(int(self.offset) + (int(end) if math.isfinite(end) else side * (1 << 62)), limits.min), limits.max)
            for end, side in ((self.bottom, -1), (self.top, 1))
        )


def intensity_scale(volume: Volume) -> IntensityScale:
    """The intensity scale of ``volume``.

    Padding and lone extremes at both ends (:func:`~.padding.real_range`) are left out. CT is what the volume's modality says,
    else what is distributed like Hounsfield units (:func:`~.padding.hounsfield_offset`). Other grey images are scaled from
    their 0.5 to 99.5 percentile; a constant background that fills much of the image (masked images) is left out, and so is what
    is constant at the border (:func:`~.padding.own_values`).

    :raises InputError: nothing finite, or no contrast at all.
    """
    sample, rim, missing = _looked_at(volume)
    scale = _scale_of(volume, sample, rim, missing > 0)
    if missing == 0:
        return scale
    share = "less than 0.1%" if missing < 0.001 else f"{missing:.1%}"
    note = f"{share} of the voxels of image {volume.name!r} hold no number (NaN or infinite): they show nothing, and no answer holds them"
    return replace(scale, notes=(*scale.notes, note))


def _scale_of(volume: Volume, sample: np.ndarray, rim: np.ndarray, invalid: bool) -> IntensityScale:
    if volume.is_rgb:
        return _colour_scale(sample, volume.array.dtype, invalid)
    values = _relative(sample, sample[len(sample) // 2])
    range_ = real_range(values, _relative(rim, sample[len(sample) // 2]), int(np.prod(volume.array.shape[:3])))
    real = sample[range_.first : range_.last]
    absolute = _relative(real, 0)
    masked = range_.below is not None and range_.below.is_padding and float(sample[range_.below.place]) > _AIR[1]
    modality = "" if volume.array.dtype == np.uint8 else volume.modality  # Hounsfield units do not fit into 8 bits
    offset = hounsfield_offset(absolute, modality, masked)
    if offset is None:
        return _grey_scale(sample, real, rim, range_, invalid)
    low, high = CT_KNOTS[0], CT_KNOTS[-1]
    return IntensityScale(
        "ct", low, high, invalid, offset, 1.0,
        bottom=-math.inf if range_.below is None else low,
        top=math.inf if range_.above is None else float(absolute[-1] - offset),
        padding=_dark_padding(sample, rim, range_, high - low),
        notes=_notes(sample, range_, two(v + offset for v in _AIR), 0.0),
    )  # fmt: skip


def _grey_scale(
    sample: np.ndarray, real: np.ndarray, rim: np.ndarray, range_: RealRange, invalid: bool
) -> IntensityScale:
    padded = sum(end.voxels for end in (range_.below, range_.above) if end is not None and end.is_padding)
    own = own_values(_relative(real, real[len(real) // 2]), _relative(rim, real[len(real) // 2]), padded)
    inside = real[own]
    middle = inside[len(inside) // 2]
    values = _relative(inside, middle)
    low, high = np.percentile(values, (0.5, 99.5))
    if not own[0] and range_.below is None and is_cut_off(values, high):
        low = _relative(real[:1], middle)[0]
    if not high > low:
        values = _relative(real, middle)
        low, high = values[0], values[-1]
    spread = float(high - low)
    unit = 1.0 if 1 / _HUGE < spread < _HUGE else spread
    offset = middle.item() if abs(float(middle)) > _FINE * spread else 0
    ends = _relative(np.stack((real[0], real[-1])), offset) / unit
    shift = float(_relative(np.stack((middle,)), offset)[0])
    low, high = (float(v + shift) / unit for v in (low, high))
    bounded = offset != 0 or unit != 1
    return IntensityScale(
        "grey", low, high, invalid, offset, unit,
        bottom=low if range_.below else float(ends[0]) if bounded else -math.inf,
        top=high if range_.above else float(ends[1]) if bounded else math.inf,
        padding=_dark_padding(sample, rim, range_, spread),
        notes=_notes(sample, range_, (0, 0), _APART * spread),
    )  # fmt: skip


def _colour_scale(sample: np.ndarray, dtype: np.dtype, invalid: bool) -> IntensityScale:
    """The full scale of the colour channels: that of the number format that their values fit, not the largest value."""
    if dtype == np.uint8:
        return IntensityScale("rgb", 0.0, 255.0, invalid)
    values = _relative(sample, 0)
    range_ = real_range(values, values[:0], len(values))
    real = values[range_.first : range_.last]
    low, top = float(real[0]), float(real[-1])
    if np.quantile(real, 0.01) < -0.05 * top:
        return IntensityScale("rgb", low, top, invalid, bottom=low, top=top)
    fitting = (full for full in _FULL_SCALES if full / 16 < top <= full * 1.001)
    # Whole numbers have a format; fractions beyond 255 have an own scale.
    full = next(fitting, top) if dtype.kind in "biu" or top <= 255.5 else top
    return IntensityScale("rgb", 0.0, full, invalid, top=full)


def _dark_padding(sample: np.ndarray, rim: np.ndarray, range_: RealRange, spread: float) -> float | int | None:
    """The lowest value of padding above the image, which is shown as dark as that below. Where it is not very far it could be
    what is brightest in an image of few values, and amid the image a thing that is bright (metal, writing): both stay bright."""
    if range_.above is None or not range_.above.is_padding or not (rim.size and rim[-1] > sample[range_.last - 1]):
        return None
    far = float(sample[range_.last - 1]) + _VERY_FAR * spread
    at = np.searchsorted(sample[range_.last :].astype(np.float64), far, "right") + range_.last
    return sample[at].item() if at <= range_.above.place else None


def _notes(sample: np.ndarray, range_: RealRange, usual: tuple[float, float], apart: float) -> tuple[str, ...]:
    """A sentence on the padding at each end. Not on what is to be expected at the low end, the air around a patient or 0
    around a mask (between the two ``usual`` values), nor on the background of masks that is less than ``apart`` away."""
    told = []
    for end, side, next_ in ((range_.below, "below", range_.first), (range_.above, "above", range_.last - 1)):
        if end is None or not end.is_padding:
            continue
        value, share = sample[end.place].item(), end.voxels / len(sample)
        away = abs(float(value) - float(sample[next_]))
        if away > apart and (side == "above" or not usual[0] <= value <= usual[1]):
            told.append(
                f"{share:.0%} of the voxels have the value {value:.10g}, far {side} all others: it is taken as padding or "
                "burnt in, and the intensities are scaled without it"
            )
    return tuple(told)


def _looked_at(volume: Volume) -> tuple[np.ndarray, np.ndarray, float]:
    """Finite values of a sample of the voxels and of those at the border of the volume, both sorted, in their own type; and
    the share of others than finite ones. Raises InputError if there are none, or only one."""
    array = volume.ordered.array
    array = array.view(np.uint8) if array.dtype == bool else array
    most = _SAMPLES if array.ndim == 3 else _SAMPLES / 3
    stride = max(1, int(np.ceil((array.shape[0] * array.shape[1] * array.shape[2] / most) ** (1 / 3))))
    steps = [slice(None, None, stride if n > 8 * stride else 1) for n in array.shape[:3]]
    sample = np.ascontiguousarray(array[tuple(steps)])
    sides = [np.moveaxis(sample, a, 0)[at].ravel() for a in range(3) if sample.shape[a] > 1 for at in (0, -1)]
    values = _finite(sample).ravel()
    # A voxel type without NaN needs no full check; for floats the sample could miss a lone NaN.
    missing = 1 - values.size / sample.size
    if array.dtype.kind == "f" and not missing and not all(np.isfinite(plane).all() for plane in array):
        missing = 1 / array.size
    if values.size == 0 or not values.max() > values.min():
        values = _finite(array).ravel()  # the sample may have missed what is there
    if values.size == 0:
        raise InputError(
            f"image {volume.name!r} holds no finite value (only NaN or infinity); check how it was written"
        )
    if not values.max() > values.min():
        raise InputError(
            f"image {volume.name!r} is constant (every voxel is {values[0].item():g}); there is nothing to tell apart. "
            "Choose another volume, frame or slice"
        )
    rim = _finite(np.concatenate(sides)) if sides else values[:0]
    values, rim = (np.sort(v, kind="stable" if v.dtype.itemsize < 3 else None) for v in (values, rim))
    return values, rim, missing


def _finite(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind != "f":
        return array
    finite = np.isfinite(array)
    return array if finite.all() else array[finite]


def _relative(values: np.ndarray, offset) -> np.ndarray:
    """``values`` less ``offset`` as float64, exact where the difference is small however large both are."""
    if values.dtype.kind in "iu" and values.dtype.itemsize == 8:
        rough = values.astype(np.float64) - float(offset)
        exact = _less(values, int(offset), None)
        return np.where(np.abs(rough) < 2.0**60, exact, rough)
    return values.astype(np.float64) - float(offset)


def _less(array: np.ndarray, offset, ends) -> np.ndarray:
    """``array`` less ``offset`` in a type that keeps small differences of large values.

    :param ends: to which values of 64 bits are clipped first, lest the difference overflows.
    """
    if not offset:
        return array
    if array.dtype.kind in "biu" and array.dtype.itemsize < 8:
        return np.subtract(array, int(offset), dtype=np.int64) if float(offset).is_integer() else array - float(offset)
    if array.dtype.kind in "iu":
        array = array if ends is None else np.clip(array, *ends)
        return (array.view(np.uint64) - np.uint64(int(offset) % (1 << 64))).view(np.int64)
    return array - array.dtype.type(offset)
