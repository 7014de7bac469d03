"""The data elements of a DICOM data set as values: texts, numbers and items, asked for by tag (PS3.5)."""

from __future__ import annotations

import struct
from pathlib import Path

# Value representations of numbers in bytes, as struct has them.
_BINARY = {b"US": "H", b"SS": "h", b"UL": "I", b"SL": "i", b"FL": "f", b"FD": "d", b"SV": "q", b"UV": "Q", b"AT": "HH"}
# Value representations of what is asked for here, for files that do not state them.
KNOWN = {
    tag: kind
    for kind, tags in {
        b"US": (0x00280002, 0x00280006, 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280102, 0x00280103, 0x00186024,
                0x00620004, 0x0062000B, 0x0062000D, 0x0019100A, 0x00540010, 0x00540020, 0x00540030, 0x00540050, 0x00540060,
                0x00540070, 0x00540080, 0x00540090, 0x00540100),
        b"UL": (0x00209128, 0x00209156, 0x00209157),
        b"FD": (0x00189079, 0x00189082, 0x00189087, 0x00189089, 0x00209153, 0x00651009, 0x0018602C, 0x0018602E),
        b"FL": (0x20011003,),
        b"AT": (0x00280009,),
        b"SQ": (0x52009229, 0x52009230, 0x00209111, 0x00209113, 0x00209116, 0x00289110, 0x00289145, 0x00189076, 0x00189114,
                0x00189115, 0x00189117, 0x00189118, 0x00189226, 0x00189329, 0x00186011, 0x00620002, 0x00620003, 0x0062000A,
                0x0062000F, 0x00620011, 0x00082218, 0x00082220, 0x00651051),
    }.items()
    for tag in tags
}  # fmt: skip
_SWITCHES = (b"\x1b$)C", b"\x1b$)A")  # of Korean and Chinese texts; what they switch to is the character set anyway


class Elements:
    """A data set or an item of a sequence. Values are asked for by tag, e.g. 0x00080060."""

    def __init__(self, little: bool = True):
        self._values: dict[int, tuple[bytes, bytes | list[Elements] | None]] = {}
        self._order = "<" if little else ">"
        self.character_set = "latin-1"

    def __contains__(self, tag: int) -> bool:
        return tag in self._values

    def put(self, tag: int, kind: bytes, value: bytes | list[Elements] | None) -> None:
        """Adds an element; ``kind`` is its value representation."""
        self._values[tag] = (kind, value)

    def raw(self, tag: int) -> bytes:
        """The bytes of the value, b"" if there are none or they were too many to keep."""
        value = self._values.get(tag, (b"", b""))[1]
        return value if isinstance(value, bytes) else b""

    def texts(self, tag: int) -> list[str]:
        """The values of a text element, decoded, without padding and control characters; [] without it."""
        text = self.raw(tag)
        for switch in _SWITCHES:
            text = text.replace(switch, b"")
        try:
            decoded = text.decode(self.character_set, "replace")
        except LookupError:
            decoded = text.decode("latin-1")
        shown = ("".join(c for c in part if c.isprintable()).strip() for part in decoded.rstrip(" \0").split("\\"))
        return [s.replace("\ufffd", "") for s in shown] if text else []

    def text(self, tag: int) -> str:
        """The first value of a text element, "" without it."""
        return next(iter(self.texts(tag)), "")

    def numbers(self, tag: int) -> list[float]:
        """The values of a number element (text or binary) that are finite numbers; [] without it."""
        kind, value = self._values.get(tag, (b"", b""))
        if not isinstance(value, bytes) or not value:
            return []
        form = _BINARY.get(kind if kind in _BINARY else KNOWN.get(tag, kind) if kind == b"UN" else kind)
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

    def number(self, tag: int) -> float | None:
        """The first number, None without one."""
        return next(iter(self.numbers(tag)), None)

    def items(self, tag: int) -> list[Elements]:
        """The items of a sequence, [] without it."""
        value = self._values.get(tag, (b"", None))[1]
        return value if isinstance(value, list) else []

    def item(self, tag: int) -> Elements:
        """The first item of a sequence; an empty one without it."""
        return next(iter(self.items(tag)), _NOTHING)


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
        return self.text(0x00080016)
