"""Drawings of any kind as the support that another volume gives: whole slices, parts of slices, planes of any orientation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..images import AXES, Volume
from .planes import DrawnVoxels, on_volume
from .support import DrawnPlane, DrawnSlice, SupportVolume


def support_volume(volume: Volume, drawings: Sequence[DrawnSlice | DrawnPlane]) -> SupportVolume:
    """``drawings`` in ``volume`` for use in another volume.

    :raises InputError: a drawing that does not fit ``volume``.
    """
    labels, indices = np.zeros(volume.array.shape[:3], np.uint8), {axis: [] for axis in AXES}
    for drawn in drawings:
        here = on_volume(drawn, volume, 0.0) if isinstance(drawn, DrawnPlane) else drawn.checked(volume)
        if isinstance(here, DrawnVoxels):
            place, values = labels, np.zeros_like(labels)
            values[tuple(here.index.T)] = here.labels
        else:
            place, values = np.moveaxis(labels, 2 - AXES.index(here.axis), 0)[here.index], here.labels
            indices[here.axis].append(here.index)
        np.copyto(place, values, where=values > 0)
    usual = volume.slice_axis()
    axis = max(AXES, key=lambda a: (len(indices[a]), a == usual))
    if all(isinstance(drawn, DrawnSlice) and drawn.complete and drawn.axis == axis for drawn in drawings):
        return SupportVolume(volume, labels, axis, tuple(sorted(indices[axis])))
    return SupportVolume(volume, labels, axis, tuple(sorted(indices[axis])), tuple(drawings))
