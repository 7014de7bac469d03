"""What the values of an image mean: which belong to what it shows and which are padding or lone extremes; and whether they are
Hounsfield units, by what is known of the image and by their distribution.

Padding (outside a scanner's circle, a mask or a registered field of view) is one value, or a few, on many voxels, apart from
all others. Extremes are few voxels of any values, still further away. Neither says anything about the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

_COMMON = 0.01  # of all voxels with one value: what padding has at least
_MASKED = 0.2  # of all voxels: a background that fills more is left out
# What is constant: a value that so many of all voxels have, and that is so many times commoner than so many values on each side.
_SPIKE, _STEP, _BESIDE = 0.02, 5.0, 3
_DARK = 0.02  # of the voxels that the image's own values begin with: constant values among them are background
_ONSET = 0.05  # of the range; masked images have less than that share of their voxels in it, cut ones more
_TIED = 0.95  # of the voxels beyond the gap: so many have common values where it is padding
_TIES = 0.0025  # of all voxels: one value counts for no more than this when the spread of the image is judged
_FEW = 0.005  # of all voxels: extremes; in a small image
_LONE, _LONE_VOXELS = 0.03, 100  # 100 voxels, but not more than 3 %
_NEAR_TOP = 0.8  # of the range of an image: the brightest of its other values reach it where it is saturated
_LEVELS = 8  # different values in the middle of an image; with fewer its spread is not known
_FAR, _NEAR = 30.0, 0.05  # gap over the spread: padding wherever it lies; padding if it lies at the rim, too
# The same: one value beyond the image, wherever it lies (a box blanked out, a face removed, writing burnt in).
_ALONE = 0.5
_LONE_FAR = 10.0  # the same: extremes that are not few in a small image
_FEW_LEVELS_APART = 5.0  # gap over the range of an image of few values
_MIXTURES, _EXCHANGED = 4, 0.6  # steps from padding to image; of the blended voxels that have their like
_BLENDED = 0.5  # of the padding: voxels that interpolation made of padding and image
_UNKNOWN = ("", "OT", "SC")  # DICOM modalities that say nothing about the values: other, secondary capture
_OFFSET = 1024.0  # of CT that is kept without a sign
_BETWEEN = (-650.0, -250.0)  # gas and tissue
_SOFT = (-150.0, 200.0)  # tissue without bone
_NOISE = -150.0  # of air in such CT: it and overshoots of interpolation pass below 0
_LOWEST, _HIGHEST = -1100.0, 3200.0  # of what is measured; below lies padding, above metal


class Beyond(NamedTuple):
    """The commonest of the values beyond an end of an image: its ``place`` among the sorted voxels, how many ``voxels`` have it."""

    place: int
    voxels: int
    is_padding: bool


@dataclass(frozen=True)
class RealRange:
    """The values of an image without padding and extremes, which are sorted voxels ``first`` to ``last`` (excluded).

    :param below, above: what lies beyond each end; None if there is nothing.
    """

    first: int
    last: int
    below: Beyond | None = None
    above: Beyond | None = None


def real_range(values: np.ndarray, rim: np.ndarray, whole: int) -> RealRange:
    """Where the values of the image lie among ``values``.

    :param values: float64, sorted, of all voxels or of a sample of them.
    :param rim: float64, sorted, those of them at the border of the volume.
    :param whole: how many voxels the volume has.
    """
    starts, counts, levels = _levels(values)
    below = _beyond(levels, counts, rim, whole)
    above = _beyond(-levels[::-1], counts[::-1], -rim[::-1], whole)
    first = 0 if below is None else int(starts[below])
    last = len(values) if above is None else len(values) - int(counts[::-1][:above].sum())
    return RealRange(
        first, last,
        None if below is None else _commonest(starts, counts, slice(0, below)),
        None if above is None else _commonest(starts, counts, slice(len(levels) - above, len(levels))),
    )  # fmt: skip


def _levels(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the sorted ``values``: where each one begins, how often it is there, and which one it is."""
    starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
    return starts, np.diff(np.r_[starts, len(values)]), values[starts]


