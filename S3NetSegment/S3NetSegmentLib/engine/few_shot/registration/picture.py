"""Boxes of volumes as pictures for registration: how alike two of them are under an affine map."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import ndimage

from ...common.progress import Steps
from ...images import Extent, Volume
from ...images.intensity import IntensityScale
from ...images.resample import shrunk_features

LEAST_OVERLAP = 0.5  # of what two pictures could share: with less they cannot be compared
_VOXELS = 250_000  # of a picture


@dataclass(frozen=True, eq=False)
class Picture:
    """A box of a volume for registration: one intensity per voxel, float32 ``[K, J, I]`` about 0 to 1, and its matrix
    from voxels (i, j, k, 1) to RAS."""

    array: np.ndarray
    matrix: np.ndarray

    @property
    def spacing(self) -> np.ndarray:
        return np.linalg.norm(self.matrix[:3, :3], axis=0)

    def sampled(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Intensities at voxels ``index`` ``[3, ...]`` (i, j, k; fractional), and whether they are inside."""
        size = np.array(self.array.shape[::-1]).reshape(3, *(1,) * (index.ndim - 1))
        inside = np.all((index >= -0.5) & (index <= size - 0.5), 0)
        return ndimage.map_coordinates(self.array, index[::-1], order=1, mode="nearest"), inside


def picture_of(volume: Volume, scale: IntensityScale, extent: Extent, cell: np.ndarray) -> Steps[Picture]:
    """The part ``extent`` of ``volume`` in voxels of about ``cell`` mm (i, j, k), never finer than its own."""
    part = volume.cropped(extent)
    shape = [max(1, round(n * s / max(c, s))) for n, s, c in zip(part.size, part.spacing, cell, strict=True)]
    array = (yield from shrunk_features(part.array, scale, shape[::-1]))[..., 0]
    factors = np.array(part.size) / shape
    matrix = np.array(part.ijk_to_ras)
    matrix[:3, 3] = part.ras_of((factors - 1) / 2)
    matrix[:3, :3] *= factors
    return Picture(np.ascontiguousarray(array), matrix)


def voxel_size(volume: Volume, part: Extent) -> np.ndarray:
    """Voxel size of a picture of ``part`` with at most _VOXELS: the finest axes are shrunk first."""
    cell = np.array(volume.spacing)
    sides = np.array(part.size) * cell
    while np.prod(np.ceil(sides / cell)) > _VOXELS:
        finest = cell <= cell.min() * 1.1
        cell = np.where(finest, cell.min() * 1.15, cell)
    return cell


def covered(query: Volume, to_support: np.ndarray, support: Volume, part: Extent, margin: float) -> Extent | None:
    """The box of ``query`` that ``part`` of ``support`` covers, ``margin`` of its size larger; None if it is outside."""
    corners = np.array(list(product(*zip(np.array(part.start) - 0.5, np.array(part.stop) - 0.5, strict=True))))
    matrix = np.linalg.inv(query.ijk_to_ras) @ np.linalg.inv(to_support) @ support.ijk_to_ras
    ijk = corners @ matrix[:3, :3].T + matrix[:3, 3]
    low, high = ijk.min(0), ijk.max(0)
    extra = margin * (high - low) + 1
    start = np.clip(np.floor(low - extra + 0.5), 0, query.size).astype(int)
    stop = np.clip(np.ceil(high + extra + 0.5), 0, query.size).astype(int)
    return Extent(tuple(start.tolist()), tuple(stop.tolist())) if (stop > start).all() else None


def likeness(fixed: Picture, moving: Picture, to_support: np.ndarray) -> float:
    """Correlation of both pictures where they overlap under ``to_support`` (RAS to RAS); -1 for hardly any overlap."""
    values, inside = moved(fixed, moving, to_support)
    size = moving.array.size * np.prod(moving.spacing) / np.prod(fixed.spacing)  # in voxels of ``fixed``
    if inside.sum() < max(50, LEAST_OVERLAP / 2 * min(size, fixed.array.size)):
        return -1.0
    return correlation(values[inside], fixed.array[inside])


def moved(fixed: Picture, moving: Picture, to_support: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``moving`` on the grid of ``fixed``, and where it reaches."""
    matrix = np.linalg.inv(moving.matrix) @ to_support @ fixed.matrix
    grid = np.indices(fixed.array.shape[::-1], np.float32).transpose(0, 3, 2, 1).reshape(3, -1)
    index = matrix[:3, :3].astype(np.float32) @ grid + matrix[:3, 3:].astype(np.float32)
    return moving.sampled(index.reshape(3, *fixed.array.shape))


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / np.sqrt(max((a * a).sum() * (b * b).sum(), 1e-12)))
