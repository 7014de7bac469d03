"""DICOM files for tests, written element by element: any header, sequences, several frames, any uncompressed encoding."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
CT, MR, PET = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.128"
ENHANCED_CT, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.4.1"
SECONDARY_CAPTURE, ULTRASOUND = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.6.1"
SEG, LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"
ULTRASOUND_FRAMES, X_RAY = "1.2.840.10008.5.1.4.1.1.3.1", "1.2.840.10008.5.1.4.1.1.1.1"
RUN_LENGTH, JPEG, JPEG_LOSSLESS = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70"
JPEG_LS, JPEG_2000 = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"
_LONG = ("OB", "OD", "OF", "OW", "SQ", "UN", "UT")
_FORMS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d"}

Elements = dict[int, tuple[str, object]]  # tag -> (value representation, value); a sequence is a list of Elements


def encoded(elements: Elements, syntax: str = EXPLICIT, undefined_lengths: bool = False) -> bytes:
    """The bytes of ``elements`` in order of their tags."""
    order = ">" if syntax == BIG_ENDIAN else "<"
    parts = []
    for tag in sorted(elements):
        kind, value = elements[tag]
        parts.append(struct.pack(order + "HH", tag >> 16, tag & 0xFFFF))
        if kind == "SQ":
            content, length = _items(value, order, syntax, undefined_lengths), None
        else:
            content = _bytes(kind, value, order)
            content += (b"\0" if kind in ("UI", "OB", "OW", "UN") else b" ") * (len(content) % 2)
            length = len(content)
        if kind == "SQ" and undefined_lengths:
            content, length = content + struct.pack(order + "HHI", 0xFFFE, 0xE0DD, 0), 0xFFFFFFFF
        length = len(content) if length is None else length
        if syntax == IMPLICIT:
            parts.append(struct.pack("<I", length))
        elif kind in _LONG:
            parts.append(kind.encode() + struct.pack(order + "HI", 0, length))
        else:
            parts.append(kind.encode() + struct.pack(order + "H", length))
        parts.append(content)
    return b"".join(parts)


def _items(items: list[Elements], order: str, syntax: str, undefined: bool) -> bytes:
    out = b""
    for item in items:
        content = encoded(item, syntax, undefined)
        out += struct.pack(order + "HHI", 0xFFFE, 0xE000, 0xFFFFFFFF if undefined else len(content)) + content
        out += struct.pack(order + "HHI", 0xFFFE, 0xE00D, 0) if undefined else b""
    return out


def _bytes(kind: str, value, order: str) -> bytes:
    if isinstance(value, bytes):
        return value
    if kind in _FORMS:
        values = value if isinstance(value, list | tuple) else [value]
        return struct.pack(order + _FORMS[kind] * len(values), *values)
    if kind == "AT":
        tags = value if isinstance(value, list) else [value]
        return b"".join(struct.pack(order + "HH", tag >> 16, tag & 0xFFFF) for tag in tags)
    if isinstance(value, list | tuple | np.ndarray):
        value = "\\".join(v if isinstance(v, str) else f"{v:.10g}" for v in value)
    return str(value).encode("latin-1")


def image_elements(pixels: np.ndarray, sop_class: str = CT, uid: str = "1.2.9.1", series: str = "1.2.9") -> Elements:
    """What every image has. ``pixels``: [H, W] or [frames, H, W], whole numbers; or [H, W, 3] or [frames, H, W, 3], RGB."""
    color = pixels.ndim > 2 and pixels.shape[-1] == 3
    bits = 8 * pixels.dtype.itemsize
    rows, columns = pixels.shape[-3:-1] if color else pixels.shape[-2:]
    elements: Elements = {
        0x00080016: ("UI", sop_class), 0x00080018: ("UI", uid), 0x00080060: ("CS", "OT"), 0x0020000D: ("UI", "1.2.8"),
        0x0020000E: ("UI", series), 0x00280002: ("US", 3 if color else 1),
        0x00280004: ("CS", "RGB" if color else "MONOCHROME2"), 0x00280010: ("US", rows), 0x00280011: ("US", columns),
        0x00280100: ("US", bits), 0x00280101: ("US", bits), 0x00280102: ("US", bits - 1),
        0x00280103: ("US", int(pixels.dtype.kind == "i")), 0x7FE00010: ("OW", pixels.tobytes()),
    }  # fmt: skip
    if color:
        elements[0x00280006] = ("US", 0)
    if pixels.ndim == (4 if color else 3):
        elements[0x00280008] = ("IS", str(len(pixels)))
    return elements


def placed(position, axes=(1, 0, 0, 0, 1, 0), spacing=(1.0, 1.0), thickness=2.0) -> Elements:
    """Place of a classic slice; ``spacing`` between rows, between columns."""
    return {
        0x00200032: ("DS", list(position)), 0x00200037: ("DS", list(axes)), 0x00280030: ("DS", list(spacing)),
        0x00180050: ("DS", thickness),
    }  # fmt: skip


def write_dicom(
    path: Path, elements: Elements, syntax: str = EXPLICIT, *, preamble: bool = True, undefined_lengths: bool = False
) -> Path:
    """One file of ``elements``. ``preamble``: as files have had since 1998."""
    path.parent.mkdir(parents=True, exist_ok=True)
    body = encoded(elements, syntax, undefined_lengths)
    if syntax == DEFLATED:
        packer = zlib.compressobj(wbits=-15)
        body = packer.compress(body) + packer.flush()
    if not preamble:
        path.write_bytes(body)
        return path
    meta = encoded({
        0x00020001: ("OB", b"\0\1"), 0x00020002: ("UI", elements.get(0x00080016, ("UI", CT))[1]),
        0x00020003: ("UI", elements.get(0x00080018, ("UI", "1.2.9.1"))[1]), 0x00020010: ("UI", syntax),
    })  # fmt: skip
    head = encoded({0x00020000: ("UL", len(meta))})
    path.write_bytes(b"\0" * 128 + b"DICM" + head + meta + body)
    return path


def write_compressed(path: Path, elements: Elements, frames: list[bytes], syntax: str) -> Path:
    """One file of ``elements`` with ``frames`` as its pixel data, each in a fragment."""

    def item(content: bytes) -> bytes:
        content += b"\0" * (len(content) % 2)
        return struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content

    write_dicom(path, {tag: value for tag, value in elements.items() if tag != 0x7FE00010}, syntax)
    with open(path, "ab") as file:
        file.write(struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + item(b""))
        file.write(b"".join(map(item, frames)) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0))
    return path


def run_length(frame: np.ndarray) -> bytes:
    """``frame`` [H, W] or [H, W, 3] in literal runs: a segment for each byte of each colour, the highest byte first (PS3.5 G)."""
    planes = [frame] if frame.ndim == 2 else list(np.moveaxis(frame, 2, 0))
    segments = []
    for plane in planes:
        in_bytes = np.ascontiguousarray(plane).view(np.uint8).reshape(*plane.shape, plane.itemsize)
        for byte in range(plane.itemsize - 1, -1, -1):
            runs = b"".join(bytes([len(row) - 1]) + row.tobytes() for row in in_bytes[..., byte])
            segments.append(runs + b"\0" * (len(runs) % 2))
    places = np.cumsum([64, *map(len, segments[:-1])])
    return np.array([len(segments), *places, *[0] * (15 - len(segments))], "<u4").tobytes() + b"".join(segments)


def functional_groups(position, marks: Elements | None = None, slope=None, intercept=0.0) -> Elements:
    """The groups of one frame of an enhanced file: its place, ``marks`` and, if given, its rescaling."""
    groups: Elements = {0x00209113: ("SQ", [{0x00200032: ("DS", list(position))}])} | (marks or {})
    if slope is not None:
        rescale = {0x00281052: ("DS", intercept), 0x00281053: ("DS", slope), 0x00281054: ("LO", "US")}
        groups[0x00289145] = ("SQ", [rescale])
    return groups


def enhanced_elements(
    pixels: np.ndarray, frames: list[Elements], sop_class: str = ENHANCED_MR, axes=(1, 0, 0, 0, 1, 0), spacing=(1.0, 1.0),
    thickness=2.0,
) -> Elements:  # fmt: skip
    """An enhanced multi-frame image of ``pixels`` [frames, H, W]."""
    shared = {
        0x00209116: ("SQ", [{0x00200037: ("DS", list(axes))}]),
        0x00289110: ("SQ", [{0x00280030: ("DS", list(spacing)), 0x00180050: ("DS", thickness)}]),
    }
    return image_elements(pixels, sop_class) | {
        0x00280008: ("IS", str(len(pixels))), 0x52009229: ("SQ", [shared]), 0x52009230: ("SQ", frames),
    }  # fmt: skip


def segmentation_elements(
    planes: np.ndarray, groups: list[Elements], segments: list[Elements], kind: str = "BINARY", **more
) -> Elements:  # fmt: skip
    """A DICOM SEG of ``planes`` [frame, H, W], each described by its ``groups`` and ``segments`` by the Segment Sequence;
    ``more`` as for :func:`enhanced_elements`."""
    stored = planes.astype(np.uint8)
    elements = enhanced_elements(stored, groups, LABEL_MAP if kind == "LABELMAP" else SEG, **more)
    elements |= {0x00080060: ("CS", "SEG"), 0x00620001: ("CS", kind), 0x00620002: ("SQ", segments)}
    if kind == "BINARY":  # single bits, without gaps between frames
        elements |= {0x00280100: ("US", 1), 0x00280101: ("US", 1), 0x00280102: ("US", 0)}
        elements[0x7FE00010] = ("OB", np.packbits(stored.ravel(), bitorder="little").tobytes())
    return elements


def plane_groups(position, segment: int = 0) -> Elements:
    """The functional groups of a plane of a DICOM SEG; ``segment``: its number, 0 in label maps."""
    identification = {0x0062000A: ("SQ", [{0x0062000B: ("US", segment)}])} if segment else {}
    return functional_groups(position, identification)


def described_segment(number: int, name: str) -> Elements:
    """An item of the Segment Sequence: a red liver."""

    def code(value: str, meaning: str) -> list[Elements]:
        return [{0x00080100: ("SH", value), 0x00080102: ("SH", "SCT"), 0x00080104: ("LO", meaning)}]

    return {
        0x00620003: ("SQ", code("123037004", "Anatomical Structure")), 0x00620004: ("US", number),
        0x00620005: ("LO", name), 0x0062000D: ("US", [34885, 53485, 50171]), 0x0062000F: ("SQ", code("10200004", "Liver")),
    }  # fmt: skip