def own_values(values: np.ndarray, rim: np.ndarray, padded: int) -> np.ndarray:
    """Which of the sorted ``values`` are of what the image shows, bool: not the constant background at the low end, where it
    fills much of the image (masked images), nor what is constant at the border of the volume, whatever its value, or brightest.

    :param rim: as in :func:`real_range`. ``padded``: how many voxels are padding beyond ``values``.
    """
    _, counts, levels = _levels(values)
    total = len(values)
    left = np.zeros(len(levels), bool)
    for n in np.flatnonzero(counts >= _SPIKE * total):
        left[n] = _is_spike(counts, int(n)) and _at_the_rim(levels[n], levels[n], counts[n] / total, rim)
    # The brightest value, where others do not come near it, as they do where an image is saturated.
    near = levels[np.searchsorted(np.cumsum(counts[:-1]), (1 - _FEW) * (total - counts[-1]))]
    left[-1] |= counts[-1] > _FEW * total and near - levels[0] < _NEAR_TOP * (levels[-1] - levels[0])
    left[-1] &= _is_spike(counts, len(counts) - 1)
    dark = np.cumsum(np.where(left, 0, counts)) <= _DARK * counts[~left].sum()
    background = dark & left
    background[0] |= counts[0] > _MASKED * total
    # What is constant elsewhere may lie in place of background.
    left[background] = counts[left | background].sum() + padded > _MASKED * (total + padded)
    return np.repeat(~left, counts) if not left.all() else np.ones(total, bool)


def _is_spike(counts: np.ndarray, n: int) -> bool:
    """Whether value number ``n`` is far commoner than those around it; not known of an image of few values."""
    beside = np.r_[counts[max(0, n - _BESIDE) : n], counts[n + 1 : n + 1 + _BESIDE]]
    return len(counts) > 2 * _BESIDE and bool(counts[n] > _STEP * np.median(beside))


def is_cut_off(values: np.ndarray, high: float) -> bool:
    """Whether the distribution of the sorted ``values`` up to ``high`` begins at once with as many as there are elsewhere: those
    that lay below have all been given one other value."""
    first, onset = np.searchsorted(values, (values[0], values[0] + _ONSET * (high - values[0])), "right")
    return bool(first < _SPIKE * len(values) and onset > _ONSET * len(values))


def _commonest(starts: np.ndarray, counts: np.ndarray, part: slice) -> Beyond:
    at = part.start + int(counts[part].argmax())
    return Beyond(int(starts[at]), int(counts[at]), bool(counts[at] >= _COMMON * counts.sum()))


def _beyond(levels: np.ndarray, counts: np.ndarray, rim: np.ndarray, whole: int) -> int | None:
    """How many of ``levels`` (ascending, with the number of voxels of each) are not image at the low end; None: none."""
    if len(levels) < 3:
        return None
    total = int(counts.sum())
    weights = np.cumsum(np.minimum(counts, max(1.0, _TIES * total)))
    low, high = np.searchsorted(weights, np.array((0.1, 0.9)) * weights[-1])
    common = counts >= _COMMON * total
    if high - low < _LEVELS:
        return _of_few_levels(levels, counts, common, rim)
    apart = _parts_beyond(levels, counts, common, int(low), int(high), rim, whole)
    return max(apart, _blended(levels, counts, weights, rim) if common[0] else 0) or None


