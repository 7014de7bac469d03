"""Support: what the user drew, and on which slices and planes. A plane of any orientation is a drawn slice of the volume where it coincides
with one, else voxels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ...common.arrays import bounding_box
from ...common.errors import InputError
from ...images import AXES, Volume
from ...images.volume import slices_first, spans_space

# So many slices across several axes must explain a drawing, at most, as a share of those across one axis.
_MIXED = 0.5
_RING_PIXELS = 1  # of a partial drawing, where the pixels are larger than its ring in mm
_LEAN = 0.25  # voxels by which a plane may lean out of the slice that it is taken for


@dataclass(frozen=True, eq=False)
class DrawnSlice:
    """One drawn slice of the volume itself.

    :param axis: the axis across the slice, "x", "y" or "z".
    :param index: its number along that axis, from 0.
    :param labels: whole numbers 0 to 254, ``[rows, columns]``: ``array[K, J, I]`` of the volume at this index. All zero: the
        user says that this slice holds nothing.
    :param complete: everything unlabelled is background; False: only what lies near the drawing is.
    :param layer: drawings of different layers may overlap; each layer is answered on its own, see :mod:`overlaps`.
    """

    axis: str
    index: int
    labels: np.ndarray
    complete: bool = True
    layer: int = 0

    def checked(self, volume: Volume) -> DrawnSlice:
        """This slice with labels as uint8. Raises InputError if it does not fit ``volume``."""
        if self.axis not in AXES:
            raise InputError(f"a drawn slice has axis {self.axis!r}; it must be one of {', '.join(AXES)}")
        across = AXES.index(self.axis)
        if not 0 <= self.index < volume.size[across]:
            raise InputError(
                f"drawn slice {self.index} along {self.axis} is not in image {volume.name!r}, which has slices 0 to "
                f"{volume.size[across] - 1}"
            )
        shape = tuple(n for a, n in enumerate(volume.array.shape[:3]) if a != 2 - across)
        labels = np.asarray(self.labels)
        if labels.shape != shape:
            raise InputError(
                f"the drawing on slice {self.index} along {self.axis} has shape {labels.shape}; the slice has {shape}"
            )
        return DrawnSlice(self.axis, int(self.index), _as_labels(labels), bool(self.complete), self.layer)

    def in_order(self, volume: Volume) -> DrawnSlice:
        """The same slice of :attr:`Volume.ordered`. Raises InputError if it does not fit ``volume``."""
        own, order = self.checked(volume), volume.order
        return DrawnSlice(*order.slice(own.axis, own.index), order.plane(own.axis, own.labels), own.complete, own.layer)


@dataclass(frozen=True, eq=False)
class DrawnPlane:
    """A drawing on a plane of any orientation.

    :param labels, layer: as in :class:`DrawnSlice`, ``[rows, columns]``.
    :param plane_to_ras: 4x4; pixel (column, row, 0, 1) to patient millimetres; the third column is the normal times the
        thickness of the drawing in mm.
    """

    labels: np.ndarray
    plane_to_ras: np.ndarray
    complete: bool = True
    layer: int = 0

    def axis_in(self, volume: Volume) -> str:
        """The axis of ``volume`` that is nearest to the normal of the plane."""
        to_plane = np.linalg.solve(self.plane_to_ras, volume.ijk_to_ras)
        return AXES[int(np.argmax(np.abs(to_plane[2, :3]) / volume.spacing))]

    def checked(self) -> DrawnPlane:
        """This plane with labels as uint8 and a float matrix. Raises InputError for an unusable one."""
        matrix = np.asarray(self.plane_to_ras, dtype=np.float64)
        labels = np.asarray(self.labels)
        if labels.ndim != 2 or 0 in labels.shape:
            raise InputError(f"a drawing on a plane must be [rows, columns]; it has shape {labels.shape}")
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or not spans_space(matrix):
            raise InputError(f"a drawn plane has an unusable plane-to-patient matrix: {matrix.tolist()}")
        return DrawnPlane(_as_labels(labels), matrix, bool(self.complete), self.layer)

    def in_order(self, _: Volume) -> DrawnPlane:
        """The same: it is told in patient millimetres."""
        return self


@dataclass(frozen=True, eq=False)
class SupportVolume:
    """Drawings in another volume, on its own grid.

    :param labels: whole numbers 0 to 254, ``[K, J, I]`` of ``volume``.
    :param drawn: numbers of the drawn slices along ``axis``; None: every slice is drawn.
    :param drawings: what is drawn, where it is more than whole slices along one axis; ``labels`` then show it as voxels.
    :param layer: as in :class:`DrawnSlice`.
    """

    volume: Volume
    labels: np.ndarray
    axis: str = "z"
    drawn: tuple[int, ...] | None = None
    drawings: tuple[DrawnSlice | DrawnPlane, ...] = ()
    layer: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether every slice is drawn."""
        across = AXES.index(self.axis)
        return not self.drawings and (self.drawn is None or len(self.drawn) == self.volume.size[across])

    def checked(self) -> SupportVolume:
        labels = np.asarray(self.labels)
        if labels.shape != self.volume.array.shape[:3]:
            raise InputError(
                f"the drawing in image {self.volume.name!r} has shape {labels.shape}; the image has "
                f"{self.volume.array.shape[:3]}"
            )
        labels = _as_labels(labels)
        if self.drawn is not None:
            for index in self.drawn:
                across = AXES.index(self.volume.slice_axis(self.axis))
                if not 0 <= index < self.volume.size[across]:
                    raise InputError(
                        f"drawn slice {index} along {self.axis} is not in image {self.volume.name!r}, which has slices 0 "
                        f"to {self.volume.size[across] - 1}"
                    )
        if not labels.any():
            raise InputError(f"nothing is drawn in image {self.volume.name!r}; draw a segment on at least one slice")
        axis = self.volume.slice_axis(self.axis)
        return SupportVolume(self.volume, labels, axis, self.drawn, self.drawings, self.layer)

    def in_order(self, _: Volume) -> SupportVolume:
        """The same on :attr:`Volume.ordered` of its own volume. Raises InputError for drawings that do not fit it."""
        own, order = self.checked(), self.volume.order
        drawn = None if own.drawn is None else tuple(sorted(order.slice(own.axis, n)[1] for n in own.drawn))
        drawings = tuple(one.in_order(self.volume) for one in own.drawings)
        labels, axis = order.array(own.labels), order.axis(own.axis)
        return SupportVolume(self.volume.ordered, labels, axis, drawn, drawings, own.layer)


