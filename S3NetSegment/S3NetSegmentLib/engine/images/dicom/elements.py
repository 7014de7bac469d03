"""DICOM files without their pixels, read by pydicom: elements as texts, numbers and items, asked for by their keywords.

pydicom takes what there is of a file that is cut off, inflates without limit, and warns of values that break rules. Here a file must
have all the bytes that its lengths claim, and a value that is none counts as not stated.
"""

from __future__ import annotations

import io
import math
import os
import warnings
import zlib
from collections.abc import Iterator, MutableSequence
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path
from typing import Any

IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
UNCOMPRESSED = (IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED)
_LARGEST_VALUE = 1 << 16  # bytes; longer ones are skipped
_LARGEST_READ = 1 << 26  # bytes of a value in a sequence
_MOST_ELEMENTS = 2_000_000  # an item counts as five
_MOST_INFLATED = 1 << 29  # bytes
_DEEPEST = 16
_UNDEFINED = 0xFFFFFFFF
_ITEM_MARKS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")  # little and big endian
_CUT_OFF = "it is cut off, or states lengths that it does not have"
_TOO_DEEP = "its sequences are nested too deeply"
_PLAIN = frozenset(("AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI"))  # texts in ASCII: their bytes say all
# Private elements by the names that they are asked for here: group, creator of their block, number in it.
_PRIVATE = {
    "SiemensImagesInMosaic": (0x0019, "SIEMENS MR HEADER", 0x0A), "SiemensBValue": (0x0019, "SIEMENS MR HEADER", 0x0C),
    "SiemensCSAImageHeader": (0x0029, "SIEMENS CSA HEADER", 0x10), "GEBValue": (0x0043, "GEMS_PARM_01", 0x39),
    "PhilipsBValue": (0x2001, "Philips Imaging DD 001", 0x03), "UIHBValue": (0x0065, "Image Private Header", 0x09),
    "UIHTiles": (0x0065, "Image Private Header", 0x50), "UIHTileSequence": (0x0065, "Image Private Header", 0x51),
}  # fmt: skip
_SWITCH = "\x1b$)A"  # to Chinese (ISO 2022 IR 58), which pydicom leaves in the text
_GROUPS = {group for group, _, _ in _PRIVATE.values()}
_UNKNOWN = {0x00651009: ("FD", "1", "B value", "")}  # of numbers in bytes the one that pydicom does not know


class DamagedDicom(ValueError):
    """The file is DICOM but ends too early or contradicts itself; the text says how."""


class NotDicom(DamagedDicom):
    """The file is not a DICOM file at all."""


def looks_like_dicom(head: bytes) -> bool:
    """Whether a file with these first bytes (132 or more) may be DICOM; old files have no preamble."""
    return head[128:132] == b"DICM" or (head[:2] in (b"\2\0", b"\x08\0") and head[2:4] != b"\0\0" and len(head) > 8)


