"""The voxels of DICOM slices on their grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...common.errors import InputError
from ..formats.header_claims import check_room
from .decoding import decoded
from .grid import Grid
from .slices import Slice

_ON = 1e-6  # of a step: a slice this near a grid slice is that slice


def voxels_on(grid: Grid) -> np.ndarray:
    """Voxels ``[K, J, I]`` (or RGB) in a type that holds all slices; grid slices between them are interpolated."""
    reader = _Planes()
    before = reader.plane(grid.slices[0])
    check_room(before.nbytes * grid.depth, grid.slices[0].path.parent)
    out = np.empty((grid.depth, *before.shape), before.dtype)
    for n, (s, place) in enumerate(zip(grid.slices, grid.places, strict=True)):
        plane = reader.plane(s)
        if plane.shape != out.shape[1:]:
            raise InputError(f"the slices of {str(s.path.parent)!r} mix grey and colour; give one file of one kind")
        elif plane.dtype != out.dtype:
            dtype = np.result_type(plane, out)
            out = out.astype(np.float32 if dtype.kind == "f" else dtype, copy=False)
        if n:
            last = grid.places[n - 1]
            for k in range(int(np.floor(last + _ON)) + 1, int(np.ceil(place - _ON))):
                out[k] = _between(before, plane, (k - last) / (place - last), out.dtype)
        if abs(place - round(place)) < _ON:
            out[round(place)] = plane
        before = plane
    return out[..., :3] if out.ndim == 4 else out


def _between(low: np.ndarray, high: np.ndarray, share: float, dtype: np.dtype) -> np.ndarray:
    mixed = low.astype(np.float64) * (1 - share) + high.astype(np.float64) * share
    return np.rint(mixed).astype(dtype) if dtype.kind in "iu" else mixed.astype(dtype)


class _Planes:
    """Single frames of files; a file of several frames is decoded once."""

    def __init__(self):
        self._path: Path | None = None
        self._frames = np.empty((0, 0, 0))

    def plane(self, s: Slice) -> np.ndarray:
        """The pixels of ``s``, its values scaled."""
        if s.path != self._path:
            self._frames, self._path = decoded(s.path), s.path
        if s.frame >= len(self._frames):
            raise InputError(
                f"DICOM file {str(s.path)!r} has {len(self._frames)} frames, but describes more; export it again"
            )
        plane = self._frames[s.frame]
        if s.tile is not None:
            row, column = s.tile
            plane = plane[row : row + s.size[1], column : column + s.size[0]]
        if s.scale == (1.0, 0.0):
            return plane
        factor, offset = s.scale
        return (plane * factor + offset).astype(np.float32)
