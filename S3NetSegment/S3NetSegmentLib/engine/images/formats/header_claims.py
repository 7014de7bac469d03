"""What the header of a file claims, checked before memory is taken or another file is opened for it: headers can be damaged,
or made to harm."""

from __future__ import annotations

import math
import os
import re
import struct
from collections.abc import Sequence
from pathlib import Path

from ...common.device import available_memory_mb
from ...common.errors import InputError, ResourceError
from ..files import refuse_devices, suffix_of

_LONGEST = 8 << 20  # bytes of a header in text
_MOST_DIMENSIONS = 10
MOST_KEYS = (
    20_000  # key/value pairs of a NRRD header, about nine for a segment; reading takes the square of their number
)
_MOST_PAGES = 65_535  # of a TIFF file
_META = (".mha", ".mhd")
_FIELD = re.compile(rb"^[ \t]*(data ?file|ElementDataFile|NDims)[ \t]*[:=](?!=)[ \t]*(.*?)[ \t\r]*$", re.I | re.M)
# Deflate packs at most 1,032 to one, LZW about 2,500; what stands in a few lines may always be as large as a slice.
_DENSEST, _ALWAYS = 3000, 64 << 20


def check_header(path: Path) -> None:
    """Raises InputError if the NRRD or MetaImage header in ``path`` says that the voxels come from a pipe or a device, which
    would be waited for without end, or has more dimensions or entries than any image; or if the pages of a TIFF file follow
    each other in a circle or lie behind its end. Other files pass."""
    _check_pages(path)
    header = text_header(path)
    if header.count(b":=") > MOST_KEYS:
        raise InputError(
            f"{str(path)!r} describes {header.count(b':='):,} things in its header, more than the {MOST_KEYS:,} that can be read; "
            "save fewer segments in one file"
        )
    for name, value in _FIELD.findall(header):
        if name.lower() == b"ndims":
            if not value.isdigit() or len(value) > 4 or not 1 <= int(value) <= _MOST_DIMENSIONS:
                raise InputError(f"{str(path)!r} has {_shown(value)} dimensions in its header; copy or export it again")
            continue
        if value == b"LOCAL":
            continue
        words = value.split()
        listed = header.partition(value)[2].splitlines() if words[:1] == [b"LIST"] else [value]
        for file in (path.parent / os.fsdecode(entry.strip()) for entry in listed if entry.strip()):
            try:
                if b"%" in value:  # a pattern of names
                    for each in os.scandir(file.parent):
                        refuse_devices(each.path)
                else:
                    refuse_devices(file)
            except InputError as error:
                raise InputError(f"{str(path)!r} names its voxels: {error}") from None
            except (OSError, ValueError):
                continue  # not there: the reader says it


def check_size(path: Path, size: Sequence[int], voxel_bytes: int) -> None:
    """Raises InputError if the header of ``path`` claims more voxels than the file can hold at all, and ResourceError if this
    machine has no room for them.

    :param size: voxels along each axis.
    :param voxel_bytes: of one voxel with all its components.
    """
    claimed = math.prod(size) * voxel_bytes
    if claimed > _ALWAYS and claimed > _DENSEST * _bytes_behind(path):
        raise InputError(
            f"{str(path)!r} is cut off or damaged: its header tells of {' x '.join(map(str, size))} voxels, which its "
            f"{os.path.getsize(path):,} bytes cannot hold; copy or export it again"
        )
    check_room(2 * claimed, path)  # the reader's voxels and a copy of them


def check_room(size: int, path: Path) -> None:
    """Raises ResourceError if reading ``path`` needs more memory, ``size`` bytes, than this machine has to give."""
    available = available_memory_mb()
    if available is not None and size >> 20 > available:
        raise ResourceError(
            f"{str(path)!r} does not fit into memory: it needs {size >> 20:,} MB, and {available:,} MB are free; close other "
            "programs, or save a part of the image or one frame"
        )


def _check_pages(path: Path) -> None:
    """Each page of a TIFF file names the place of the next; the library follows them to the end, which a circle has not."""
    with open(path, "rb") as file:
        head = file.read(16)
        order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
        kind = struct.unpack_from(order + "H", head, 2)[0] if order and len(head) == 16 else 0
        if kind not in (42, 43):
            return
        at = struct.unpack_from(order + ("I" if kind == 42 else "4xQ"), head, 4)[0]
        seen: set[int] = set()
        count_form, place_form, entry = (order + "H", order + "I", 12) if kind == 42 else (order + "Q", order + "Q", 20)
        while at:
            if at in seen or len(seen) > _MOST_PAGES:
                raise InputError(f"{str(path)!r} is damaged: its pages have no end; save it again")
            seen.add(at)
            try:
                file.seek(at)
                count = struct.unpack(count_form, file.read(struct.calcsize(count_form)))[0]
                file.seek(at + struct.calcsize(count_form) + count * entry)
                at = struct.unpack(place_form, file.read(struct.calcsize(place_form)))[0]
            except (struct.error, OSError, OverflowError, ValueError):
                raise InputError(
                    f"{str(path)!r} is cut off or damaged: pages are missing; copy or export it again"
                ) from None


def _bytes_behind(path: Path) -> int:
    """The size of ``path``; of all files of its folder where it is a header whose voxels lie beside it."""
    if suffix_of(path) in (".mhd", ".nhdr", ".hdr", ".img") or b"data file" in text_header(path).lower():
        return sum(entry.stat().st_size for entry in os.scandir(path.parent) if entry.is_file())
    return os.path.getsize(path)


def text_header(path: Path) -> bytes:
    """The header of an NRRD or MetaImage file, with the list of files that it ends with; b"" for other files."""
    with open(path, "rb") as file:
        is_nrrd = file.read(4) == b"NRRD"
        if not is_nrrd and suffix_of(path) not in _META:
            return b""
        file.seek(0)
        text = file.read(_LONGEST)
    if is_nrrd:
        end = re.search(rb"\r?\n\r?\n", text)
        named = re.search(rb"^[ \t]*data ?file[ \t]*:[ \t]*LIST", text, re.I | re.M)
        return text[: end.start()] if end and not (named and named.start() < end.start()) else text
    local = re.search(rb"^[ \t]*ElementDataFile[ \t]*=[ \t]*LOCAL.*$", text, re.I | re.M)
    return text[: local.end()] if local else text


def _shown(value: bytes) -> str:
    return value[:20].decode("ascii", "replace")
