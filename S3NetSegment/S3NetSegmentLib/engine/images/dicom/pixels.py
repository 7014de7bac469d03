"""The voxels of DICOM slices, decoded by SimpleITK (GDCM), on their grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ...errors import InputError
from ..itk_file import check_claims, opened, quiet
from .elements import DamagedDicom, NotDicom, read_elements
from .grid import Grid

IMAGE_IO = "GDCMImageIO"
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
    reader = _Planes()
    planes = [reader.plane(s.path, s.frame, s.scale) for s in grid.slices]
    shapes = {plane.shape for plane in planes}
    if len(shapes) > 1:
        raise InputError(
            f"the slices of {str(grid.slices[0].path.parent)!r} mix grey and colour; give one file of one kind"
        )
    dtype = np.result_type(*planes)
    dtype = np.dtype(np.float32) if dtype.kind == "f" else dtype
    out = np.empty((grid.depth, *planes[0].shape), dtype)
    at = 0
    for k in range(grid.depth):
        while at < len(planes) - 2 and grid.places[at + 1] <= k:
            planes[at], at = None, at + 1  # frees each plane that is done with
        if abs(grid.places[at] - k) < 1e-6 or len(planes) == 1:
            out[k] = planes[at]
        elif abs(grid.places[at + 1] - k) < 1e-6:
            out[k] = planes[at + 1]
        else:
            out[k] = _between(
                planes[at], planes[at + 1], (k - grid.places[at]) / (grid.places[at + 1] - grid.places[at]), dtype
            )
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
            self._frames, self._path = _decoded(path), path
        if frame >= len(self._frames):
            raise InputError(
                f"DICOM file {str(path)!r} has {len(self._frames)} frames, but describes more; export it again"
            )
        factor, offset = scale
        plane = self._frames[frame]
        return plane if scale == (1.0, 0.0) else (plane * factor + offset).astype(np.float32)


def _decoded(path: Path) -> np.ndarray:
    """``[frame, row, column(, color)]``."""
    try:
        reader = opened(path, IMAGE_IO)
    except InputError:
        _explain(path)
    check_claims(reader, path)
    try:
        with quiet():
            image = reader.Execute()
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
        f"DICOM file {str(path)!r} is cut off or damaged (transfer syntax {syntax}); copy or export it again"
    ) from None
