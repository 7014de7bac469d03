"""What a compressed picture says of its own colours: JPEG by its markers, JPEG 2000 by its header."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from .elements import DicomFile

JPEG_LOSSY = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
JPEG = (*JPEG_LOSSY, "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
JPEG_LS = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
JPEG_2000 = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
_HEAD = 1 << 16  # bytes of the picture that hold its header; colour profiles may stand before it, but not in DICOM
_ITEM = b"\xfe\xff\x00\xe0"


def first_picture(elements: DicomFile) -> bytes:
    """The beginning of the first picture in the pixel data of ``elements``; b"" if that does not come in fragments."""
    return next(_fragments(elements, _HEAD), b"")


def has_segments(elements: DicomFile, count: int) -> bool:
    """Whether each picture of a run-length encoded file has ``count`` segments: one for each byte of a pixel (PS3.5 G)."""
    heads = list(_fragments(elements, 4))
    return bool(heads) and all(head == struct.pack("<I", count) for head in heads)


def _fragments(elements: DicomFile, most: int) -> Iterator[bytes]:
    """The first ``most`` bytes of each fragment of the pixel data after the table of offsets."""
    if elements.pixels is None or elements.pixels[1] != -1:
        return
    with open(elements.path, "rb") as file:
        file.seek(elements.pixels[0])
        number = 0
        while len(head := file.read(8)) == 8 and head[:4] == _ITEM:
            length, start = struct.unpack("<I", head[4:])[0], file.tell()
            if number:
                yield file.read(min(length, most))
            file.seek(start + length)
            number += 1


def jpeg_colors(picture: bytes) -> str:
    """ "RGB" or "YBR" (luminance and two differences of colour) as the markers of a JPEG picture say; "" if they do not.

    Adobe's marker names the transformation, a JFIF file has YCbCr only, and components may be called R, G and B.
    """
    at, jfif = 2, False
    while at + 4 <= len(picture) and picture[at] == 0xFF:
        kind, length = picture[at + 1], struct.unpack_from(">H", picture, at + 2)[0]
        content = picture[at + 4 : at + 2 + length]
        if kind == 0xEE and content.startswith(b"Adobe") and len(content) >= 12:
            return "YBR" if content[11] == 1 else "RGB"
        jfif = jfif or (kind == 0xE0 and content.startswith(b"JFIF"))
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            names = content[6::3][: content[5] if len(content) > 5 else 0]
            return "YBR" if jfif else "RGB" if names == b"RGB" else ""
        if kind == 0xDA:
            break
        at += 2 + length
    return ""


def is_transformed(picture: bytes) -> bool | None:
    """Whether the colours of a JPEG 2000 picture were transformed (RCT or ICT), so that decoding gives RGB; None if it is no such
    picture."""
    at = picture.find(b"\xff\x4f\xff\x51") + 2
    if at < 2:
        return None
    while at + 4 <= len(picture) and picture[at] == 0xFF and picture[at + 1] not in (0x90, 0xD9):
        if picture[at + 1] == 0x52 and at + 9 <= len(picture):
            return picture[at + 8] == 1
        at += 2 + struct.unpack_from(">H", picture, at + 2)[0]
    return None