class Elements:
    """A data set or an item of a sequence. Elements are asked for by keyword, e.g. "Modality"."""

    def __init__(self, data: Any):
        self._data = data
        self._items: dict[int, list[Elements]] = {}

    def __contains__(self, name: str) -> bool:
        return self._element(name) is not None

    def raw(self, name: str) -> bytes:
        """The value of an element of bytes, b"" if there is none or it was too long to keep."""
        value = self._value(name)
        return value if isinstance(value, bytes) else b""

    def texts(self, name: str) -> list[str]:
        """The values of a text element, without padding and control characters; [] without it."""
        values = (str(value).replace(_SWITCH, "") for value in _listed(self._value(name)))
        return ["".join(c for c in value if c.isprintable() and c != "\ufffd").strip() for value in values]

    def text(self, name: str) -> str:
        """The first value of a text element, "" without it."""
        return next(iter(self.texts(name)), "")

    def numbers(self, name: str) -> list[float]:
        """The values of a number element (text or binary) that are finite numbers; [] without it."""
        found = []
        for value in _listed(self._value(name)):
            try:
                number = float(value)
            except (TypeError, ValueError):
                continue
            if math.isfinite(number):
                found.append(number)
        return found

    def number(self, name: str) -> float | None:
        """The first number, None without one."""
        return next(iter(self.numbers(name)), None)

    def whole(self, name: str, default: int = 0) -> int:
        """The first number as a whole one, ``default`` without it and for 0."""
        return int(self.number(name) or default)

    def items(self, name: str) -> list[Elements]:
        """The items of a sequence, [] without it."""
        return self._items.get(self._tag(name), [])

    def item(self, name: str) -> Elements:
        """The first item of a sequence; an empty one without it."""
        return next(iter(self.items(name)), None) or nothing()

    def _value(self, name: str) -> Any:
        """What pydicom makes of the value; its bytes, where these are plain text or break rules; None without one."""
        from pydicom.dataelem import RawDataElement

        element = self._element(name)
        if element is None or element.value is None or not isinstance(element, RawDataElement) or element.VR in _PLAIN:
            return element and element.value
        try:
            with quiet_pydicom():
                return self._data[element.tag].value
        except Exception:  # pydicom raises what it likes
            return element.value

    def _element(self, name: str) -> Any:
        """pydicom's element ``name``, whose value it may not have read yet; None without it."""
        return self._data.get_item(self._tag(name), keep_deferred=True)

    def _tag(self, name: str) -> Any:
        if name not in _PRIVATE:
            return _tag(name)
        group, creator, number = _PRIVATE[name]
        block = self._private_blocks.get((group, creator))
        return group << 16 | block << 8 | number if block else 0

    @cached_property
    def _private_blocks(self) -> dict[tuple[int, str], int]:
        """Group and creator of each block of private elements -> its number."""
        tags = [tag for tag in self._data.keys() if tag >> 16 in _GROUPS and 0x10 <= tag & 0xFFFF <= 0xFF]
        return {(tag >> 16, "".join(_listed(self._data.get_item(tag).value)).strip()): tag & 0xFF for tag in tags}

    def complete(self, reader: _Reader, depth: int = 0) -> None:
        """Reads the sequences, and those in them. DamagedDicom if an element of them is of no kind, or not whole."""
        from pydicom.dataelem import RawDataElement
        from pydicom.filereader import read_sequence
        from pydicom.valuerep import STANDARD_VR

        if depth > _DEEPEST:
            raise DamagedDicom(_TOO_DEEP)
        little = self._data.original_encoding[1]
        tiles = None if depth else self._tag("UIHTileSequence")
        for element in self._data.values():
            raw = isinstance(element, RawDataElement)
            if raw and not element.is_implicit_VR and element.VR not in STANDARD_VR:
                raise DamagedDicom(f"element {element.tag} has no valid kind")
            if raw and element.value is not None and len(element.value) < element.length != _UNDEFINED:
                raise DamagedDicom(_CUT_OFF)
            if element.VR == "SQ" or (element.VR is None and (_is_sequence(element.tag) or element.tag == tiles)):
                items = element.value
                if raw:
                    reader.seek(element.value_tell)
                    implicit, charset = element.is_implicit_VR, self._data.original_character_set
                    items = read_sequence(reader, implicit, little, element.length, charset)
                self._items[element.tag] = [Elements(item) for item in items]
                for item in self._items[element.tag]:
                    reader.seek(item._data.seq_item_tell)
                    mark, length = reader.read(4), int.from_bytes(reader.read(4), "little" if little else "big")
                    if mark not in _ITEM_MARKS:
                        raise DamagedDicom("a sequence holds something that is no item")
                    reader.seek(reader.tell() + length if length != _UNDEFINED else 0)
                    item.complete(reader, depth + 1)


