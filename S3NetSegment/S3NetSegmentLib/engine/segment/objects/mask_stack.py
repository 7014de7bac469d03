"""Many masks of one slice as the bits of one image, so that a neighbourhood operation treats 64 of them at once."""

from __future__ import annotations

import numpy as np

from ...common.masks import box_around

CAPACITY = 64


def stacked(masks: np.ndarray) -> np.ndarray:
    """Bool masks ``[n, h, w]`` (n <= 64) as uint64 ``[h, w]``: bit i is mask i."""
    stack = np.zeros(masks.shape[1:], np.uint64)
    for i, mask in enumerate(masks):
        box = box_around(mask)
        stack[box] |= mask[box].astype(np.uint64) << np.uint64(i)
    return stack


def layer(stack: np.ndarray, i: int) -> np.ndarray:
    """Mask ``i`` of ``stack``, bool."""
    return (stack & (np.uint64(1) << np.uint64(i))) != 0


def eroded(stack: np.ndarray, diagonal: bool) -> np.ndarray:
    """Without the samples that have a neighbour outside the mask (4 neighbours, with ``diagonal`` 8). What lies beyond
    the slice counts as outside."""
    return _spread(stack, diagonal, np.bitwise_and, border_counts=True)


def dilated(stack: np.ndarray, diagonal: bool) -> np.ndarray:
    """With the neighbours of the masks' samples (4 neighbours, with ``diagonal`` 8)."""
    return _spread(stack, diagonal, np.bitwise_or, border_counts=False)


def _spread(stack: np.ndarray, diagonal: bool, join: np.ufunc, border_counts: bool) -> np.ndarray:
    if diagonal:  # a square is two lines, one after the other
        lines = _line(stack, 0, join, border_counts)
        return _line(lines, 1, join, border_counts)
    return join(_line(stack, 0, join, border_counts), _line(stack, 1, join, border_counts))


def _line(stack: np.ndarray, axis: int, join: np.ufunc, border_counts: bool) -> np.ndarray:
    """Each sample joined with its two neighbours along ``axis``."""
    out = stack.copy()
    view, source = np.moveaxis(out, axis, 0), np.moveaxis(stack, axis, 0)
    join(view[1:], source[:-1], out=view[1:])
    join(view[:-1], source[1:], out=view[:-1])
    if border_counts:
        view[0] = 0
        view[-1] = 0
    return out
