"""Which values of an image belong to what it shows, and which are padding or lone extremes at the ends of its values.

Padding (outside a scanner's circle, a mask or a registered field of view) is one value, or a few, on many voxels, apart from
all others. Extremes are few voxels of any values, still further away. Neither says anything about the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_COMMON = 0.01  # of all voxels with one value: what padding has at least
_TIED = 0.95  # of the voxels beyond the gap: so many have common values where it is padding
_TIES = 0.0025  # of all voxels: one value counts for no more than this when the spread of the image is judged
_FEW, _LONE, _LONE_VOXELS = (
    0.005,
    0.03,
    100,
)  # of all voxels: extremes; in a small image 100 voxels, but not more than 3 %
_LEVELS = 8  # different values in the middle of an image; with fewer its spread is not known
_FAR, _NEAR = 30.0, 0.05  # gap over the spread: padding wherever it lies; padding if it lies at the rim, too
_LONE_FAR = 10.0  # the same: extremes that are not few in a small image
_FEW_LEVELS_APART = 5.0  # gap over the range of an image of few values
_MIXTURES, _EXCHANGED = 4, 0.6  # steps from padding to image; of the blended voxels that have their like
_BLENDED = 0.5  # of the padding: voxels that interpolation made of padding and image


@dataclass(frozen=True)
class RealRange:
    """The values of an image without padding and extremes, which are sorted voxels ``first`` to ``last`` (excluded).

    :param below, above: the commonest of the values beyond each end, as (its place among the sorted voxels, how many voxels
        have it, whether it is padding); None if there is nothing beyond.
    """

    first: int
    last: int
    below: tuple[int, int, bool] | None = None
    above: tuple[int, int, bool] | None = None


def real_range(values: np.ndarray, rim: np.ndarray, whole: int) -> RealRange:
    """Where the values of the image lie among ``values``.

    :param values: float64, sorted, of all voxels or of a sample of them.
    :param rim: float64, sorted, those of them at the border of the volume.
    :param whole: how many voxels the volume has.
    """
    starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
    counts = np.diff(np.r_[starts, len(values)])
    levels = values[starts]
    below = _beyond(levels, counts, rim, whole)
    above = _beyond(-levels[::-1], counts[::-1], -rim[::-1], whole)
    first = 0 if below is None else int(starts[below])
    last = len(values) if above is None else len(values) - int(counts[::-1][:above].sum())
    return RealRange(
        first, last,
        None if below is None else _commonest(starts, counts, slice(0, below)),
        None if above is None else _commonest(starts, counts, slice(len(levels) - above, len(levels))),
    )  # fmt: skip


def _commonest(starts: np.ndarray, counts: np.ndarray, part: slice) -> tuple[int, int, bool]:
    at = part.start + int(counts[part].argmax())
    return int(starts[at]), int(counts[at]), bool(counts[at] >= _COMMON * counts.sum())


def _beyond(levels: np.ndarray, counts: np.ndarray, rim: np.ndarray, whole: int) -> int | None:
    """How many of ``levels`` (ascending, with the number of voxels of each) are no image at the low end; None: none."""
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
    levels: np.ndarray, counts: np.ndarray, common: np.ndarray, low: int, high: int, rim: np.ndarray, whole: int
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
