"""Masks and labels of any number of axes: the box around a mask, how much two overlap, how often labels occur; the corners of a box;
tuples of a known length; and a cache of what the last answers were made of."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable, Sequence
from typing import Generic, TypeVar

import numpy as np

T = TypeVar("T")


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


def corners(low: Sequence[float] | np.ndarray, high: Sequence[float] | np.ndarray) -> np.ndarray:
    """The corners ``[8, 3]`` of the box between two opposite ones; the first axis changes slowest."""
    return np.array(list(itertools.product(*zip(low, high, strict=True))), float)


def two(values: Iterable[T]) -> tuple[T, T]:
    """The two ``values``; ValueError where there are not two."""
    first, second = values
    return first, second


def three(values: Iterable[T]) -> tuple[T, T, T]:
    """The three ``values``; ValueError where there are not three."""
    first, second, third = values
    return first, second, third


class LimitedCache(Generic[T]):
    """Keeps what was used last, up to ``limit`` in sizes (bytes, or entries where each has the size 1), at least one."""

    def __init__(self, limit: int):
        self._found: dict[Hashable, tuple[T, int]] = {}
        self._limit = limit

    def get(self, key: Hashable) -> T | None:
        """What was kept under ``key``, or None."""
        if key not in self._found:
            return None
        self._found[key] = self._found.pop(key)  # the last used one is the last to go
        return self._found[key][0]

    def add(self, key: Hashable, found: T, size: int = 1) -> T:
        """Keeps ``found`` and returns it."""
        self._found[key] = found, size
        while sum(size for _, size in self._found.values()) > self._limit and len(self._found) > 1:
            del self._found[next(iter(self._found))]
        return found

    def clear(self) -> None:
        self._found.clear()
