"""The voxels of DICOM slices, decoded by SimpleITK (GDCM), on their grid."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ...errors import InputError
from ..header_claims import check_room
from ..itk_file import quiet
from .grid import Grid
from .parsing import DamagedDicom, NotDicom, read_elements

IMAGE_IO = "GDCMImageIO"
_ON = 1e-6  # of a step: a slice this near a grid slice is that slice
# Transfer syntaxes (PS3.6 A) that GDCM does not decode.
_UNDECODED = {
    "1.2.840.10008.1.2.4.100": "MPEG2 video", "1.2.840.10008.1.2.4.101": "MPEG2 video",
    "1.2.840.10008.1.2.4.102": "MPEG-4 video", "1.2.840.10008.1.2.4.103": "MPEG-4 video",
    "1.2.840.10008.1.2.4.104": "MPEG-4 video", "1.2.840.10008.1.2.4.105": "MPEG-4 video",
    "1.2.840.10008.1.2.4.106": "MPEG-4 video", "1.2.840.10008.1.2.4.107": "HEVC video",
    "1.2.840.10008.1.2.4.108": "HEVC video", "1.2.840.10008.1.2.4.110": "JPEG XL", "1.2.840.10008.1.2.4.111": "JPEG XL",
    "1.2.840.10008.1.2.4.112": "JPEG XL", "1.2.840.10008.1.2.4.201": "High-Throughput JPEG 2000",
    "1.2.840.10008.1.2.4.202": "High-Throughput JPEG 2000", "1.2.840.10008.1.2.4.203": "High-Throughput JPEG 2000",
    "1.2.840.10008.1.2.4.94": "JPIP (pixels on a server)", "1.2.840.10008.1.2.4.95": "JPIP (pixels on a server)",
}  # fmt: skip


def check_decodable(path: Path, syntax: str) -> None:
    """Refuses pixels in an encoding that cannot be decoded, with its name and the way out."""
    if syntax in _UNDECODED:
        raise InputError(
            f"DICOM file {str(path)!r} has its pixels as {_UNDECODED[syntax]} ({syntax}), which cannot be decoded here; export "
            "it uncompressed or as JPEG 2000 (most archives offer that), or convert it with a DICOM tool"
        )


def voxels_on(grid: Grid) -> np.ndarray:
    """Voxels ``[K, J, I]`` (or RGB) in a type that holds all slices; grid slices between them are interpolated."""
    reader, out, before = _Planes(), None, None
    for n, (s, place) in enumerate(zip(grid.slices, grid.places, strict=True)):
        plane = reader.plane(s.path, s.frame, s.scale)
        if out is None:
            check_room(plane.nbytes * grid.depth, s.path.parent)
            out = np.empty((grid.depth, *plane.shape), plane.dtype)
        elif plane.shape != out.shape[1:]:
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
        self._frames: np.ndarray | None = None

    def plane(self, path: Path, frame: int, scale: tuple[float, float]) -> np.ndarray:
        """Frame ``frame`` of the file at ``path``, its values scaled by a factor and an offset."""
        if path != self._path:
            self._frames, self._path = decoded(path), path
        if frame >= len(self._frames):
            raise InputError(
                f"DICOM file {str(path)!r} has {len(self._frames)} frames, but describes more; export it again"
            )
        factor, offset = scale
        plane = self._frames[frame]
        return plane if scale == (1.0, 0.0) else (plane * factor + offset).astype(np.float32)


def decoded(path: Path) -> np.ndarray:
    """All frames of a file, ``[frame, row, column(, color)]``. InputError if they cannot be decoded."""
    try:
        with quiet():
            image = sitk.ReadImage(os.fspath(path), imageIO=IMAGE_IO)
    except RuntimeError:
        _explain(path)
    array = sitk.GetArrayFromImage(image)
    if array.dtype == np.float64:  # rescaled whole numbers, which need no more
        array = array.astype(np.float32)
    return array if image.GetDimension() > 2 else array[None]


def _explain(path: Path) -> None:
    """Why the pixels of ``path`` could not be decoded."""
    try:
        syntax = read_elements(path).syntax
    except (NotDicom, DamagedDicom, OSError):
        syntax = ""
    check_decodable(path, syntax)
    raise InputError(
        f"DICOM file {str(path)!r} cannot be decoded: it is damaged or of an unusual kind (transfer syntax {syntax}); copy or export it again"
    ) from None
