"""``Volume``: voxels and where they lie in the patient; ``Extent``: a box of voxels of a volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ..common.arrays import corners, three
from ..common.errors import InputError
from .array_order import AXES, ArrayOrder


@dataclass(frozen=True)
class Extent:
    """A box of voxels: ``start`` (included) and ``stop`` (excluded), both as (i, j, k)."""

    start: tuple[int, int, int]
    stop: tuple[int, int, int]

    @classmethod
    def slab(cls, volume: Volume, axis: str, first: int, last: int) -> Extent:
        """Slices ``first`` to ``last`` (both included, counted from 0) of ``volume`` along ``axis`` ("x", "y" or "z").

        Raises InputError for an unknown axis or slices outside the volume.
        """
        if axis not in AXES:
            raise InputError(f"axis is {axis!r}; it must be one of {', '.join(AXES)}")
        size = volume.size[AXES.index(axis)]
        if not 0 <= first <= last < size:
            named = f"slice {first} along {axis} is" if first == last else f"slices {first} to {last} along {axis} are"
            there = f"slices 0 to {size - 1}" if size > 1 else "only slice 0"
            raise InputError(f"{named} not in the image, which has {there} along {axis}; choose among these")
        return volume.extent.slice_at(axis, first, last)

    def slice_at(self, axis: str, index: int, last: int | None = None) -> Extent:
        """The part of this box in slice ``index`` (to ``last``) of the volume across ``axis``, which meets it."""
        a, start, stop = AXES.index(axis), list(self.start), list(self.stop)
        start[a], stop[a] = index, (index if last is None else last) + 1
        return Extent(three(start), three(stop))

    @property
    def size(self) -> tuple[int, int, int]:
        """Number of voxels along (i, j, k)."""
        return three(b - a for a, b in zip(self.start, self.stop, strict=True))

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Index of this box in an array [K, J, I] of the whole volume."""
        return three(slice(a, b) for a, b in zip(self.start[::-1], self.stop[::-1], strict=True))

    def index(self, ijk: Sequence[int]) -> tuple[int, int, int]:
        """Index of voxel (i, j, k) of the volume in an array [K, J, I] over this box."""
        return three(v - a for v, a in zip(ijk[::-1], self.start[::-1], strict=True))

    def in_order(self, order: ArrayOrder) -> Extent:
        """The same voxels in another order of the volume's axes."""
        ends = (order.voxel(self.start), order.voxel([n - 1 for n in self.stop]))
        return Extent(three(map(min, *ends)), three(max(a, b) + 1 for a, b in zip(*ends, strict=True)))

    def contains(self, ijk: Sequence[int]) -> bool:
        """Whether voxel (i, j, k) of the volume lies in this box."""
        return all(a <= v < b for a, v, b in zip(self.start, ijk, self.stop, strict=True))