def _parts_beyond(
    levels: np.ndarray,
    counts: np.ndarray,
    common: np.ndarray,
    low: int,
    high: int,
    rim: np.ndarray,
    whole: int,
) -> int:
    """How many of ``levels`` lie beyond the last gap that parts padding or extremes from the image.

    From the outside inwards, and what lies between two gaps is judged by itself: a small object that is set off from the
    rest of the image is no padding because there is padding further away.

    :param low, high: where among the levels the middle of the image begins and ends.
    """
    total = int(counts.sum())
    spread = 1.5 * (levels[high] - levels[low])
    inside = np.diff(levels[low : high + 1]).max()
    gaps = np.diff(levels[: low + 1])
    voxels = np.r_[0, np.cumsum(counts[:low])]
    ties = np.r_[0, np.cumsum(np.where(common, counts, 0)[:low])]
    apart = padded = 0
    for at in np.flatnonzero(gaps > _NEAR * spread):
        gap, part = gaps[at], int(voxels[at + 1] - voxels[apart])
        loose = voxels[at + 1] - padded
        few = loose <= _FEW * total and gap > spread
        few |= loose <= min(_LONE, _LONE_VOXELS / whole) * total and gap > _LONE_FAR * spread
        tied = ties[at + 1] - ties[apart] >= _TIED * part
        blends = part <= _BLENDED * padded and 2 * (levels[at] - levels[apart]) > levels[at + 1] - levels[apart - 1]
        padding = (tied or blends) and (
            gap > _FAR * spread or (gap > 1.5 * inside and _at_the_rim(levels[apart], levels[at], part / total, rim))
        )
        padding |= at == apart and counts[at] > _FEW * total and gap > max(_ALONE * spread, 1.5 * inside)
        if padding or few:
            apart, padded = int(at) + 1, padded + (part if padding else 0)
    return apart


def _blended(levels: np.ndarray, counts: np.ndarray, weights: np.ndarray, rim: np.ndarray) -> int:
    """The same (0: none) where interpolation has filled the gap with few voxels of values between the padding and the image."""
    low, high = levels[np.searchsorted(weights, np.array((0.25, 0.75)) * weights[-1])]
    spread = 3 * (high - low)
    cut = int(np.searchsorted(levels, low - spread))
    if cut < 2:
        return 0
    between = counts[1:cut].sum()
    # Every mixture is as common as that with the shares exchanged, unlike in a tail of the image or an object beside it.
    mixtures = np.histogram(levels[1:cut], _MIXTURES, (levels[0], low - spread), weights=counts[1:cut])[0]
    even = np.minimum(mixtures, mixtures[::-1]).sum() > _EXCHANGED * between and between <= _BLENDED * counts[0]
    far = levels[0] < low - 4 * spread and _at_the_rim(levels[0], levels[0], counts[0] / counts.sum(), rim)
    return cut if even and far else 0


def _of_few_levels(levels: np.ndarray, counts: np.ndarray, common: np.ndarray, rim: np.ndarray) -> int | None:
    """The same for images of few values, made without noise: what is very far from the common values, and one of those that is
    very far from all others."""
    usual = np.flatnonzero(common)
    if len(usual) < 2:
        return None
    first, last = usual[0], usual[-1]
    if len(usual) > 2:
        far = levels[usual[1]] - levels[first] > _FEW_LEVELS_APART * (levels[last] - levels[usual[1]])
        if far and _at_the_rim(levels[0], levels[first], counts[: first + 1].sum() / counts.sum(), rim):
            return int(first) + 1
    lone = np.flatnonzero(levels[first] - levels[:first] > levels[last] - levels[first])
    return int(lone[-1]) + 1 if lone.size else None


def _at_the_rim(lowest: float, highest: float, share: float, rim: np.ndarray) -> bool:
    """Whether these values, which ``share`` of all voxels have, are about as common at the border of the volume: an object
    that is constant, but no padding, lies inside."""
    there = np.searchsorted(rim, highest, "right") - np.searchsorted(rim, lowest)
    return bool(there >= 0.5 * share * len(rim) > 0)