class DicomFile(Elements):
    """A file without its pixels.

    ``syntax``: UID of its transfer syntax; ``pixels``: where its pixel data begin and how many bytes they have (-1 where
    they come in fragments), None without any. ``floats``: they are numbers with a fraction (Float Pixel Data). ``inflated``:
    the content of a deflated file, in which ``pixels`` lie.
    """

    syntax, floats = "", False
    pixels: tuple[int, int] | None = None
    inflated: bytes | None = None

    def __init__(self, path: str | os.PathLike):
        """Reads the file at ``path``.

        :raises NotDicom: it is none.
        :raises DamagedDicom: cut off, or lengths that cannot be. OSError passes.
        """
        self.path = Path(path)
        with _Reader(io.FileIO(self.path)) as reader:
            if not looks_like_dicom(reader.peek(132)[:132]):
                raise NotDicom("no DICOM file")
            with _reading():
                self._read(reader)

    def _read(self, reader: _Reader) -> None:
        from pydicom.filereader import read_dataset, read_partial

        pixels = [_tag(name) for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")]

        def stop(tag: int, kind: str | None, length: int) -> bool:
            if tag >> 16 == pixels[0] >> 16 and tag in pixels:
                self.pixels = (reader.tell(), -1 if length == _UNDEFINED else length)
                self.floats = tag != pixels[0]
            return self.pixels is not None

        data: Any
        try:
            data = read_partial(reader, stop, _LARGEST_VALUE, force=True)
            self.syntax = Elements(data.file_meta).text("TransferSyntaxUID")
        except _Deflated as deflated:
            reader = _Reader(io.BytesIO(deflated.content))
            data = read_dataset(reader, False, True, stop_when=stop)
            self.syntax, self.inflated = DEFLATED, deflated.content
        implicit, little = data.original_encoding
        self.syntax = self.syntax or (IMPLICIT if implicit else EXPLICIT if little else BIG_ENDIAN)
        reader.seek(sum(self.pixels or (0, 0)))
        super().__init__(data)
        self.complete(reader)

    @property
    def sop_class(self) -> str:
        return self.text("SOPClassUID")

    def stored_bytes(self) -> bytes:
        """The pixel data of a file that is not compressed in fragments."""
        offset, length = self.pixels or (0, 0)
        with io.FileIO(self.path) if self.inflated is None else io.BytesIO(self.inflated) as file:
            file.seek(offset)
            return file.read(length)


@cache
def nothing() -> Elements:
    """An item without elements."""
    from pydicom.dataset import Dataset

    return Elements(Dataset())


@cache
def _is_sequence(tag: int) -> bool:
    from pydicom.datadict import dictionary_has_tag, dictionary_VR

    return dictionary_has_tag(tag) and dictionary_VR(tag) == "SQ"


@cache
def _tag(keyword: str) -> Any:
    from pydicom.datadict import add_private_dict_entries
    from pydicom.tag import Tag

    add_private_dict_entries("Image Private Header", _UNKNOWN)
    return Tag(keyword)


def _listed(value: Any) -> list:
    """The values that pydicom, or the bytes of a text, have as one."""
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace").replace("\0", " ").rstrip().split("\\") if value else None
    return [] if value is None or value == "" else list(value) if isinstance(value, MutableSequence) else [value]


class _Deflated(Exception):
    """pydicom wants to inflate a file, whose ``content`` that is."""

    def __init__(self, packed: bytes):
        super().__init__("deflated")
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            self.content = unpacker.decompress(packed, _MOST_INFLATED)
        except zlib.error as error:
            raise DamagedDicom(f"its compressed content is damaged ({error})") from None
        if unpacker.unconsumed_tail:
            raise DamagedDicom("its compressed content is larger than 512 MB")


class _Reader(io.BufferedReader):
    """What pydicom reads, which must not end in the middle of an element, nor have too many."""

    def __init__(self, raw: Any):
        super().__init__(raw)
        self._left, self._size, self._read = _MOST_ELEMENTS, super().seek(0, io.SEEK_END), super().read
        super().seek(0)

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:
            raise _Deflated(self._read())
        part = self._read(size if size < _LARGEST_READ else _LARGEST_READ)
        if len(part) < size and (part or size > 8):
            raise DamagedDicom(_CUT_OFF)
        if size == 8:  # the head of an element, or of an item, which takes as much memory as five
            self._left -= 5 if part[:4] in _ITEM_MARKS else 1
        if self._left < 0:
            raise DamagedDicom(f"it has more than {_MOST_ELEMENTS:,} elements")
        return part

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_SET and place > self._size:
            raise DamagedDicom(_CUT_OFF)
        return super().seek(place, whence)


@contextmanager
def _reading() -> Iterator[None]:
    """Turns what pydicom raises of damaged files into DamagedDicom."""
    try:
        with quiet_pydicom():
            yield
    except (DamagedDicom, MemoryError):
        raise
    except RecursionError:
        raise DamagedDicom(_TOO_DEEP) from None
    except OSError as error:
        if error.errno:
            raise
        own = error.__context__  # pydicom puts this in place of what it meets at an item
        if isinstance(own, RecursionError):
            raise DamagedDicom(_TOO_DEEP) from None
        raise (own if isinstance(own, DamagedDicom) else DamagedDicom(_CUT_OFF)) from None
    except Exception as error:  # pydicom raises what it likes
        raise DamagedDicom("its header contradicts itself") from error


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Keeps pydicom from telling of values that break rules."""
    from pydicom.config import disable_value_validation, logger

    logs, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings(), disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = logs