@dataclass(frozen=True, eq=False)
class Volume:
    """An image in physical space.

    :param array: voxels, ``[K, J, I]`` (grey) or ``[K, J, I, 3]`` (RGB, 0 to 255 for uint8, otherwise any scale). Any
        real voxel type; never copied or changed here. A 2D image has K = 1.
    :param ijk_to_ras: 4x4 matrix, voxel index (i, j, k, 1) to patient millimetres (right, anterior, superior, 1). Any
        rotation, flip, shear and spacing that can be inverted.
    :param name: shown to the user and used for the names of results.
    :param other_matrices: where other programs put the same voxels: what a NIfTI header tells beside ``ijk_to_ras``.
    :param modality: DICOM's word for what made the image ("CT", "MR", "PT", ...); "" if it is not known.
    """

    array: np.ndarray
    ijk_to_ras: np.ndarray
    name: str = "image"
    modality: str = ""
    other_matrices: tuple[np.ndarray, ...] = field(default=(), kw_only=True)

    def __post_init__(self):
        array = np.asarray(self.array)
        if array.ndim not in (3, 4) or (array.ndim == 4 and array.shape[3] != 3):
            raise InputError(
                f"image {self.name!r} has an array of shape {array.shape}; expected [K, J, I] (grey) or [K, J, I, 3] (RGB)"
            )
        if 0 in array.shape:
            raise InputError(f"image {self.name!r} has no voxels (shape {array.shape})")
        if array.dtype.kind not in "biuf":
            raise InputError(
                f"image {self.name!r} has voxels of type {array.dtype}; only real numbers can be segmented"
            )
        matrix = np.array(self.ijk_to_ras, dtype=np.float64)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or not np.allclose(matrix[3], (0, 0, 0, 1)):
            raise InputError(f"image {self.name!r} has an unusable voxel-to-patient matrix: {matrix.tolist()}")
        spacing = np.linalg.norm(matrix[:3, :3], axis=0)
        if not spans_space(matrix):
            raise InputError(
                f"image {self.name!r} has a voxel-to-patient matrix that cannot be inverted; its voxel sizes are "
                f"{spacing.tolist()} mm: correct the image header"
            )
        matrix.setflags(write=False)
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "ijk_to_ras", matrix)

    @property
    def size(self) -> tuple[int, int, int]:
        """Number of voxels along (i, j, k)."""
        return three(int(n) for n in self.array.shape[2::-1])

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm along (i, j, k)."""
        return three(float(s) for s in np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0))

    @property
    def is_rgb(self) -> bool:
        return self.array.ndim == 4

    @property
    def extent(self) -> Extent:
        """The box of all voxels."""
        return Extent((0, 0, 0), self.size)

    @cached_property
    def order(self) -> ArrayOrder:
        """The way from the order in which the voxels are stored to that of :attr:`ordered`."""
        return ArrayOrder.usual(self.ijk_to_ras, self.size)

    @cached_property
    def ordered(self) -> Volume:
        """The same image with i to the left, j to posterior and k upwards, as nearly as its axes allow; a view. All work on
        an image is done on this one, see :mod:`array_order`."""
        order = self.order
        if order.changes_nothing:
            return self
        matrix = self.ijk_to_ras @ order.matrix
        return Volume(order.array(self.array), matrix, self.name, self.modality)

    def cropped(self, extent: Extent) -> Volume:
        """The part of this volume in ``extent``, in its place in the patient; a view, not a copy."""
        matrix = self.ijk_to_ras.copy()
        matrix[:3, 3] = (self.ijk_to_ras @ (*extent.start, 1.0))[:3]
        return Volume(self.array[extent.slices], matrix, self.name, self.modality)

    def ras_of(self, ijk) -> np.ndarray:
        """Patient position (mm, RAS) of voxel index ``ijk`` (may be fractional)."""
        return (self.ijk_to_ras @ (*ijk, 1.0))[:3]

    def index_of(self, ras) -> np.ndarray:
        """Voxel index (i, j, k), fractional, of patient position ``ras`` (mm), in the image or beside it."""
        return np.linalg.solve(self.ijk_to_ras, (*(float(v) for v in ras), 1.0))[:3]

    def voxel_at(self, ras) -> tuple[int, int, int]:
        """The voxel (i, j, k) that holds patient position ``ras`` (mm). Raises InputError if it is outside."""
        voxel = three(int(v) for v in np.floor(self.index_of(ras) + 0.5))
        if not self.extent.contains(voxel):
            low, high = covered(self.ijk_to_ras, self.size)
            box = ", ".join(f"{n} {a:.1f} to {b:.1f}" for n, a, b in zip("RAS", low, high, strict=True))
            raise InputError(
                f"point {','.join(f'{v:g}' for v in ras)} (RAS, mm) is outside image {self.name!r}, which covers {box}"
            )
        return voxel

    def slice_axis(self, axis: str = "auto") -> str:
        """The axis across the slices: ``axis`` itself, or for "auto" the one-voxel axis, else the one with clearly the
        largest spacing, else the one that is nearest to the direction from feet to head."""
        if axis in AXES:
            return axis
        if axis != "auto":
            raise InputError(f"axis is {axis!r}; it must be auto, {', '.join(AXES)}")
        thin = [a for a, n in zip(AXES, self.size, strict=True) if n == 1]
        if thin:
            return thin[-1]
        order = np.argsort(self.spacing)
        return AXES[order[2]] if self.spacing[order[2]] > 1.5 * self.spacing[order[1]] else AXES[self.order.axes[2]]


def spans_space(matrix: np.ndarray) -> bool:
    """Whether the first three axes (columns) of ``matrix`` (4, 4) span space, whatever their length."""
    axes = np.asarray(matrix, np.float64)[:3, :3]
    lengths = np.linalg.norm(axes, axis=0)
    return bool((lengths > 0).all() and abs(np.linalg.det(axes / lengths)) >= 1e-6)


def covered(ijk_to_ras: np.ndarray, size: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """From where to where ``size`` voxels (i, j, k) of a grid reach along R, A and S, mm."""
    ends = corners(np.full(3, -0.5), np.array(size) - 0.5) @ ijk_to_ras[:3, :3].T + ijk_to_ras[:3, 3]
    return ends.min(0), ends.max(0)


def shift_between(grid: np.ndarray, other: np.ndarray, size: Sequence[int]) -> np.ndarray | None:
    """At which voxel (i, j, k) of ``grid``, a voxel-to-RAS matrix, another one of ``size`` voxels begins; None if its voxels are
    others: more than a tenth of a voxel away, which rounding in file headers may shift."""
    relative = np.linalg.solve(np.asarray(grid, float), np.asarray(other, float))
    shift = np.rint(relative[:3, 3])
    apart = np.abs((relative[:3, :3] - np.eye(3)) @ np.asarray(size, float)).max()
    return None if max(apart, np.abs(relative[:3, 3] - shift).max()) > 0.1 else shift.astype(int)


def slices_first(array: np.ndarray, axis: str) -> np.ndarray:
    """A view of ``[K, J, I, ...]`` with the axis across the slices in front."""
    return np.moveaxis(array, 2 - AXES.index(axis), 0)


def slices_back(array: np.ndarray, axis: str) -> np.ndarray:
    """The inverse of :func:`slices_first`."""
    return np.moveaxis(array, 0, 2 - AXES.index(axis))