def hounsfield_offset(values: np.ndarray, modality: str = "", masked: bool = False) -> float | None:
    """What must be subtracted from ``values`` so that they are Hounsfield units (0 or 1024); None if they are none.

    :param values: float64, sorted, without padding.
    :param modality: of DICOM, "" if unknown. Other than CT: never Hounsfield units. CT: always, if the values can be such
        units. Unknown: where the distribution has the shape of a CT's.
    :param masked: whether there was padding of a value that is none of air or beyond.
    """
    modality = modality.strip().upper()
    if modality != "CT" and modality not in _UNKNOWN:
        return None
    values = _without_commonest(values, (_HIGHEST, np.inf), 0.5)  # no measured value has so many voxels there
    if _looks_like_ct(_without_commonest(values, _BETWEEN, 0.5)):  # padding that no gap sets off
        return 0.0
    if values[len(values) // 50] > _NOISE and _looks_like_ct(values - _OFFSET, strict=modality != "CT"):
        # Without what may be padding amid soft tissue; in a CT no single value makes the difference.
        is_ct = modality == "CT" or _looks_like_ct(_without_commonest(values - _OFFSET, _SOFT, 0.0), strict=True)
        return _OFFSET if is_ct else None
    return 0.0 if modality == "CT" and _possible(values, masked) else None


def _without_commonest(values: np.ndarray, part: tuple[float, float], least: float) -> np.ndarray:
    """``values`` without the one that most of those in ``part`` have, if it is this share of them at ``least``."""
    first, last = np.searchsorted(values, part)
    starts = first + np.flatnonzero(np.diff(values[first:last], prepend=-np.inf))
    counts = np.diff(starts, append=last)
    if not starts.size or counts.max() < least * (last - first):
        return values
    at = starts[counts.argmax()]
    return np.delete(values, slice(at, at + counts.max()))


def _possible(values: np.ndarray, masked: bool) -> bool:
    """Whether values of a CT can be Hounsfield units: not a window of it (0 to 255, 0 to 1), nor raw values."""
    low, middle, high = values[[len(values) // 100, len(values) // 2, -1 - len(values) // 100]]
    if low < _LOWEST or middle > _HIGHEST or high - low < 20:
        return False
    if low < -5:
        return True
    cut_off = np.searchsorted(values, values[0], "right") > 0.01 * len(values)  # at the end of a window
    return bool(middle < 300 and not cut_off and not masked)


def _looks_like_ct(values: np.ndarray, strict: bool = False) -> bool:
    """Whether ``values`` are distributed like Hounsfield units: gas at -1000, soft tissue about 0, and little between them.

    :param strict: for units with an offset, as other images have no negative values either: air around the body and bone, too.
    """

    def count(low: float, high: float) -> int:
        return int(np.searchsorted(values, high) - np.searchsorted(values, low))

    measured = count(_LOWEST, _HIGHEST)
    if measured < 0.995 * (len(values) - count(-np.inf, _LOWEST)) or measured < 0.5 * len(values):
        return False
    gas, near_air = count(_LOWEST, -500), count(_LOWEST, -850)
    body, soft, between = count(_BETWEEN[0], _HIGHEST), count(*_SOFT), count(*_BETWEEN)
    if gas < 0.001 * measured or near_air < 0.25 * gas or soft < max(0.45 * body, 0.05 * measured):
        return False
    # of each, per Hounsfield unit
    valley, tissue, air = between / 400, soft / 350, near_air / 250
    if valley > 0.5 * tissue or (gas > 0.1 * measured and valley > 0.75 * air):
        return False
    return not strict or _has_air_and_bone(count, body, soft, valley, tissue, measured)


def _has_air_and_bone(count, body: int, soft: int, valley: float, tissue: float, measured: int) -> bool:
    air = count(-1030, -900)
    return bool(
        air > 0.01 * measured and air > 0.5 * count(_LOWEST, -850) and soft > 0.55 * body and valley < 0.25 * tissue
        and count(300, _HIGHEST) > 0.0005 * measured
    )  # fmt: skip
