"""Images and segmentations made to harm, byte by byte: headers that claim too much, voxels that unpack without end or lie in
pipes and devices, endless lists of segments. Each function writes one file at ``path`` with the random generator ``rng``."""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

_TYPES = ("uint8", "int16", "float", "double")
_META_TYPES = ("MET_UCHAR", "MET_SHORT", "MET_FLOAT", "MET_DOUBLE")
_HUGE = (
    0,
    1,
    2,
    255,
    256,
    32767,
    65535,
    65536,
    10**6,
    2**31 - 1,
    2**31,
    2**32 - 1,
    10**12,
    2**63 - 1,
    2**63,
    10**30,
    -1,
)
_ODD = (float("nan"), float("inf"), -1.0, 0.0, 1e308, -1e308, 1e-320, 5.0)


def nifti(path: Path, rng) -> None:
    header = bytearray(352)
    sizes = [int(rng.choice([1, 2, 8, 255, 1000, 32767, -1, 0])) for _ in range(7)]
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, int(rng.choice([0, 1, 2, 3, 3, 4, 5, 7, 8, -1])), *sizes)
    struct.pack_into("<2h", header, 70, int(rng.choice([2, 4, 8, 16, 64, 128, 256, 512, 1024, 32, 999])), 8)
    struct.pack_into("<8f", header, 76, *(float(v) for v in rng.choice(_ODD, 8).clip(-3e38, 3e38)))
    struct.pack_into(
        "<3f",
        header,
        108,
        float(rng.choice([0, 352, 1e9, 3e38, 352])),
        *(float(v) for v in rng.choice([0, 1, 3e38, -1], 2)),
    )
    header[123] = int(rng.choice([0, 1, 2, 3, 255]))
    struct.pack_into("<2h", header, 252, *(int(v) for v in rng.choice([0, 1, 2, -1], 2)))
    struct.pack_into("<6f", header, 256, *(float(v) for v in rng.choice(_ODD, 6).clip(-3e38, 3e38)))
    struct.pack_into("<12f", header, 280, *(float(v) for v in rng.choice(_ODD, 12).clip(-3e38, 3e38)))
    header[344:348] = bytes(rng.choice([b"n+1", b"ni1"])) + b"\0"
    data = bytes(header) + bytes(int(rng.choice([0, 64, 4096])))
    if path.suffix == ".gz":
        packer = zlib.compressobj(1, zlib.DEFLATED, 31)
        data = packer.compress(data) + packer.flush(zlib.Z_FULL_FLUSH)
        zeros = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
        data += zeros * int(rng.choice([0, 1, 300]))
    path.write_bytes(data)


def _elsewhere(path: Path, rng) -> str:
    """The name of a file of voxels that is none."""
    if not (path.parent / "pipe").exists():
        os.mkfifo(path.parent / "pipe")
    (path.parent / "few").write_bytes(bytes(64))
    names = (
        "pipe",
        "/dev/zero",
        "/dev/stdin",
        "few",
        "none",
        "LIST\npipe\npipe",
        "LIST\n/dev/zero",
        "pipe%d 1 9 1",
        ".",
        "/proc/self/mem",
    )
    return str(rng.choice(names))


def nrrd(path: Path, rng) -> None:
    count = int(rng.choice([1, 2, 3, 3, 3, 4, 16, 17]))
    sizes = [
        int(rng.choice(np.array(_HUGE, object))) if rng.random() < 0.5 else int(rng.integers(1, 3000))
        for _ in range(count)
    ]
    lines = [
        f"NRRD000{rng.integers(1, 6)}", f"type: {rng.choice(_TYPES)}", f"dimension: {count}", f"sizes: {' '.join(map(str, sizes))}",
        f"encoding: {rng.choice(['raw', 'gzip', 'ascii', 'hex', 'bzip2'])}", "endian: little",
    ]  # fmt: skip
    if rng.random() < 0.5:
        lines.append(f"spacings: {' '.join(str(v) for v in rng.choice(_ODD, count))}")
    if rng.random() < 0.3:
        lines.append(f"{rng.choice(['line skip', 'byte skip'])}: {int(rng.choice([-1, 10**9, 2**62]))}")
    if path.suffix == ".nhdr" or rng.random() < 0.1:
        lines.insert(
            int(rng.integers(1, len(lines) + 1)) if rng.random() < 0.8 else len(lines),
            f"data file: {_elsewhere(path, rng)}",
        )
    if rng.random() < 0.1:
        lines += [f"key{n}:=value" for n in range(int(rng.choice([10, 40_000])))]
    path.write_bytes(("\n".join(lines) + "\n\n").encode() + gzip.compress(bytes(int(rng.choice([0, 64, 1 << 24])))))


