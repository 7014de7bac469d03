"""Drawings of any kind as the support that another volume gives: whole slices, parts of slices, planes of any orientation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...common.errors import InputError
from ...images import AXES, Volume
from .planes import DrawnVoxels, on_volume
from .support import DrawnPlane, DrawnSlice, SupportVolume


def support_volumes(volume: Volume, drawings: Sequence[DrawnSlice | DrawnPlane]) -> list[SupportVolume]:
    """``drawings`` in ``volume`` for use in another volume: one support for each layer that holds anything.

    :raises InputError: a drawing that does not fit ``volume``, or nothing is drawn.
    """
    layers = sorted({drawn.layer for drawn in drawings if drawn.labels.any()})
    if not layers:
        raise InputError(f"nothing is drawn in image {volume.name!r}; draw a segment on at least one slice")
    return [support_volume(volume, [drawn for drawn in drawings if drawn.layer == layer]) for layer in layers]


def support_volume(volume: Volume, drawings: Sequence[DrawnSlice | DrawnPlane]) -> SupportVolume:
    """``drawings`` of one layer in ``volume`` for use in another volume.

    :raises InputError: a drawing that does not fit ``volume``.
    """
    labels = np.zeros(volume.array.shape[:3], np.uint8)
    indices: dict[str, list[int]] = {axis: [] for axis in AXES}
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
    layer = drawings[0].layer
    if all(isinstance(drawn, DrawnSlice) and drawn.complete and drawn.axis == axis for drawn in drawings):
        return SupportVolume(volume, labels, axis, tuple(sorted(indices[axis])), layer=layer)
    return SupportVolume(volume, labels, axis, tuple(sorted(indices[axis])), tuple(drawings), layer)
