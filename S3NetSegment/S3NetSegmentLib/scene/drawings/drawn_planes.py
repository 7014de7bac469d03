"""Oblique planes that count as drawn: what an oblique view showed, and the voxels that it passes through."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...engine import Extent, InputError, Volume
from ..slices import shown_slice

_RIM = 2.0  # pixels around a plane that belong to it: its pixels end inside the volume, not at its border


@dataclass(frozen=True)
class SupportPlane:
    """A plane that counts as drawn. What is drawn there is in the segments; it may be nothing.

    :param plane_to_ras: 4x4, row by row: pixel (column, row, layer, 1) to RAS mm; a layer is as thick as one voxel is across
        the plane.
    :param shape: (rows, columns).
    :param complete: everything unlabelled is background; False: only what lies near the drawing is.
    """

    plane_to_ras: tuple[float, ...]
    shape: tuple[int, int]
    complete: bool = True

    @classmethod
    def of_view(cls, slice_node, volume_node, complete: bool = True) -> SupportPlane:
        """The plane in which an oblique view cuts ``volume_node``.

        :raises InputError: the view is along the volume's slices, or does not cut the volume.
        """
        plane = shown_slice(slice_node, volume_node).plane
        if plane is None:
            raise InputError("the view shows a slice of the volume; name that slice instead")
        return cls(tuple(plane.ijk_to_ras.ravel().tolist()), plane.array.shape[1:3], complete)

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

    def voxels(self, geometry: Volume, box: Extent) -> np.ndarray:
        """The voxels in ``box`` of ``geometry`` that the plane passes through, bool ``[K, J, I]``."""
        to_plane = np.linalg.solve(self.matrix, geometry.ijk_to_ras)
        i, j, k = (np.arange(a, b, dtype=np.float32) for a, b in zip(box.start, box.stop, strict=True))
        column, row, layer = (t[0] * i + (t[1] * j)[:, None] + t[3] for t in to_plane[:3].astype(np.float32))
        steps = to_plane[:3, 2].astype(np.float32)
        out = np.empty(box.size[::-1], bool)
        for n, z in enumerate(k):  # one slice at a time: whole volumes of numbers would be large
            np.less_equal(np.abs(layer + steps[2] * z), 0.5, out=out[n])
            for pixel, step, count in ((column, steps[0], self.shape[1]), (row, steps[1], self.shape[0])):
                at = pixel + step * z
                out[n] &= (at >= -_RIM) & (at <= count - 1 + _RIM)
        return out
