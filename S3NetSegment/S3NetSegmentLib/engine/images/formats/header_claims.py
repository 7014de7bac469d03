"""What the header of a file claims, checked before memory is taken for it: headers can be damaged, or made to harm."""

from __future__ import annotations

import gzip
import io
import math
import os
import re
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

from ...common.device import available_memory_mb
from ...common.errors import InputError, ResourceError
from ..files import damaged, stem_of
from .text_header import TextHeader

_MOST_PAGES = 65_535  # of a TIFF file
_BEFORE_VTK = re.compile(rb"^(LOOKUP_TABLE|VECTORS|SCALARS).*\n", re.M)
# Bytes before the voxels, by ITK's name of the format.
_PLAIN_HEADS = {"NiftiImageIO": 0, "GiplImageIO": 256, "MRCImageIO": 1024, "VTKImageIO": 0}
# Deflate packs at most 1,032 to one, LZW about 2,500; what stands in a few lines may always be as large as a slice.
_DENSEST, _ALWAYS = 3000, 64 << 20


def check_size(path: Path, size: Sequence[int], voxel_bytes: int) -> None:
    """Raises InputError if the header of ``path`` claims more voxels than the file can hold at all, and ResourceError if this
    machine has no room for them.

    :param size: voxels along each axis.
    :param voxel_bytes: of one voxel with all its components.
    """
    claimed = math.prod(size) * voxel_bytes
    if claimed > _ALWAYS and claimed > _DENSEST * TextHeader(path).bytes_behind():
        held = f"{os.path.getsize(path):,} bytes"
        raise damaged(path, f"its header claims {' x '.join(map(str, size))} voxels, which its {held} cannot hold")
    check_room(2 * claimed, path)  # the reader's voxels and a copy of them


def check_room(size: int, path: Path) -> None:
    """Raises ResourceError if reading ``path`` needs more memory, ``size`` bytes, than this machine has to give."""
    available = available_memory_mb()
    if available is not None and size >> 20 > available:
        raise ResourceError(
            f"{str(path)!r} does not fit into memory: it needs {size >> 20:,} MB, and {available:,} MB are free; close other "
            "programs, or save a part of the image or one frame"
        )


def check_held(path: Path, image_io: str, claimed: int) -> None:
    """Raises InputError if a VTK, GIPL, MRC or ANALYZE file holds fewer bytes of voxels than its header has ``claimed``: ITK fills up
    what is missing and says nothing. Files of other formats pass."""
    if image_io not in _PLAIN_HEADS:
        return
    beside = [path.with_name(stem_of(path) + end) for end in (".img", ".img.gz")] if image_io == "NiftiImageIO" else []
    data = next((file for file in beside if file.exists()), path)
    head = _PLAIN_HEADS[image_io]
    with open(data, "rb") as raw:
        file: io.BufferedIOBase = gzip.GzipFile(fileobj=raw) if raw.peek(2)[:2] == b"\x1f\x8b" else raw
        try:
            start = file.read(1024)
            if image_io == "VTKImageIO":
                if re.search(rb"^ASCII", start, re.M):
                    raise InputError(
                        f"{str(path)!r} is a VTK file in text, of which missing voxels are not noticed; save it as NRRD"
                    )
                head = max([0, *(line.end() for line in _BEFORE_VTK.finditer(start))])
            held = len(start)
            while held < head + claimed and (part := file.read(1 << 20)):
                held += len(part)
        except (EOFError, OSError, zlib.error):
            held = 0
    if held < head + claimed:
        raise damaged(path)


def check_pages(path: Path) -> None:
    """Raises InputError if the pages of a TIFF file, each of which names the place of the next, follow each other in a circle or lie
    behind its end: libraries follow them to the end. Files of other formats pass."""
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
                raise damaged(path, "pages are missing") from None
