"""NIfTI files (.nii, .nii.gz, .hdr/.img): reading with exact geometry and a check for cut-off files, and writing.

SimpleITK reads a cut-off NIfTI file as zeros without a word, refuses matrices that are not at right angles and bends
them when writing; here they are kept. Which of a file's two matrices counts follows ITK and so Slicer. Why not nibabel:
Resources/Documentation/architecture.md. Source: the NIfTI-1 and NIfTI-2 header definitions (nifti1.h, nifti2.h).
"""

from __future__ import annotations

import gzip
import io
import math
import struct
import zlib
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ...common.errors import InputError, image_warning
from ..files import damaged, stem_of, suffix_of
from ..image_warnings import note_transparency
from ..volume import Volume
from .header_claims import check_room
from .nifti_places import NiftiHeader, matrices, quaternion_of

_TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
    128: "u1", 2304: "u1",
}  # fmt: skip
_CHANNELS = {128: 3, 2304: 4}  # RGB24 and RGBA32
_COMPLEX = (32, 1792, 2048)
_MOST_BEHIND = 64 << 20  # bytes behind the voxels
_UNIT, _MM = {1: 1000.0, 3: 0.001}, 2  # metres and micrometres; everything else is taken as mm
# Fields of the headers of both versions: their types and where they begin.
_HEADERS: dict[int, Any] = {
    1: {
        "size": ("i4", 0), "dim": ("8i2", 40), "datatype": ("i2", 70), "bits": ("i2", 72), "pixdim": ("8f4", 76), "offset": ("f4", 108),
        "slope": ("f4", 112), "intercept": ("f4", 116), "unit": ("u1", 123), "codes": ("2i2", 252), "quaternion": ("6f4", 256),
        "sform": ("(3,4)f4", 280), "magic": ("S4", 344),
    },
    2: {
        "magic": ("S8", 4), "datatype": ("i2", 12), "dim": ("8i8", 16), "pixdim": ("8f8", 104), "offset": ("i8", 168), "slope": ("f8", 176),
        "intercept": ("f8", 184), "codes": ("2i4", 344), "quaternion": ("6f8", 352), "sform": ("(3,4)f8", 400), "unit": ("i4", 500),
    },
}  # fmt: skip


def is_nifti(path: Path, head: bytes) -> bool:
    """Whether ``path`` with the first bytes ``head`` is a NIfTI file (and not ANALYZE, which is left to ITK)."""
    if suffix_of(path) in (".img", ".img.gz"):
        return _header_path(path).exists() and is_nifti(_header_path(path), _start(_header_path(path)))
    return _layout(_start(path) if head[:2] == b"\x1f\x8b" else head) is not None


def read_nifti(path: Path, choose_frame) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, ...]]:
    """Voxels ``[K, J, I]`` or ``[K, J, I, 3]`` of a NIfTI file, the 4x4 voxel-to-RAS matrix, and those by which other programs
    put it elsewhere.

    :param choose_frame: called with the number of frames, returns the one to read.
    :raises InputError: cut off, complex voxels, no usable voxel sizes.
    """
    header_path = _header_path(path)
    header = _parsed(header_path)
    shown = repr(str(path))
    if header.datatype not in _TYPES:
        if header.datatype in _COMPLEX:
            raise InputError(f"{shown} holds complex numbers, which cannot be segmented; save its magnitude")
        raise InputError(
            f"{shown} holds voxels of NIfTI type {header.datatype}, which is not read; save it as float32, labels as uint8"
        )
    sizes = [max(1, n) for n in header.dim[1 : header.dim[0] + 1]] + [1] * 7
    volume_shape, frames, vector, rest = sizes[2::-1], sizes[3], sizes[4], sizes[5:7]
    if (frames > 1 and vector > 1) or max(rest) > 1:
        raise InputError(f"{shown} has {header.dim[0]} dimensions {sizes[: header.dim[0]]}; save one 3D or 4D image")
    channels = _CHANNELS.get(header.datatype, 1)
    if vector == 2:
        raise InputError(f"{shown} holds vectors of 2 numbers; save one of the two components as an image of its own")
    count = max(frames, vector)
    if vector > 1:
        choose_frame = partial(choose_frame, held="components in each voxel")
    parts = [0, 1, 2] if vector == 3 and channels == 1 else [choose_frame(count)]
    dtype = np.dtype(header.order + _TYPES[header.datatype])
    blocks = _read_blocks(_data_path(header_path, header), header, dtype, (*volume_shape, channels), parts, count)
    array = blocks[0] if len(blocks) == 1 else np.concatenate(blocks, -1)
    if channels == 4:
        note_transparency(array[..., 3], shown)
    array = array[..., 0] if array.shape[-1] == 1 else array[..., :3]
    return _scaled(array, header), *matrices(header, volume_shape, shown)


