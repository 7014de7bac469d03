"""The data elements of a DICOM data set as values: texts, numbers and items, asked for by pydicom's keywords (PS3.5, PS3.6)."""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path

# Value representations of numbers in bytes, as struct has them.
_BINARY = {b"US": "H", b"SS": "h", b"UL": "I", b"SL": "i", b"FL": "f", b"FD": "d", b"SV": "q", b"UV": "Q", b"AT": "HH"}
# Of the private elements that are asked for, by group and the end of their number: Philips' b-value, the number of images in a
# mosaic of Siemens, and b-value and frames of United Imaging.
_PRIVATE = {(0x2001, 0x03): b"FL", (0x0019, 0x0A): b"US", (0x0065, 0x09): b"FD", (0x0065, 0x51): b"SQ"}
_SWITCHES = (b"\x1b$)C", b"\x1b$)A")  # of Korean and Chinese texts; what they switch to is the character set anyway


@cache
def known_kind(tag: int) -> bytes:
    """The value representation of an element of a file that does not state it; "UN" for most private ones."""
    from pydicom.datadict import dictionary_VR

    if tag >> 16 & 1:
        return _PRIVATE.get((tag >> 16, tag & 0xFF), b"UN")
    try:
        return dictionary_VR(tag)[:2].encode()  # of "US or SS" the first
    except KeyError:
        return b"UN"


@cache
def _tag(name: str | int) -> int:
    if isinstance(name, int):
        return name
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(name)
    if tag is None:
        raise KeyError(f"DICOM has no element {name!r}")
    return tag


class Elements:
    """A data set or an item of a sequence. Elements are asked for by keyword, e.g. "Modality"; private ones by tag."""

    def __init__(self, little: bool = True):
        self._values: dict[int, tuple[bytes, bytes | list[Elements] | None]] = {}
        self._order = "<" if little else ">"
        self._creators: list[int] | None = None
        self.character_set = "latin-1"

    def __contains__(self, name: str | int) -> bool:
        return _tag(name) in self._values

    def put(self, tag: int, kind: bytes, value: bytes | list[Elements] | None) -> None:
        """Adds an element; ``kind`` is its value representation."""
        self._values[tag] = (kind, value)

    @property
    def creators(self) -> list[int]:
        """The tags of the elements that reserve a block of private ones."""
        if self._creators is None:
            self._creators = [tag for tag in self._values if tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF]
        return self._creators

    def raw(self, name: str | int) -> bytes:
        """The bytes of the value, b"" if there are none or they were too many to keep."""
        value = self._values.get(_tag(name), (b"", b""))[1]
        return value if isinstance(value, bytes) else b""

    def texts(self, name: str | int) -> list[str]:
        """The values of a text element, decoded, without padding and control characters; [] without it."""
        text = self.raw(name)
        for switch in _SWITCHES:
            text = text.replace(switch, b"")
        try:
            decoded = text.decode(self.character_set, "replace")
        except LookupError:
            decoded = text.decode("latin-1")
        shown = ("".join(c for c in part if c.isprintable()).strip() for part in decoded.rstrip(" \0").split("\\"))
        return [s.replace("\ufffd", "") for s in shown] if text else []

    def text(self, name: str | int) -> str:
        """The first value of a text element, "" without it."""
        return next(iter(self.texts(name)), "")

    def numbers(self, name: str | int) -> list[float]:
        """The values of a number element (text or binary) that are finite numbers; [] without it."""
        kind, value = self._values.get(_tag(name), (b"", b""))
        if not isinstance(value, bytes) or not value:
            return []
        form = _BINARY.get(kind if kind in _BINARY else known_kind(_tag(name)) if kind == b"UN" else kind)
        if form:
            size = struct.calcsize(self._order + form)
            values = struct.unpack(self._order + form * (len(value) // size), value[: len(value) // size * size])
            return [v for v in values if v == v and abs(v) != float("inf")]
        found = []
        for part in value.decode("latin-1").replace("\0", " ").split("\\"):
            try:
                number = float(part)
            except ValueError:
                continue
            if number == number and abs(number) != float("inf"):
                found.append(number)
        return found

    def number(self, name: str | int) -> float | None:
        """The first number, None without one."""
        return next(iter(self.numbers(name)), None)

    def items(self, name: str | int) -> list[Elements]:
        """The items of a sequence, [] without it."""
        value = self._values.get(_tag(name), (b"", None))[1]
        return value if isinstance(value, list) else []

    def item(self, name: str | int) -> Elements:
        """The first item of a sequence; an empty one without it."""
        return next(iter(self.items(name)), _NOTHING)


_NOTHING = Elements()


class DicomFile(Elements):
    """A file without its pixels.

    ``syntax``: UID of its transfer syntax; ``pixels``: where its pixel data begin and how many bytes they have (-1 where
    they come in fragments), None without any. ``floats``: they are numbers with a fraction (Float Pixel Data).
    """

    def __init__(self, path: Path, little: bool, syntax: str):
        super().__init__(little)
        self.path, self.syntax = path, syntax
        self.pixels: tuple[int, int] | None = None
        self.floats = False

    @property
    def sop_class(self) -> str:
        return self.text("SOPClassUID")