def drawn_slices(labels: np.ndarray, axis: str = "auto", drawn: Sequence[int] | None = None) -> tuple[str, list[int]]:
    """Which slices of a label volume are the drawn ones.

    :param labels: ``[K, J, I]``, 0 = nothing.
    :param axis: "auto": the axis along which the fewest slices hold labels (of equals the later of x, y, z).
    :param drawn: their numbers, where some of them are empty; None: the slices that hold labels.
    :returns: the axis and the numbers in ascending order.
    :raises InputError: nothing is drawn at all, or a number outside the volume.
    """
    filled = {a: np.flatnonzero(labels.any(tuple(d for d in range(3) if d != 2 - n))) for n, a in enumerate(AXES)}
    if axis == "auto":
        axis = min(AXES[::-1], key=lambda a: len(filled[a]))
    if drawn is None:
        drawn = filled[axis].tolist()
        if not drawn:
            raise InputError("nothing is drawn: the labels are empty; draw a segment on at least one slice")
    count = labels.shape[2 - AXES.index(axis)]
    for index in drawn:
        if not 0 <= index < count:
            raise InputError(f"drawn slice {index} along {axis} does not exist; there are slices 0 to {count - 1}")
    return axis, sorted(set(map(int, drawn)))


def mixed_slices(labels: np.ndarray) -> dict[str, list[int]]:
    """The drawn slices of a label volume that somebody drew on across several axes, as axis -> numbers; {} where slices across
    one axis explain the labels as well, or where the slices lie side by side, as those of a whole object do.

    :param labels: ``[K, J, I]``, 0 = nothing.
    """
    box = bounding_box(labels > 0)
    if box is None:
        return {}
    left = labels[box] > 0
    counts = [left.sum(tuple(d for d in range(3) if d != 2 - n)) for n in range(3)]
    found: dict[str, list[int]] = {}
    for _ in range(int(_MIXED * min(np.count_nonzero(filled) for filled in counts))):
        n = max(range(3), key=lambda n: counts[n].max())  # the slice that holds most of what is not explained yet
        number = int(counts[n].argmax())
        found.setdefault(AXES[n], []).append(number + box[2 - n].start)
        plane = np.moveaxis(left, 2 - n, 0)[number]
        first, second = (m for m in range(3) if m != n)  # arrays are [K, J, I]: the higher axis is the rows
        counts[first] -= plane.sum(0)
        counts[second] -= plane.sum(1)
        counts[n][number] = 0
        plane[:] = False
        if not counts[n].any():
            apart = all(np.diff(sorted(numbers)).min(initial=2) > 1 for numbers in found.values())
            return {axis: sorted(numbers) for axis, numbers in found.items()} if len(found) > 1 and apart else {}
    return {}


def near_drawing(labels: np.ndarray, spacing: tuple[float, float], ring: float) -> np.ndarray:
    """What a partial drawing tells: the labelled pixels and those within ``ring`` mm of them, or one pixel where that is
    larger (0 mm: none); bool, shape of ``labels``."""
    drawn = labels > 0
    if ring <= 0 or not drawn.any():
        return drawn
    near = ndimage.distance_transform_edt(~drawn, sampling=spacing) <= ring
    return near | ndimage.binary_dilation(drawn, iterations=_RING_PIXELS)


def _as_labels(labels: np.ndarray) -> np.ndarray:
    if labels.dtype.kind == "f" and not (np.isfinite(labels).all() and (labels == np.round(labels)).all()):
        raise InputError("a drawing holds values that are not whole numbers; labels are 0, 1, 2, ...")
    if labels.dtype.kind not in "biuf":
        raise InputError(f"a drawing has values of type {labels.dtype}; labels are whole numbers")
    if labels.size and (labels.min() < 0 or labels.max() > 254):
        raise InputError(f"a drawing has labels from {labels.min()} to {labels.max()}; they must be 0 to 254")
    return labels.astype(np.uint8)


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
            place, values = slices_first(labels, here.axis)[here.index], here.labels
            indices[here.axis].append(here.index)
        np.copyto(place, values, where=values > 0)
    usual = volume.slice_axis()
    axis = max(AXES, key=lambda a: (len(indices[a]), a == usual))
    layer = drawings[0].layer
    if all(isinstance(drawn, DrawnSlice) and drawn.complete and drawn.axis == axis for drawn in drawings):
        return SupportVolume(volume, labels, axis, tuple(sorted(indices[axis])), layer=layer)
    return SupportVolume(volume, labels, axis, tuple(sorted(indices[axis])), tuple(drawings), layer)
