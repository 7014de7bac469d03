"""What Siemens and United Imaging (UIH) write into private elements that is needed to place slices and to tell them apart."""

from __future__ import annotations

import struct

from .elements import Elements

_MOST_CSA_TAGS = 1000
_CSA_START = b"SV10"


def private_tag(elements: Elements, group: int, creator: str, number: int) -> int:
    """The tag of the private element ``number`` of ``creator``, whatever block of ``group`` that reserved; 0 without one."""
    blocks = (tag & 0xFF for tag in elements.creators if tag >> 16 == group and elements.text(tag).startswith(creator))
    return next((group << 16 | block << 8 | number for block in blocks), 0)


def siemens_csa(elements: Elements, *names: str) -> dict[str, list[float]]:
    """The numbers that the CSA image header has under ``names``; those that are not there are left out.

    The header is a list of named texts (128 bytes about each, then its items), which Siemens published as part of its
    conformance statements; see also nibabel's documentation of it.
    """
    data = elements.raw(private_tag(elements, 0x0029, "SIEMENS CSA HEADER", 0x10))
    found: dict[str, list[float]] = {}
    if not data.startswith(_CSA_START) or len(data) < 16:
        return found
    at = 16
    for _ in range(min(struct.unpack_from("<I", data, 8)[0], _MOST_CSA_TAGS)):
        if at + 84 > len(data):
            break
        name = data[at : at + 64].split(b"\0")[0].decode("latin-1")
        count = struct.unpack_from("<i", data, at + 76)[0]
        at += 84
        values = []
        for _ in range(min(max(count, 0), _MOST_CSA_TAGS)):
            if at + 16 > len(data):
                break
            length = struct.unpack_from("<i", data, at + 4)[0]
            at += 16
            if length < 0 or at + length > len(data):
                return found
            values.append(data[at : at + length].split(b"\0")[0])
            at += -(-length // 4) * 4
        if name in names:
            numbers = [n for n in map(_number, values) if n is not None]
            if numbers:
                found[name] = numbers
    return found


def _number(text: bytes) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
