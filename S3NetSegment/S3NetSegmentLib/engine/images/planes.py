"""Planes of any orientation cut out of a volume."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from scipy import ndimage

from ..common.arrays import corners
from ..common.errors import InputError
from .intensity import intensity_scale
from .volume import Volume

_OF_SCIPY = "?bBhHiIlLqQfd"  # types of voxels that it interpolates
_LONGEST = 2048  # pixels along a side; finer sampling of a very long cut would only cost time


def sampled_plane(volume: Volume, plane: np.ndarray) -> tuple[Volume, np.ndarray] | None:
    """The cut of a plane through ``volume``, by linear interpolation.

    Pixels are square, as large as the smallest voxel spacing, and their grid is tied to the volume's centre. The third
    column of the result's matrix is the width of one voxel across the plane, so that every voxel which the view shows
    along the plane belongs to it when a mask is written back.

    :param plane: 4x4, orthonormal columns right, up and normal of the view, and a point of the plane, world RAS.
    :returns: one-slice Volume and its pixels inside the volume ``[1, J, I]``; None if the plane misses the volume.
    """
    grid = plane_grid(volume, plane)
    if grid is None:
        return None
    matrix, (rows, columns) = grid
    i, j = np.meshgrid(np.arange(columns), np.arange(rows))
    to_index = np.linalg.solve(volume.ijk_to_ras, matrix)
    index = to_index[:3, :1] * i.ravel() + to_index[:3, 1:2] * j.ravel() + to_index[:3, 3:]  # [3, J * I]
    size = np.array(volume.size)[:, None]
    valid = ((index >= -0.5) & (index < size - 0.5)).all(0)
    if not valid.any():
        return None
    pixels = np.full((valid.size, *volume.array.shape[3:]), _darkest(volume), volume.array.dtype)
    pixels[valid] = _linear(volume.array, index[:, valid])
    shape = (1, *i.shape)
    cut = Volume(pixels.reshape(*shape, *pixels.shape[1:]), matrix, volume.name, volume.modality)
    return cut, valid.reshape(shape)


def plane_grid(volume: Volume, plane: np.ndarray) -> tuple[np.ndarray, tuple[int, int]] | None:
    """The pixels of :func:`sampled_plane`, nothing sampled: their matrix and (rows, columns); None if the plane misses the
    volume."""
    right, up, normal = plane[:3, :3].T
    middle = volume.ras_of((np.array(volume.size) - 1) / 2)
    center = middle + normal @ (plane[:3, 3] - middle) * normal  # the point of the plane that is nearest to the middle
    cut = _cut(volume, center, normal)
    if cut is None:
        return None
    along = (cut - center) @ np.stack((right, up), 1)  # mm, two columns
    low, high = along.min(0), along.max(0)
    pixel = max(min(volume.spacing), float((high - low).max()) / _LONGEST)
    first = np.ceil(low / pixel - 1e-6).astype(int)
    last = np.maximum(np.floor(high / pixel + 1e-6).astype(int), first)
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1] = right * pixel, up * pixel
    matrix[:3, 2] = normal * np.abs(normal @ volume.ijk_to_ras[:3, :3]).sum()
    matrix[:3, 3] = center + matrix[:3, 0] * first[0] + matrix[:3, 1] * first[1]
    columns, rows = (int(n) for n in last - first + 1)
    return matrix, (rows, columns)


def _cut(volume: Volume, point: np.ndarray, normal: np.ndarray) -> np.ndarray | None:
    """Corners (world RAS, one in a row) of the polygon that a plane cuts out of the box of voxels, or None."""
    box = corners(np.full(3, -0.5), np.array(volume.size) - 0.5)
    box = box @ volume.ijk_to_ras[:3, :3].T + volume.ijk_to_ras[:3, 3]
    height = (box - point) @ normal
    found = []
    for a, b in combinations(range(8), 2):
        if (a ^ b).bit_count() == 1 and (height[a] <= 0) != (height[b] <= 0):  # an edge that crosses the plane
            found.append(box[a] + (box[b] - box[a]) * (height[a] / (height[a] - height[b])))
    return np.array(found) if len(found) >= 3 else None


def _linear(array: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Voxels at fractional ``index`` ``[3, N]`` (i, j, k), trilinear; beyond the outer voxel centres the edge value."""
    known = array if array.dtype.char in _OF_SCIPY else array.astype(np.float64)
    channels = np.moveaxis(known, 3, 0) if array.ndim == 4 else known[None]
    values = [ndimage.map_coordinates(c, index[::-1], np.float64, order=1, mode="nearest") for c in channels]
    found = np.stack(values, -1) if array.ndim == 4 else values[0]
    return np.round(found).astype(array.dtype) if array.dtype.kind in "iu" else found.astype(array.dtype)


def _darkest(volume: Volume):
    """A value as dark as the image gets, whatever its padding and its lone voxels are."""
    try:
        return intensity_scale(volume).darkest(volume.array.dtype)
    except InputError:  # constant, or nothing finite: refused where it is used
        return volume.array.flat[0]