def nifti_grid(path: Path) -> Volume:
    """An empty volume on the grid of a NIfTI file of one grey frame. InputError for others."""
    header = _parsed(_header_path(path))
    sizes = [max(1, n) for n in header.dim[1 : header.dim[0] + 1]] + [1] * 7
    if max(sizes[3:7]) > 1 or header.datatype not in _TYPES or header.datatype in _CHANNELS:
        raise InputError(f"{str(path)!r} holds more than one grey image")
    matrix, others = matrices(header, sizes[2::-1], repr(str(path)))
    empty = np.broadcast_to(np.uint8(0), sizes[2::-1])
    return Volume(empty, matrix, stem_of(path), other_matrices=others)


def write_nifti(file: BinaryIO, array: np.ndarray, ijk_to_ras: np.ndarray, *, compressed: bool) -> None:
    """Writes a scalar array ``[K, J, I]``, or frames ``[T, K, J, I]``, as NIfTI-1 into an open file."""
    if max(array.shape) > 32767:
        raise InputError(f"an image of {array.shape[::-1]} voxels is too large for NIfTI; choose .nrrd or .mha")
    codes = {kind: code for code, kind in _TYPES.items() if code not in _CHANNELS}
    matrix = np.asarray(ijk_to_ras, float)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    quaternion, handed, square = quaternion_of(matrix[:3, :3] / spacing)
    header = np.zeros((), np.dtype(_HEADERS[1]).newbyteorder("<"))
    header["size"], header["magic"], header["offset"], header["slope"], header["unit"] = 348, b"n+1", 352, 1, _MM
    header["datatype"], header["bits"] = codes[array.dtype.str[1:]], 8 * array.dtype.itemsize
    header["dim"] = (array.ndim, *array.shape[::-1], *([1] * (7 - array.ndim)))
    header["pixdim"] = (handed, *spacing, 1, 1, 1, 1)
    # A matrix that is not at right angles has no quaternion; then only the full matrix is valid.
    header["codes"], header["quaternion"], header["sform"] = (square, 1), (*quaternion, *matrix[:3, 3]), matrix[:3]
    out = gzip.GzipFile("", "wb", 1, file, mtime=0) if compressed else file
    out.write(header.tobytes() + bytes(4))  # no extensions
    for plane in array:
        out.write(np.ascontiguousarray(plane, array.dtype.newbyteorder("<")).data)
    if compressed:
        out.close()


def _header_path(path: Path) -> Path:
    if suffix_of(path) not in (".img", ".img.gz"):
        return path
    plain = path.with_name(stem_of(path) + ".hdr")
    return plain if plain.exists() else path.with_name(stem_of(path) + ".hdr.gz")


def _data_path(header_path: Path, header: NiftiHeader) -> Path:
    if not header.paired:
        return header_path
    for suffix in (".img", ".img.gz"):
        if (data := header_path.with_name(stem_of(header_path) + suffix)).exists():
            return data
    raise InputError(f"{str(header_path)!r} needs its file of voxels ({stem_of(header_path)}.img); put it beside it")


def _open(path: Path) -> io.BufferedIOBase:
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if packed else open(path, "rb")


def _start(path: Path) -> bytes:
    try:
        with _open(path) as file:
            return file.read(544)
    except (OSError, EOFError, zlib.error):
        return b""


def _layout(start: bytes) -> tuple[str, int] | None:
    """Byte order and NIfTI version of a header, None if it is not one."""
    if len(start) < 348:
        return None
    for order in "<>":
        size = struct.unpack_from(order + "i", start)[0]
        if size == 348 and start[344:347] in (b"n+1", b"ni1"):
            return order, 1
        if size == 540 and start[4:7] in (b"n+2", b"ni2") and len(start) >= 540:
            return order, 2
    return None


