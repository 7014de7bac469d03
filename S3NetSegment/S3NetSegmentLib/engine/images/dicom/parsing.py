"""DICOM files read element by element: all but the pixels, in any of the uncompressed encodings (PS3.5, PS3.10).

Written for headers of thousands of files: it reads what it needs, keeps no large value, and never believes a length that
the file does not have. pydicom does: it takes what there is of a file that is cut off, inflates without limit, and needs three times
as long.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .elements import DicomFile, Elements, known_kind

PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_LARGEST_VALUE = 1 << 16  # bytes; longer ones are skipped
_MOST_ELEMENTS = 3_000_000
_DEEPEST = 16
_MOST_INFLATED = 1 << 29  # bytes
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_SHORT = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split()  # the others that there are
)
IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
_CHARACTER_SETS = {
    "ISO_IR 100": "latin-1", "ISO_IR 101": "iso8859-2", "ISO_IR 109": "iso8859-3", "ISO_IR 110": "iso8859-4",
    "ISO_IR 144": "iso8859-5", "ISO_IR 127": "iso8859-6", "ISO_IR 126": "iso8859-7", "ISO_IR 138": "iso8859-8",
    "ISO_IR 148": "iso8859-9", "ISO_IR 203": "iso8859-15", "ISO_IR 13": "shift_jis", "ISO_IR 166": "tis_620",
    "ISO_IR 192": "utf-8", "GB18030": "gb18030", "GBK": "gbk", "ISO 2022 IR 87": "iso2022_jp_2",
    "ISO 2022 IR 159": "iso2022_jp_2", "ISO 2022 IR 149": "euc_kr", "ISO 2022 IR 58": "gb2312",
}  # fmt: skip


class NotDicom(ValueError):
    """The file is no DICOM file."""


class DamagedDicom(ValueError):
    """The file is DICOM but ends too early or contradicts itself; the text says how."""


def looks_like_dicom(head: bytes) -> bool:
    """Whether a file with these first bytes (132 or more) may be DICOM; old files have no preamble."""
    return head[128:132] == b"DICM" or (head[:2] in (b"\2\0", b"\x08\0") and head[2:4] != b"\0\0" and len(head) > 8)


def read_elements(path: str | os.PathLike) -> DicomFile:
    """The elements of the file at ``path``.

    :raises NotDicom: it is none.
    :raises DamagedDicom: cut off, or lengths that cannot be. OSError passes.
    """
    path = Path(path)
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        start, syntax, explicit = _encoding(file)
        if syntax == DEFLATED:
            with _content(path, syntax) as inflated:
                return _parsed(path, inflated, 0, inflated.seek(0, io.SEEK_END), syntax, True)
        return _parsed(path, file, start, size, syntax, explicit)


def stored_bytes(elements: DicomFile) -> bytes:
    """The pixel data of an uncompressed file."""
    offset, length = elements.pixels or (0, 0)
    with _content(elements.path, elements.syntax) as file:
        file.seek(offset)
        return file.read(length)


def _encoding(file: BinaryIO) -> tuple[int, str, bool]:
    """Where the data set begins, its transfer syntax, and whether it states value representations."""
    head = file.read(132)
    if not looks_like_dicom(head):
        raise NotDicom("no DICOM file")
    start = 132 if head[128:] == b"DICM" else 0
    file.seek(start)
    syntax = ""
    while len(part := file.read(8)) == 8 and part[:2] == b"\2\0":
        length = struct.unpack("<H", part[6:])[0]
        if part[4:6] in _LONG:
            length = struct.unpack("<I", file.read(4).ljust(4, b"\0"))[0]
        if length > _LARGEST_VALUE:
            raise DamagedDicom("its meta information has impossible lengths")
        value = file.read(length)
        if part[2:4] == b"\x10\0":
            syntax = value.decode("latin-1").strip(" \0")
        start = file.tell()
    # What the file does rather than what it says: some writers leave the syntax out, or state another one.
    explicit = part[4:6] in _LONG or part[4:6] in _SHORT
    return start, syntax or (EXPLICIT if explicit else IMPLICIT), explicit


def _content(path: Path, syntax: str) -> BinaryIO:
    """The file to read elements from: the file itself, or its data set without compression."""
    file = open(path, "rb")
    if syntax != DEFLATED:
        return file
    with file:
        file.seek(_encoding(file)[0])
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            content = unpacker.decompress(file.read(), _MOST_INFLATED)
        except zlib.error as error:
            raise DamagedDicom(f"its compressed content is damaged ({error})") from None
    if unpacker.unconsumed_tail:
        raise DamagedDicom("its compressed content is larger than 512 MB")
    return io.BytesIO(content)


def _parsed(path: Path, file: BinaryIO, start: int, size: int, syntax: str, explicit: bool) -> DicomFile:
    found = DicomFile(path, syntax != BIG_ENDIAN, syntax)
    file.seek(start)
    reader = _Reader(file, size, syntax != BIG_ENDIAN)
    reader.fill(found, start, size, explicit, 0)
    names = found.raw("SpecificCharacterSet").decode("latin-1").strip(" \0").split("\\")
    chosen = [_CHARACTER_SETS[n.strip()] for n in names if n.strip() in _CHARACTER_SETS]
    _set_character_set(found, chosen[-1] if chosen else "latin-1")
    return found


def _set_character_set(elements: Elements, name: str) -> None:
    elements.character_set = name
    for _, value in elements._values.values():
        for item in value if isinstance(value, list) else ():
            _set_character_set(item, name)


class _Reader:
    """Reads elements from an open file, which ends at ``size``."""

    def __init__(self, file: BinaryIO, size: int, little: bool):
        self._file, self._size, self._little = file, size, little
        order = "<" if little else ">"
        self._tag, self._u2, self._u4 = (
            struct.Struct(order + "HH"),
            struct.Struct(order + "H"),
            struct.Struct(order + "I"),
        )
        self._count = 0

    def fill(self, into: Elements, at: int, end: int, explicit: bool, depth: int) -> int:
        """Reads the elements from ``at`` to ``end`` (or to the mark that ends an item); returns where it stopped."""
        for tag, kind, value_at, length in self._heads(at, end, explicit):
            if tag in (_ITEM_END, _SEQUENCE_END):
                return value_at
            if isinstance(into, DicomFile) and tag in PIXELS:
                if length != _UNDEFINED:
                    self._check(value_at + length)
                into.floats = tag != PIXELS[-1]
                into.pixels = (value_at, -1 if length == _UNDEFINED else length)
                return value_at
            if length == _UNDEFINED or kind == b"SQ":
                implicit = kind == b"UN"  # PS3.5 6.2.2: then its items are implicit little endian
                stop = self._size if length == _UNDEFINED else value_at + length
                self._check(stop)
                if kind in (b"OB", b"OW"):
                    after = self._skip_fragments(value_at)
                else:
                    items, after = self._items(value_at, stop, explicit and not implicit, depth + 1)
                    into.put(tag, b"SQ", items)
                self._at = after
                continue
            self._check(value_at + length)
            self._at = value_at + length
            if length > _LARGEST_VALUE:
                into.put(tag, kind, None)
                self._file.seek(self._at)
            else:
                into.put(tag, kind, self._file.read(length))
        if self._at < end:
            raise DamagedDicom("it is cut off in its header")
        return self._at

    def _heads(self, at: int, end: int, explicit: bool) -> Iterator[tuple[int, bytes, int, int]]:
        """(tag, value representation, where its value begins, length) of each element."""
        self._at = at
        self._file.seek(at)
        while self._at + 8 <= end:
            here = self._at
            self._count += 1
            if self._count > _MOST_ELEMENTS:
                raise DamagedDicom(f"it has more than {_MOST_ELEMENTS:,} elements")
            head = self._file.read(8)
            group, number = self._tag.unpack_from(head)
            tag = group << 16 | number
            after = here + 8
            if group == 0xFFFE or not explicit:
                kind, length = known_kind(tag), self._u4.unpack_from(head, 4)[0]
                if kind == b"UN" and length == _UNDEFINED:
                    kind = b"SQ"
            else:
                kind = head[4:6]
                if kind in _LONG:
                    length = self._u4.unpack(self._file.read(4).ljust(4, b"\0"))[0]
                    after += 4
                elif kind in _SHORT:
                    length = self._u2.unpack_from(head, 6)[0]
                else:
                    raise DamagedDicom(f"element ({group:04x},{number:04x}) has no valid kind")
            yield tag, kind, after, length
            if self._file.tell() != self._at:
                self._file.seek(self._at)

    def _items(self, at: int, end: int, explicit: bool, depth: int) -> tuple[list[Elements], int]:
        """The items of a sequence and where it ends."""
        if depth > _DEEPEST:
            raise DamagedDicom("its sequences are nested too deeply")
        items: list[Elements] = []
        while at + 8 <= end:
            self._file.seek(at)
            tag, length = self._mark()
            at += 8
            if tag == _SEQUENCE_END:
                return items, at
            if tag != _ITEM:
                raise DamagedDicom("a sequence holds something that is no item")
            stop = end if length == _UNDEFINED else at + length
            self._check(stop)
            item = Elements(self._little)
            after = self.fill(item, at, stop, explicit, depth)
            at = after if length == _UNDEFINED else stop
            items.append(item)
        return items, at

    def _skip_fragments(self, at: int) -> int:
        """Where pixel data in fragments (of an icon) end."""
        while True:
            self._file.seek(at)
            tag, length = self._mark()
            at += 8
            if tag == _SEQUENCE_END:
                return at
            self._check(at + length)
            at += length

    def _mark(self) -> tuple[int, int]:
        self._count += 1
        head = self._file.read(8)
        if len(head) < 8 or self._count > _MOST_ELEMENTS:
            raise DamagedDicom("it is cut off")
        group, number = self._tag.unpack_from(head)
        return group << 16 | number, self._u4.unpack_from(head, 4)[0]

    def _check(self, end: int) -> None:
        if end > self._size:
            raise DamagedDicom("it is cut off, or states lengths that it does not have")
