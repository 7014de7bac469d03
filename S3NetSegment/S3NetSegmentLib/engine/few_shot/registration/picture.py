"""Boxes of volumes as pictures for registration: how alike two of them are under an affine map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ...common.arrays import corners
from ...common.progress import Steps
from ...images import Extent, Volume
from ...images.intensity import IntensityScale
from ...images.resample import shrunk_features

LEAST_OVERLAP = 0.5  # of what two pictures could share: with less they cannot be compared
_VOXELS = 250_000  # of a picture
_NOISE = 0.003  # variance below which a neighbourhood has no structure that could be compared


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


@dataclass(frozen=True, eq=False)
class Scaled:
    """A volume and the scale of its intensities."""

    volume: Volume
    scale: IntensityScale

    def picture(self, extent: Extent, cell: np.ndarray | None = None) -> Steps[Picture]:
        """The part ``extent`` in voxels of about ``cell`` mm (i, j, k), never finer than its own; None: of at most _VOXELS."""
        part = self.volume.cropped(extent)
        cell = _voxel_size(part) if cell is None else cell
        shape = [max(1, round(n * s / max(c, s))) for n, s, c in zip(part.size, part.spacing, cell, strict=True)]
        array = (yield from shrunk_features(part.array, self.scale, shape[::-1]))[..., 0]
        factors = np.array(part.size) / shape
        matrix = np.array(part.ijk_to_ras)
        matrix[:3, 3] = part.ras_of((factors - 1) / 2)
        matrix[:3, :3] *= factors
        return Picture(np.ascontiguousarray(array), matrix)


def _voxel_size(part: Volume) -> np.ndarray:
    """Voxel size of a picture of ``part`` with at most _VOXELS: the finest axes are shrunk first."""
    cell = np.array(part.spacing)
    sides = np.array(part.size) * cell
    while np.prod(np.ceil(sides / cell)) > _VOXELS:
        finest = cell <= cell.min() * 1.1
        cell = np.where(finest, cell.min() * 1.15, cell)
    return cell


def covered(query: Volume, to_support: np.ndarray, support: Volume, part: Extent, margin: float) -> Extent | None:
    """The box of ``query`` that ``part`` of ``support`` covers, ``margin`` of its size larger; None if it is outside."""
    matrix = np.linalg.inv(query.ijk_to_ras) @ np.linalg.inv(to_support) @ support.ijk_to_ras
    ijk = corners(np.array(part.start) - 0.5, np.array(part.stop) - 0.5) @ matrix[:3, :3].T + matrix[:3, 3]
    low, high = ijk.min(0), ijk.max(0)
    extra = margin * (high - low) + 1
    start = np.clip(np.floor(low - extra + 0.5), 0, query.size).astype(int)
    stop = np.clip(np.ceil(high + extra + 0.5), 0, query.size).astype(int)
    return Extent(tuple(start.tolist()), tuple(stop.tolist())) if (stop > start).all() else None


def mapped(matrix: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Places ``[3, n]`` under a 4x4 ``matrix``."""
    return matrix[:3, :3] @ index + matrix[:3, 3:]


def likeness(fixed: Picture, moving: Picture, to_support: np.ndarray) -> float:
    """Correlation of both pictures where they overlap under ``to_support`` (RAS to RAS); -1 for hardly any overlap."""
    values, inside = moved(fixed, moving, to_support)
    linear = np.linalg.inv(fixed.matrix)[:3, :3] @ np.linalg.inv(to_support)[:3, :3] @ moving.matrix[:3, :3]
    sides = np.abs(linear) @ moving.array.shape[::-1]  # of the box around ``moving``, in voxels of ``fixed``
    shared = np.prod(np.minimum(sides, fixed.array.shape[::-1]))  # less than either where a tall image meets a thin one
    size = abs(np.linalg.det(linear)) * moving.array.size
    if inside.sum() < max(50, LEAST_OVERLAP / 2 * min(size, fixed.array.size, shared)):
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


def local_likeness(a: np.ndarray, b: np.ndarray, inside: np.ndarray, reach: Sequence[float]) -> np.ndarray:
    """Correlation of two images ``[K, J, I]`` around each voxel, -1 to 1, near 0 where one has nothing but noise.

    :param inside: bool; other voxels do not count. ``reach``: standard deviations of the neighbourhood, voxels (k, j, i); from
        twice the size of the images on it is all of them.
    """
    # A wider one differs by 1e-8, and takes the longer the wider it is.
    reach = np.minimum(reach, 2 * np.array(a.shape))
    share = ndimage.gaussian_filter(inside.astype(np.float32), reach) + 1e-6

    def mean(image: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(np.where(inside, image, 0), reach) / share

    mean_a, mean_b = mean(a), mean(b)
    spread = [np.maximum(mean(x * x) - m**2, 0) + _NOISE for x, m in ((a, mean_a), (b, mean_b))]
    return (mean(a * b) - mean_a * mean_b) / np.sqrt(spread[0] * spread[1])


def rotation(axis: np.ndarray, angle: float) -> np.ndarray:
    x, y, z = axis
    cross = np.array(((0, -z, y), (z, 0, -x), (-y, x, 0)))
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)
