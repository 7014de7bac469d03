"""Image files for tests: random grids, raw NIfTI and NRRD files with any header, PNG of any kind, DICOM series."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from S3NetSegmentLib.engine.common.errors import ImageWarning
from S3NetSegmentLib.engine.images.reading import read_image

NIFTI_TYPES = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "c8": 32, "f8": 64, "i1": 256, "u2": 512, "u4": 768, "i8": 1024}


def read_warned(path, frame=None):
    """The image at ``path``, and the texts of the warnings, which are all of images."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        volume = read_image(path, frame)
    assert all(c.category is ImageWarning for c in caught)
    return volume, [str(c.message) for c in caught]


def random_matrix(rng, *, oblique=True, shear=0.0) -> np.ndarray:
    """A voxel-to-RAS matrix with permuted and flipped axes, anisotropic voxels and, if ``oblique``, any rotation."""
    axes = np.eye(3)[:, rng.permutation(3)] @ np.diag(rng.choice([-1.0, 1.0], 3))
    if oblique:
        axes = np.linalg.qr(rng.normal(size=(3, 3)))[0] @ axes
    axes[:, 2] += shear * axes[:, 1]
    matrix = np.eye(4)
    matrix[:3, :3] = axes * rng.uniform(0.3, 5.0, 3)
    matrix[:3, 3] = rng.uniform(-300, 300, 3)
    return matrix


def relative_error(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(found - wanted).max() / np.abs(wanted[:3, :3]).max())


def itk_image(array: np.ndarray, matrix: np.ndarray) -> sitk.Image:
    """``array`` [K, J, I(, C)] with a voxel-to-RAS ``matrix`` as a SimpleITK image (LPS)."""
    image = sitk.GetImageFromArray(array, isVector=array.ndim == 4)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def write_raw_nifti(
    path: Path, array: np.ndarray, *, qform=None, sform=None, qform_code=0, sform_code=0, pixdim=(1, 1, 1), slope=1.0,
    intercept=0.0, unit=2, order="<", datatype=None, dims=None,
) -> Path:  # fmt: skip
    """A NIfTI-1 file with exactly these header fields; ``array`` is [.., K, J, I]."""
    header = bytearray(352)
    dims = list(array.shape[::-1]) if dims is None else dims
    struct.pack_into(order + "i", header, 0, 348)
    struct.pack_into(order + "8h", header, 40, len(dims), *dims, *[1] * (7 - len(dims)))
    code = datatype or NIFTI_TYPES[array.dtype.str[1:]]
    struct.pack_into(order + "2h", header, 70, code, 8 * array.dtype.itemsize)
    struct.pack_into(order + "8f", header, 76, 1, *pixdim, *[1] * (7 - len(pixdim)))
    struct.pack_into(order + "3f", header, 108, 352, slope, intercept)
    header[123] = unit
    struct.pack_into(order + "2h", header, 252, qform_code, sform_code)
    if qform is not None:
        struct.pack_into(order + "6f", header, 256, *qform)
    if sform is not None:
        struct.pack_into(order + "12f", header, 280, *np.asarray(sform, float)[:3].ravel())
    header[344:348] = b"n+1\0"
    path.write_bytes(bytes(header) + array.astype(array.dtype.newbyteorder(order)).tobytes())
    return path


def write_raw_nrrd(path: Path, fields: str, array: np.ndarray) -> Path:
    """A NRRD file with these header lines (without encoding) and the raw bytes of ``array``."""
    head = f"NRRD0004\n{fields.strip()}\nencoding: raw\nendian: little\n\n"
    path.write_bytes(head.encode() + array.tobytes())
    return path


