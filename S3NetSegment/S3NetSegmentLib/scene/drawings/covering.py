"""Which slices were drawn on, told from the voxels alone: the fewest slices that explain them."""

from __future__ import annotations

import numpy as np

from ...engine.images import AXES
from .lattices import LabelBox

_MOST = 8  # slices of different axes that are looked for
_GAIN = 3  # they must explain the voxels with so many times fewer slices than one axis alone
_LONG_RUN = 3  # slices in a row, on average, below which they stand alone


def covering_slices(voxels: LabelBox, first_axis: str = "z") -> list[tuple[str, int]]:
    """The slices, as (axis, index) in order, that hold all of ``voxels``.

    Mostly those along the axis with the fewest. A stroke in a sagittal view beside one in an axial view, which touches many
    axial slices, gives one slice of each.

    :param voxels: bool, on the grid of the volume.
    :param first_axis: the axis that is taken where others would do as well.
    """
    voxels = voxels.trimmed()
    if voxels.array.size == 0:
        return []
    axes = sorted(AXES, key=lambda axis: axis != first_axis)
    held = {axis: np.flatnonzero(_counts(voxels.array, axis)) for axis in AXES}
    # What is drawn on a slice hangs together there: an axis along which the others have gaps is not the one.
    solid = [a for a in axes if all(_is_unbroken(held[b]) for b in axes if b != a)]
    axis = min(solid or axes, key=lambda a: len(held[a]))
    found = [(axis, int(n)) for n in held[axis]]
    if _is_unbroken(held[axis]):
        found = _largest_first(voxels.array, axes, min(_MOST, len(found) // _GAIN)) or found
    return sorted((a, n + voxels.start[AXES.index(a)]) for a, n in found)


def _is_unbroken(indices: np.ndarray) -> bool:
    """Whether ``indices`` (ascending) are one run, or runs that are long on average."""
    runs = 1 + int(np.count_nonzero(np.diff(indices) > 1))
    return runs == 1 or len(indices) >= _LONG_RUN * runs


def _largest_first(array: np.ndarray, axes: list[str], most: int) -> list[tuple[str, int]]:
    """At most ``most`` slices that hold all of ``array``, found one by one, the fullest first; [] if that does not do."""
    left = array.copy()
    found: list[tuple[str, int]] = []
    while left.any():
        if len(found) == most:
            return []
        counts = {axis: _counts(left, axis) for axis in axes}
        axis = max(axes, key=lambda a: counts[a].max())  # the first of equals
        index = int(counts[axis].argmax())
        np.moveaxis(left, 2 - AXES.index(axis), 0)[index] = False
        found.append((axis, index))
    return found


def _counts(array: np.ndarray, axis: str) -> np.ndarray:
    return array.sum(tuple(d for d in range(3) if d != 2 - AXES.index(axis)))
