"""Image file formats as bytes: NRRD and MHA, written by Python itself, and PNG by Pillow.

Sources: the NRRD format definition (teem), MetaIO's tag list.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from typing import BinaryIO

import numpy as np

_NRRD_TYPES = {
    "b1": "uint8", "u1": "uint8", "i1": "int8", "u2": "uint16", "i2": "int16", "u4": "uint32", "i4": "int32",
    "u8": "uint64", "i8": "int64", "f4": "float", "f8": "double",
}  # fmt: skip
_META_TYPES = {
    "u1": "MET_UCHAR", "i1": "MET_CHAR", "u2": "MET_USHORT", "i2": "MET_SHORT", "u4": "MET_UINT", "i4": "MET_INT",
    "u8": "MET_ULONG_LONG", "i8": "MET_LONG_LONG", "f4": "MET_FLOAT", "f8": "MET_DOUBLE",
}  # fmt: skip
_FAST = 1  # zlib level: label maps shrink well at any level, and images hardly gain from a higher one


def write_nrrd(
    file: BinaryIO, layers: list[np.ndarray], ijk_to_ras: np.ndarray, keys: Mapping[str, str] | None = None
) -> None:
    """Writes one or several arrays ``[K, J, I]`` of one shape and type as NRRD (gzip) into an open file.

    :param layers: more than one become a list axis, the first in the file, as Slicer does with overlapping segments.
    :param keys: key/value pairs of the header, any text.
    """
    first, lps = layers[0], _lps(ijk_to_ras)
    sizes, directions, kinds = list(first.shape[::-1]), [_vector(column) for column in lps[:, :3].T], ["domain"] * 3
    if len(layers) > 1:
        sizes, directions, kinds = [len(layers), *sizes], ["none", *directions], ["list", *kinds]
    lines = [
        "NRRD0004",
        f"type: {_NRRD_TYPES[first.dtype.str[1:]]}",
        f"dimension: {len(sizes)}",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, sizes))}",
        f"space directions: {' '.join(directions)}",
        f"kinds: {' '.join(kinds)}",
        "endian: little",
        "encoding: gzip",
        f"space origin: {_vector(lps[:, 3])}",
    ]
    for key, value in (keys or {}).items():
        lines.append(key + ":=" + value.replace("\\", "\\\\").replace("\r", "").replace("\n", "\\n"))
    file.write(("\n".join(lines) + "\n\n").encode("utf-8"))
    with gzip.GzipFile("", "wb", _FAST, file, mtime=0) as out:
        for planes in zip(*layers, strict=True):
            plane = planes[0] if len(planes) == 1 else np.stack(planes, -1)
            out.write(np.ascontiguousarray(plane, first.dtype.newbyteorder("<")).data)


def write_mha(file: BinaryIO, array: np.ndarray, ijk_to_ras: np.ndarray) -> None:
    """Writes a scalar array ``[K, J, I]`` as MetaImage (header and compressed voxels in one) into an open file."""
    lps = _lps(ijk_to_ras)
    spacing = np.linalg.norm(lps[:, :3], axis=0)
    head = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = True\n"
        "CompressedDataSize = "
    )
    file.write(head.encode())
    at = file.tell()
    tail = (
        f"{0:020d}\nTransformMatrix = {_numbers((lps[:, :3] / spacing).T.ravel())}\nOffset = {_numbers(lps[:, 3])}\n"
        f"CenterOfRotation = 0 0 0\nElementSpacing = {_numbers(spacing)}\n"
        f"DimSize = {_numbers(array.shape[::-1])}\nElementType = {_META_TYPES[array.dtype.str[1:]]}\n"
        "ElementDataFile = LOCAL\n"
    )
    file.write(tail.encode())
    start = file.tell()
    packer = zlib.compressobj(_FAST)
    for plane in array:
        file.write(packer.compress(np.ascontiguousarray(plane, array.dtype.newbyteorder("<")).data))
    file.write(packer.flush())
    size = file.tell() - start
    file.seek(at)  # the size stands before the voxels but is known only after them
    file.write(f"{size:020d}".encode())


def write_png_pixels(file: BinaryIO, pixels: np.ndarray) -> None:
    """Writes pixels ``[H, W]`` (uint8 or uint16 grey) or ``[H, W, 3]`` (uint8 RGB) as PNG into an open file."""
    import PIL.Image

    PIL.Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG")


def _lps(ijk_to_ras: np.ndarray) -> np.ndarray:
    """3x4, voxel to LPS."""
    return np.array([-1.0, -1.0, 1.0])[:, None] * np.asarray(ijk_to_ras, float)[:3]


def _numbers(values) -> str:
    return " ".join(f"{float(v):.17g}" for v in values)


def _vector(values) -> str:
    return f"({','.join(f'{float(v):.17g}' for v in values)})"
