"""A mask that keeps to the number of voxels it may have, its border moved as little as that needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

_TRIES = 6
_FURTHER = 1.5  # how many times as much of the border each try gives up


@dataclass(frozen=True, eq=False)
class Sized:
    """A mask whose size depends on a level.

    :param above: the mask (bool ``[k, j, i]``) at a level; the higher the level, the less it holds. 0 is the best one.
    :param border, belongs: bool and float ``[k, j, i]``: the voxels that a level decides on, those with ``belongs`` above
        it being inside.
    :param left: voxels that lie outside at every level.
    """

    above: Callable[[float], np.ndarray]
    border: np.ndarray
    belongs: np.ndarray
    left: tuple[tuple[int, int, int], ...] = ()


def fitted(sized: Sized, low: int, high: int) -> np.ndarray:
    """The mask at level 0 if it has ``low`` to ``high`` voxels; else, connected as before, one that has.

    The level is moved by as many border voxels as are too many or too few. Where the size jumps over the room with it,
    since a part comes loose, the difference between both sides of the jump is added voxel layer by voxel layer.
    """
    part = sized.above(0.0)
    count = np.count_nonzero(part)
    if low <= count <= high:
        return part
    return _smaller(sized, part, low, high) if count > high else _larger(sized, part, low, high)


def _smaller(sized: Sized, part: np.ndarray, low: int, high: int) -> np.ndarray:
    values = np.sort(sized.belongs[sized.border & part])
    surplus = int(np.count_nonzero(part)) - high
    for _ in range(_TRIES):
        if surplus > len(values):
            break
        less = sized.above(float(values[surplus - 1]))
        count = np.count_nonzero(less)
        if count <= high:
            return less if count >= low else _grown(less, part, sized.belongs, high)
        surplus = int(_FURTHER * surplus) + 1  # what was given up became a hole and was filled again
    core = np.zeros_like(part)
    core[np.unravel_index(np.where(part, sized.belongs, -np.inf).argmax(), part.shape)] = True
    return _grown(core, part, sized.belongs, high)


def _larger(sized: Sized, part: np.ndarray, low: int, high: int) -> np.ndarray:
    values = np.sort(sized.belongs[sized.border & ~part])[::-1]
    missing = low - int(np.count_nonzero(part))
    for _ in range(_TRIES):
        if missing > len(values):
            break
        more = sized.above(float(np.nextafter(values[missing - 1], -np.inf, dtype=values.dtype)))
        count = np.count_nonzero(more)
        if count >= low:
            return more if count <= high else _grown(part, more, sized.belongs, low)
        missing = int(_FURTHER * missing) + 1  # what was added does not hang together with the object
    everything = np.ones_like(part)
    for point in sized.left:
        everything[point] = False
    return _grown(part, everything, sized.belongs, low)


def _grown(part: np.ndarray, limit: np.ndarray, belongs: np.ndarray, count: int) -> np.ndarray:
    """``part`` grown inside ``limit`` by neighbours until it has ``count`` voxels (or ``limit`` allows no more); of the
    last layer those that belong to it most."""
    part = part.copy()
    missing = count - np.count_nonzero(part)
    while missing > 0:
        layer = np.flatnonzero(ndimage.binary_dilation(part) & limit & ~part)
        if layer.size == 0:
            break
        if layer.size > missing:
            layer = layer[np.argsort(-belongs.ravel()[layer], kind="stable")[:missing]]
        part.ravel()[layer] = True
        missing -= layer.size
    return part