def write_raw_png(path: Path, pixels: np.ndarray, color: int, palette: bytes = b"") -> Path:
    """A PNG of any colour type: 0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGB with alpha."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = pixels.shape[:2]
    bits = 8 * pixels.dtype.itemsize
    rows = pixels.astype(pixels.dtype.newbyteorder(">")).reshape(height, -1)
    content = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0))
        + (chunk(b"PLTE", palette) if palette else b"")
        + chunk(b"IDAT", content)
        + chunk(b"IEND", b"")
    )
    return path


def write_dicom_series(
    folder: Path, array: np.ndarray, matrix: np.ndarray, *, uid="1.2.3.4", description="T2 axial", modality="MR",
    first_number=1, skip=(), trigger_time=None, positions=None, extra=None,
) -> list[Path]:  # fmt: skip
    """One DICOM file for each slice of ``array`` [K, J, I], in shuffled file order; slices in ``skip`` are left out."""
    folder.mkdir(parents=True, exist_ok=True)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    axes = lps[:3, :3] / spacing
    normal = np.cross(axes[:, 0], axes[:, 1])
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    paths = []
    for k in range(len(array)):
        if k in skip:
            continue
        position = lps[:3, 3] + k * lps[:3, 2] if positions is None else positions[k]
        image = sitk.GetImageFromArray(array[k : k + 1])
        image.SetSpacing(spacing.tolist())
        image.SetDirection(np.stack([axes[:, 0], axes[:, 1], normal], 1).ravel().tolist())
        image.SetOrigin(np.asarray(position).tolist())
        number = first_number + k
        tags = {
            "0008|0060": modality, "0008|103e": description, "0020|000d": "1.2.3", "0020|000e": uid,
            "0008|0018": f"{uid}.{number}", "0020|0013": str(number), "0018|0050": f"{spacing[2]:.6g}",
            "0020|0032": "\\".join(f"{v:.10g}" for v in position),
            "0020|0037": "\\".join(f"{v:.10g}" for v in (*axes[:, 0], *axes[:, 1])),
        }  # fmt: skip
        if trigger_time is not None:
            tags["0018|1060"] = str(trigger_time)
        for tag, value in (tags | (extra or {})).items():
            image.SetMetaData(tag, value)
        path = folder / f"{(number * 7) % 101:03d}_{uid.replace('.', '')}_{number}.dcm"
        writer.SetFileName(str(path))
        writer.Execute(image)
        paths.append(path)
    return paths


def write_raw_dicom(path: Path, pixels: np.ndarray, elements: dict[tuple[int, int], tuple[str, str]]) -> Path:
    """A DICOM file (explicit little endian) with ``pixels`` [H, W] uint16 and these (group, element): (VR, text)."""

    def element(group: int, number: int, vr: str, content: bytes) -> bytes:
        content += (b"\0" if vr in ("UI", "OW") else b" ") * (len(content) % 2)
        length = struct.pack("<HI", 0, len(content)) if vr in ("OW", "OB") else struct.pack("<H", len(content))
        return struct.pack("<HH", group, number) + vr.encode() + length + content

    secondary_capture, little_endian = b"1.2.840.10008.5.1.4.1.1.7", b"1.2.840.10008.1.2.1"
    parts = {key: (vr, text.encode()) for key, (vr, text) in elements.items()}
    parts[0x0008, 0x0016] = ("UI", secondary_capture)
    numbers = {
        0x0002: 1,
        0x0010: pixels.shape[0],
        0x0011: pixels.shape[1],
        0x0100: 16,
        0x0101: 16,
        0x0102: 15,
        0x0103: 0,
    }
    for number, value in numbers.items():
        parts[0x0028, number] = ("US", struct.pack("<H", value))
    parts[0x0028, 0x0004] = ("CS", b"MONOCHROME2")
    parts[0x7FE0, 0x0010] = ("OW", pixels.astype("<u2").tobytes())
    meta = (
        element(2, 1, "OB", b"\0\1")
        + element(2, 2, "UI", secondary_capture)
        + element(2, 3, "UI", parts[0x0008, 0x0018][1])
        + element(2, 16, "UI", little_endian)
    )
    body = b"".join(element(*key, *parts[key]) for key in sorted(parts))
    path.write_bytes(b"\0" * 128 + b"DICM" + element(2, 0, "UL", struct.pack("<I", len(meta))) + meta + body)
    return path
