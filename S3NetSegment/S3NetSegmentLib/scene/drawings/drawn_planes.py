"""Oblique planes that count as drawn: what an oblique view showed, and the voxels that it passes through."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...engine import Extent, InputError, Volume
from ...engine.few_shot.drawings.support import DrawnPlane
from ..slices import shown_slice, slice_name
from .lattices import LabelBox

PLANE = "plane"  # where slices have the name of an axis
_RIM = 2.0  # pixels around a plane that belong to it: its pixels end inside the volume, not at its border


@dataclass(frozen=True)
class SupportPlane:
    """A plane that counts as drawn. What is drawn there is in the segments; it may be nothing.

    :param plane_to_ras: 4x4, row by row: pixel (column, row, layer, 1) to RAS mm; a layer is as thick as one voxel is across
        the plane.
    :param shape: (rows, columns).
    :param complete, corrected, added, without: as in :class:`SupportSlice`.
    """

    plane_to_ras: tuple[float, ...]
    shape: tuple[int, int]
    complete: bool = True
    corrected: bool = False
    added: bool = False
    without: tuple[str, ...] = ()

    @classmethod
    def of_view(cls, slice_node, volume_node, complete: bool = True) -> SupportPlane:
        """The plane in which an oblique view cuts ``volume_node``.

        :raises InputError: the view is along the volume's slices, or does not cut the volume.
        """
        grid = shown_slice(slice_node, volume_node).grid
        if grid is None:
            raise InputError("the view shows a slice of the volume; name that slice instead")
        matrix, shape = grid
        return cls(tuple(matrix.ravel().tolist()), shape, complete)

    def counts(self, segment_id: str) -> bool:
        """Whether the voxels of a segment on this plane are a drawing."""
        return segment_id not in self.without

    @property
    def place(self) -> tuple[str, tuple]:
        """What tells planes apart: views within a ten thousandth of a pixel show the same one."""
        pixel = np.linalg.norm(self.matrix[:3, 0])
        return PLANE, (*(np.round(self.matrix[:3] / pixel, 4) + 0.0).ravel().tolist(), *self.shape)

    def name_in(self, volume: Volume) -> str:
        """For the user, e.g. "oblique axial"."""
        return f"oblique {slice_name(volume, self.axis_in(volume), 0).split()[0]}"

    def axis_in(self, volume: Volume) -> str:
        """The axis of ``volume`` that is nearest to the plane's normal."""
        return DrawnPlane(np.zeros(self.shape, np.uint8), self.matrix).axis_in(volume)

    @property
    def text(self) -> str:
        """For messages."""
        return "an oblique plane"

    @property
    def short(self) -> str:
        """For provenance."""
        return "plane"

    @property
    def matrix(self) -> np.ndarray:
        """``plane_to_ras`` as array (4, 4)."""
        return np.array(self.plane_to_ras).reshape(4, 4)

    @property
    def geometry(self) -> Volume:
        """The pixels of the plane as a grid in world RAS, ``[1, rows, columns]``."""
        return Volume(np.broadcast_to(np.uint8(0), (1, *self.shape)), self.matrix, "plane")

    def part_of(self, segment: LabelBox, geometry: Volume, layers: float = 1.0) -> LabelBox:
        """What of ``segment``, on the grid of ``geometry``, lies on the plane."""
        if segment.array.size == 0:
            return segment
        return LabelBox(
            segment.array & self.voxels(geometry, Extent(segment.start, segment.stop), layers), segment.start
        )

    def voxels(self, geometry: Volume, box: Extent, layers: float = 1.0) -> np.ndarray:
        """The voxels in ``box`` of ``geometry`` that the plane passes through, bool ``[K, J, I]``.

        :param layers: how thick the plane is taken to be.
        """
        to_plane = np.linalg.solve(self.matrix, geometry.ijk_to_ras)
        i, j, k = (np.arange(a, b, dtype=np.float32) for a, b in zip(box.start, box.stop, strict=True))
        column, row, layer = (t[0] * i + (t[1] * j)[:, None] + t[3] for t in to_plane[:3].astype(np.float32))
        steps = to_plane[:3, 2].astype(np.float32)
        out = np.empty(box.size[::-1], bool)
        for n, z in enumerate(k):  # one slice at a time: whole volumes of numbers would be large
            np.less_equal(np.abs(layer + steps[2] * z), layers / 2, out=out[n])
            for pixel, step, count in ((column, steps[0], self.shape[1]), (row, steps[1], self.shape[0])):
                at = pixel + step * z
                out[n] &= (at >= -_RIM) & (at <= count - 1 + _RIM)
        return out
