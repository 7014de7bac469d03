"""Drawings on planes of any orientation: as a drawn slice of the volume where they coincide with one, else as voxels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...common.errors import InputError
from ...images import AXES, Volume
from .support import DrawnPlane, DrawnSlice, SupportVolume, near_drawing

_LEAN = 0.25  # voxels by which a plane may lean out of the slice that it is taken for


@dataclass(frozen=True, eq=False)
class DrawnVoxels:
    """What a plane that is not a slice of the volume tells about its voxels.

    :param index: ``[n, 3]``, voxels as indices (k, j, i).
    :param labels: uint8 ``[n]``; 0 = background.
    :param axis: the axis of the volume that is nearest to the normal of the plane.
    """

    index: np.ndarray
    labels: np.ndarray
    axis: str


def on_volume(plane: DrawnPlane, volume: Volume, ring: float) -> DrawnSlice | DrawnVoxels:
    """What ``plane`` says about the voxels of ``volume``.

    A plane that lies in a slice of the volume and covers it is a :class:`DrawnSlice`. Any other one tells in each column
    of voxels, along the axis nearest to its normal, the voxel that it passes through (several, if it is thicker).

    :param ring: mm around a partial drawing that count as background.
    :raises InputError: an unusable plane, or one that misses the volume.
    """
    plane = plane.checked()
    to_plane = np.linalg.solve(plane.plane_to_ras, volume.ijk_to_ras)  # voxel (i, j, k, 1) to (column, row, layer, 1)
    axis = AXES.index(plane.axis_in(volume))
    voxels, rows, columns = _passed_voxels(plane.labels.shape, volume.size, to_plane, axis)
    if not len(voxels):
        raise InputError(
            f"a drawn plane does not pass through image {volume.name!r}; draw on a plane that shows the image"
        )
    labels = plane.labels[rows, columns]
    lean = sum(abs(to_plane[2, a]) * (volume.size[a] - 1) for a in range(3) if a != axis) / abs(to_plane[2, axis])
    shape = [n for a, n in enumerate(volume.size[::-1]) if a != 2 - axis]
    if lean <= _LEAN and len(voxels) == shape[0] * shape[1] and np.ptp(voxels[:, 2 - axis]) == 0:
        whole = np.zeros(shape, np.uint8)
        whole[tuple(np.delete(voxels, 2 - axis, 1).T)] = labels
        return DrawnSlice(AXES[axis], int(voxels[0, 2 - axis]), whole, plane.complete, plane.layer)
    if not plane.complete:
        spacing = np.linalg.norm(plane.plane_to_ras[:3, 1::-1], axis=0)
        near = near_drawing(plane.labels, tuple(spacing), ring)[rows, columns]
        voxels, labels = voxels[near], labels[near]
    return DrawnVoxels(voxels, labels, AXES[axis])


def _passed_voxels(
    shape: tuple[int, int], size: tuple[int, int, int], to_plane: np.ndarray, axis: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Voxels (k, j, i) that a plane of ``shape`` pixels passes through, and the rows and columns of their pixels."""
    others = [a for a in range(3) if a != axis]
    per_voxel = to_plane[2, axis]  # layers of the plane per voxel along the axis
    # A drawing thinner than the voxels marks one of each column.
    half, reach = (np.inf, 0) if abs(per_voxel) >= 1 else (0.5, int(0.5 / abs(per_voxel)) + 1)
    grid = np.meshgrid(*(np.arange(size[a]) for a in others), indexing="ij")
    column = [g.ravel() for g in grid]
    base = sum(to_plane[:3, a, None] * c for a, c in zip(others, column, strict=True)) + to_plane[:3, 3, None]
    middle = np.rint(-base[2] / per_voxel).astype(np.int64)
    voxels, rows, columns = [], [], []
    for offset in range(-reach, reach + 1):
        along = middle + offset
        place = base + to_plane[:3, axis, None] * along
        pixel = np.floor(place[:2] + 0.5).astype(np.int64)
        inside = (np.abs(place[2]) <= half) & (along >= 0) & (along < size[axis])
        inside &= (pixel >= 0).all(0) & (pixel[0] < shape[1]) & (pixel[1] < shape[0])
        found = np.empty((int(inside.sum()), 3), np.int64)
        for a, values in (*zip(others, column, strict=True), (axis, along)):
            found[:, 2 - a] = values[inside]
        voxels.append(found)
        rows.append(pixel[1][inside])
        columns.append(pixel[0][inside])
    return np.concatenate(voxels), np.concatenate(rows), np.concatenate(columns)


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
