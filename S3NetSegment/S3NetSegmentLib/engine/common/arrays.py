"""Masks and labels of any number of axes: the box around a mask, how much two overlap, how often labels occur; and tuples of a
known length."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import numpy as np


def bounding_box(mask: np.ndarray, margin: int = 0) -> tuple[slice, ...] | None:
    """The smallest box around the true samples and ``margin`` samples more on each side; None when there are none.

    It begins inside the array, and may end beyond it, which indexing allows.
    """
    box = []
    for axis in range(mask.ndim):
        filled = np.flatnonzero(mask.any(tuple(a for a in range(mask.ndim) if a != axis)))
        if filled.size == 0:
            return None
        box.append(slice(max(0, int(filled[0]) - margin), int(filled[-1]) + margin + 1))
    return tuple(box)


def box_around(mask: np.ndarray, margin: int = 0) -> tuple[slice, ...]:
    """As :func:`bounding_box`, of a mask that holds something; else a ValueError."""
    box = bounding_box(mask, margin)
    if box is None:
        raise ValueError("the mask is empty")
    return box


def label_counts(labels: np.ndarray, size: int) -> np.ndarray:
    """How often each of 0 to ``size`` - 1 occurs in ``labels`` ``[K, ...]``, int64; by slices, since bincount copies."""
    counts = np.zeros(size, np.int64)
    for plane in labels:
        counts += np.bincount(plane.ravel(), minlength=size)
    return counts


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Dice coefficient of two bool arrays; 0 where both are empty."""
    return 2 * int(np.count_nonzero(a & b)) / max(int(np.count_nonzero(a)) + int(np.count_nonzero(b)), 1)


T = TypeVar("T")


def two(values: Iterable[T]) -> tuple[T, T]:
    """The two ``values``; ValueError where there are not two."""
    first, second = values
    return first, second


def three(values: Iterable[T]) -> tuple[T, T, T]:
    """The three ``values``; ValueError where there are not three."""
    first, second, third = values
    return first, second, third