def _parsed(path: Path) -> NiftiHeader:
    start = _start(path)
    layout = _layout(start)
    if layout is None:
        raise InputError(f"{str(path)!r} has no NIfTI header; copy or export it again")
    order, version = layout
    raw = np.frombuffer(start, np.dtype(_HEADERS[version]).newbyteorder(order), 1)[0]
    dim, offset, codes = raw["dim"].tolist(), raw["offset"].item(), raw["codes"].tolist()
    if not 1 <= dim[0] <= 7:
        raise InputError(f"{str(path)!r} has a damaged NIfTI header ({dim[0]} dimensions); copy or export it again")
    sizes = dim[1 : dim[0] + 1]
    if min(sizes) < 0 or 0 in sizes[:3] or not math.isfinite(offset):
        what = f"sizes {list(sizes)}" if math.isfinite(offset) else f"voxels from byte {offset:g} on"
        raise InputError(f"{str(path)!r} has a damaged NIfTI header ({what}); copy or export it again")
    paired = raw["magic"][1:2] == b"i"
    smallest = 0 if paired else (352 if version == 1 else 544)
    return NiftiHeader(
        order, raw["datatype"].item(), tuple(dim), tuple(raw["pixdim"].tolist()), max(int(offset), smallest), raw["slope"].item(),
        raw["intercept"].item(), codes[0], codes[1], tuple(raw["quaternion"].tolist()), np.array(raw["sform"].tolist()),
        _UNIT.get(raw["unit"].item() & 7, 1.0), paired,
    )  # fmt: skip


def _read_blocks(path: Path, header: NiftiHeader, dtype, shape, frames: list[int], count: int) -> list[np.ndarray]:
    """The wanted ``frames`` of the ``count`` in a file, each ``shape`` in native byte order. InputError if the file is
    too short or its checksum does not fit."""
    blocks = []
    voxels = math.prod(shape)
    size = voxels * dtype.itemsize
    try:
        with _open(path) as file:
            packed = isinstance(file, gzip.GzipFile)
            # Before memory is taken for what a damaged header says: gzip packs at most about a thousand to one.
            if header.offset + size * count > path.stat().st_size * (1100 if packed else 1):
                raise EOFError
            check_room(size * len(frames), path)
            for frame in frames:
                file.seek(header.offset + frame * size)
                block = np.empty(voxels, dtype)
                view = memoryview(block.data).cast("B")
                got = 0
                while got < size:
                    if not (more := file.readinto(view[got:])):
                        raise EOFError
                    got += more
                blocks.append(block.astype(dtype.newbyteorder("="), copy=False).reshape(shape))
            if frames[-1] == count - 1 and _read_to_end(file):
                image_warning(
                    f"{str(path)!r}: more follows behind its voxels (another image, or what is none); only the first image is read"
                )
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise damaged(path) from None
    return blocks


def _read_to_end(file: io.BufferedIOBase) -> bool:
    """Reads on to where the checksum is compared; gives up where a file goes on and on, as one made to harm would. Whether there
    is something but zeros, with which tools fill up."""
    more = False
    try:
        for _ in range(_MOST_BEHIND >> 20):
            if not (part := file.read(1 << 20)):
                break
            more |= any(part)
    except gzip.BadGzipFile as error:
        if not str(error).startswith("Not a gzipped file"):  # behind a stream whose checksum fits
            raise
        return True
    return more


def _scaled(array: np.ndarray, header: NiftiHeader) -> np.ndarray:
    slope, intercept = header.slope, header.intercept if np.isfinite(header.intercept) else 0.0
    if not np.isfinite(slope) or slope == 0:  # then nothing is scaled, whatever the intercept, says the format
        return array
    if (slope, intercept) == (1.0, 0.0) or header.datatype in _CHANNELS:
        return array
    real = np.dtype(np.float64 if array.dtype.itemsize == 8 else np.float32)
    return array.astype(real) * real.type(slope) + real.type(intercept)