def seg_nrrd(path: Path, rng) -> None:
    last = [int(rng.choice(np.array([3, 300, 10**5, 10**9, 10**18, -5], object))) for _ in range(3)]
    numbers = " ".join(["1;0;0;0;0;1;0;0;0;0;1;0;0;0;0;1"]) if rng.random() < 0.8 else ";".join(["nan"] * 16)
    count = int(rng.choice([1, 3, 300, 60_000]))
    name = str(rng.choice(["a", "x" * 10**6, "<script>", "../../x", "\\n", "|:|", "\u202e"]))
    value = str(rng.choice(["1", "0", "-1", "65536", "9" * 30, "nan", ""]))
    keys = [
        f"Segmentation_ConversionParameters:=Reference image geometry|{numbers};{';'.join(f'0;{n}' for n in last)};|&"
    ]
    for n in range(count):
        keys += [
            f"Segment{n}_ID:=S{n}",
            f"Segment{n}_Name:={name if n == 0 else n}",
            f"Segment{n}_Layer:={rng.choice(['0', '1', '-1', '9'])}",
        ]
        keys += [
            f"Segment{n}_LabelValue:={value if n == 0 else n % 250 + 1}",
            f"Segment{n}_Color:={rng.choice(['1 0 0', '', 'x', '2 2 2'])}",
        ]
    path.write_bytes(
        b"NRRD0004\ntype: uint8\ndimension: 3\nspace: left-posterior-superior\nsizes: 4 4 4\nspace directions: (1,0,0) (0,1,0) (0,0,1)\n"
        b"kinds: domain domain domain\nencoding: gzip\nspace origin: (0,0,0)\n" + "\n".join(keys).encode() + b"\n\n"
        + gzip.compress(bytes([*range(4)] * 16))
    )  # fmt: skip


def meta(path: Path, rng) -> None:
    count = rng.choice(["1", "2", "3", "3", "3", "4", "11", "999999999", "-1", "x"])
    sizes = [
        int(rng.choice(np.array(_HUGE, object))) if rng.random() < 0.5 else int(rng.integers(1, 3000)) for _ in range(3)
    ]
    data = "LOCAL" if path.suffix == ".mha" and rng.random() < 0.8 else _elsewhere(path, rng)
    packed = rng.random() < 0.5
    lines = ["ObjectType = Image", f"NDims = {count}", "BinaryData = True", f"CompressedData = {packed}"]
    lines += [f"CompressedDataSize = {rng.choice(np.array(_HUGE, object))}"] if packed else []
    lines += [
        f"DimSize = {' '.join(map(str, sizes))}",
        f"ElementSpacing = {' '.join(str(v) for v in rng.choice(_ODD, 3))}",
    ]
    lines += [f"ElementNumberOfChannels = {rng.choice(np.array(_HUGE, object))}"] if rng.random() < 0.2 else []
    lines += [f"ElementType = {rng.choice(_META_TYPES)}", f"ElementDataFile = {data}"]
    path.write_bytes(("\n".join(lines) + "\n").encode() + zlib.compress(bytes(int(rng.choice([0, 64, 1 << 24])))))


def png(path: Path, rng) -> None:
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    width, height = (int(rng.choice([1, 8, 300, 20_000, 10**6, 2**31 - 1])) for _ in range(2))
    head = struct.pack(
        ">IIBBBBB",
        width,
        height,
        int(rng.choice([1, 8, 16, 7])),
        int(rng.choice([0, 2, 3, 4, 6, 9])),
        0,
        0,
        int(rng.integers(0, 3)),
    )
    pixels = zlib.compress(bytes(int(rng.choice([0, 100, 1 << 25]))), 9)
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 25), 9)) if rng.random() < 0.3 else b""
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + text + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))


def tiff(path: Path, rng) -> None:
    width, height = (int(rng.choice([1, 8, 300, 20_000, 10**6, 2**32 - 1])) for _ in range(2))
    strip = zlib.compress(bytes(int(rng.choice([0, 100, 1 << 25]))), 9)
    entries = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, int(rng.choice([1, 8, 16, 64]))), (259, 3, 1, int(rng.choice([1, 5, 8, 32773]))),
        (262, 3, 1, int(rng.integers(0, 4))), (273, 4, int(rng.choice([1, 2**31])), 200), (277, 3, 1, int(rng.choice([1, 3, 65535]))),
        (278, 4, 1, int(rng.choice([1, 10**6, 2**32 - 1]))), (279, 4, 1, int(rng.choice([len(strip), 0, 2**32 - 1]))),
    ]  # fmt: skip
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    data = b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<I", int(rng.choice([0, 8, 2**31])))
    path.write_bytes(data.ljust(200, b"\0") + strip)


def bmp(path: Path, rng) -> None:
    width, height = (int(rng.choice([1, 8, 20_000, 2**31 - 1, -(2**31), -8, 0])) for _ in range(2))
    bits, packing = int(rng.choice([1, 4, 8, 24, 32, 99])), int(rng.choice([0, 1, 2, 3]))
    head = struct.pack(
        "<IiiHHIIiiII", 40, width, height, 1, bits, packing, 0, 0, 0, int(rng.choice([0, 256, 2**31])), 0
    )
    path.write_bytes(
        b"BM"
        + struct.pack("<IHHI", 54, 0, 0, int(rng.choice([54, 0, 2**31])))
        + head
        + bytes(int(rng.choice([0, 64, 5000])))
    )


def dicom_file(content: bytes) -> Callable:
    """What makes altered copies of the DICOM file ``content``."""

    def make(path: Path, rng) -> None:
        data = bytearray(content)
        for tag in (b"\x28\x00\x10\x00", b"\x28\x00\x11\x00", b"\x28\x00\x02\x00", b"\x28\x00\x00\x01"):
            at = data.find(tag)  # rows, columns, samples, bits
            if at > 0 and rng.random() < 0.6:
                data[at + 8 : at + 10] = struct.pack("<H", int(rng.choice([0, 1, 8, 65535])))
        if rng.random() < 0.5:
            at = data.find(b"\xe0\x7f\x10\x00")
            data[at + 8 : at + 12] = struct.pack("<I", int(rng.choice([0, 2**31, 2**32 - 1])))
        path.write_bytes(bytes(data))

    return make
