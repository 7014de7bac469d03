"""Headers of NRRD and MetaImage files, which are text. What they claim is checked before memory is taken or another file is opened for
it: they can be damaged, or made to harm. What they ask for and nobody follows is said."""

from __future__ import annotations

import math
import os
import re
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

from ...common.errors import InputError, image_warning
from ...common.numbers import finite
from ..files import damaged, refuse_devices, suffix_of

_LONGEST = 8 << 20  # bytes
_MOST_DIMENSIONS = 10
MOST_KEYS = 20_000  # key/value pairs of a NRRD header, nine for a segment; reading takes the square of their number
_META = (".mha", ".mhd")
_FIELD = re.compile(rb"^[ \t]*(data ?file|ElementDataFile|NDims)[ \t]*[:=](?!=)[ \t]*(.*?)[ \t\r]*$", re.I | re.M)
_ANY_FIELD = re.compile(r"\s*([^:=#][^:=]*?)\s*[:=](?!=)\s*(.*?)\s*$")
_PACKED = re.compile(rb"^[ \t]*(?:CompressedData[ \t]*=[ \t]*[Tt1]|(?i:encoding[ \t]*:[ \t]*gz))", re.M)
_PATIENT_SPACES = re.compile(r"(left|right)-(anterior|posterior)-(superior|inferior)|[lr][ap][si]", re.I)
_MILLIMETRES = {"mm", "millimeter", "millimetre", "millimeters", "millimetres", "", "none", "???"}
NOT_PLACED = (
    "its header does not tell how it lies in the patient; its axes are taken to run to the left, to posterior and upwards, as Slicer "
    "does, but nobody knows which side is left"
)
_NOT_SIZED = "its header does not tell how large its voxels are; 1 mm is taken, lengths and volumes are not real"
_MATRIX = {"transformmatrix", "rotation", "orientation"}  # names of the same in a MetaImage
_BYTES = {
    "char": 1, "uchar": 1, "short": 2, "ushort": 2, "int": 4, "uint": 4, "long": 4, "ulong": 4, "long_long": 8,
    "ulong_long": 8, "float": 4, "double": 8,
}  # fmt: skip


class TextHeader:
    """What stands before the voxels of an NRRD or MetaImage file, or beside them.

    ``text``: with the list of files that it may end with; b"" for files of other formats, which pass every check. ``fields``: name in
    lower case -> value.
    """

    def __init__(self, path: Path):
        self.path, self.text = path, _text_of(path)
        self.is_nrrd = self.text.startswith(b"NRRD")
        lines = map(_ANY_FIELD.match, self.text.decode("utf-8", "replace").splitlines())
        self.fields = {line[1].lower(): line[2] for line in lines if line}
        stated = [(name.lower(), value) for name, value in _FIELD.findall(self.text)]
        self._dimensions = [value for name, value in stated if name == b"ndims"]
        places = [(name, value) for name, value in stated if name != b"ndims"]
        # Of the voxels, as the readers of the two formats look for them.
        self._places = [value for name, value in places if (name == b"elementdatafile") != self.is_nrrd]

    def check(self) -> None:
        """Raises InputError if the voxels are to come from a pipe or a device, which would be waited for without end, or if there
        are more dimensions or entries than any image has."""
        shown, keys = repr(str(self.path)), self.text.count(b":=")
        if keys > MOST_KEYS:
            raise InputError(
                f"{shown} describes {keys:,} things in its header, more than the {MOST_KEYS:,} that can be read; save fewer segments "
                "in one file"
            )
        for count in self._dimensions:
            if not count.isdigit() or len(count) > 4 or not 1 <= int(count) <= _MOST_DIMENSIONS:
                told = count[:20].decode("ascii", "replace")
                raise InputError(f"{shown} has {told} dimensions in its header; copy or export it again")
        for place in self._places:
            for file in self._files(place) if place != b"LOCAL" else ():
                try:
                    for each in os.scandir(file.parent) if b"%" in place else (file,):  # a pattern of names
                        refuse_devices(each)
                except InputError as error:
                    raise InputError(f"{shown} names its voxels: {error}") from None
                except (OSError, ValueError):
                    continue  # not there: the reader says it

    def check_voxels(self, size: Sequence[int], voxel_bytes: int) -> None:
        """Raises InputError if there are fewer files of voxels than slices, or if packed voxels unpack to less than the header
        claims: the readers take what there is, or what stands behind, and say nothing.

        :param size: voxels along each axis. ``voxel_bytes``: of one voxel with all its components.
        """
        place = (self._places or [b""])[0]
        if place and not self.is_nrrd:
            self._check_count(place, size)
        if not _PACKED.search(self.text) or b"%" in place or not (place or self.is_nrrd):
            return
        claimed, start = math.prod(size) * voxel_bytes, 0
        files = self._files(place) if place not in (b"", b"LOCAL") else [self.path]
        if self.is_nrrd and len(files) == 1 and _ends_with(files[0], struct.pack("<I", claimed % 2**32)):
            return  # a gzip stream ends with the number of its bytes, and ITK checks the rest
        if files == [self.path]:
            with open(self.path, "rb") as file:
                file.seek(len(self.text))
                end = re.match(rb"\r?\n\r?\n" if self.is_nrrd else b"\r?\n", file.read(4))
            start = len(self.text) + (end.end() if end else 0)
        if sum(_unpacked(file, start, claimed) for file in files) < claimed:
            raise damaged(self.path)

    def bytes_behind(self) -> int:
        """The size of the file; of all files of its folder where the voxels lie beside it."""
        if suffix_of(self.path) in (".mhd", ".nhdr", ".hdr", ".img") or b"data file" in self.text.lower():
            return sum(entry.stat().st_size for entry in os.scandir(self.path.parent) if entry.is_file())
        return os.path.getsize(self.path)

    def warn(self) -> None:
        """Issues ImageWarning for units, spaces and scales that are not followed; InputError where the file holds at least twice
        the voxels that its header claims."""
        for note in self._nrrd_notes() if self.is_nrrd else self._meta_notes() if self.text else ():
            image_warning(f"{os.fspath(self.path)!r}: {note}")

    def _files(self, place: bytes) -> list[Path]:
        """The files that ``place``, where the voxels are, names, or the list behind it."""
        is_list = place.split()[:1] == [b"LIST"]
        listed = self.text.partition(place)[2].splitlines() if is_list else [place]
        return [self.path.parent / os.fsdecode(entry.strip()) for entry in listed if entry.strip()]

    def _check_count(self, place: bytes, size: Sequence[int]) -> None:
        """Whether a MetaImage names a file of voxels for each of its slices."""
        words, is_list = place.split(), place.startswith(b"LIST")
        if not is_list and b"%" not in place:
            return
        # The numbers of a pattern: its first, its last, the step; that of a list: the dimensions of each of its files.
        numbers = [int(word) for word in words[1:] if word.isdigit()]
        first, last, step = [*numbers, 0, 0, 1][:3] if len(numbers) > 1 else (1, 1, 1)
        # MetaIO passes over a last line without an end.
        listed = len(self._files(place)) - (not self.text.endswith(b"\n"))
        count = listed if is_list else (last - first) // max(1, step) + 1
        slices = math.prod(size[numbers[0] if is_list and numbers else len(size) - 1 :])
        if count < slices:
            raise InputError(
                f"{str(self.path)!r} names {count} files of voxels in whole lines, and has {slices} slices; correct its header"
            )

    def _unstated(self, dimensions: str, sized: bool, placed: bool) -> list[str]:
        """What to say of a volume whose header does not tell the sizes of its voxels, or how it lies in the patient."""
        if finite(self.fields.get(dimensions), 3.0) <= 2:
            return []
        return [note for note, told in ((_NOT_SIZED, sized), (NOT_PLACED, placed)) if not told]

    def _nrrd_notes(self) -> list[str]:
        fields = self.fields
        # ITK names no space of four dimensions.
        placed = "space" in fields or finite(fields.get("space dimension"), 0.0) > 3
        notes = self._unstated("dimension", "space directions" in fields or self._has_spacings(), placed)
        units = fields.get("space units", "") + (fields.get("units", "") if "spacings" in fields else "")
        if others := sorted({u for u in re.findall(r'"([^"]*)"', units) if u.strip().lower() not in _MILLIMETRES}):
            notes.append(
                f"its sizes are in {', '.join(others)} and taken as mm, as Slicer does; correct them in its header"
            )
        space = fields.get("space", "").strip('"')
        if space and not _PATIENT_SPACES.fullmatch(space):
            notes.append(
                f"its space {space!r} is none of a patient; it is taken as left-posterior-superior, as Slicer does"
            )
        return notes

    def _has_spacings(self) -> bool:
        """Whether an NRRD has a spacing along each axis of space: NaN says that there is none."""
        spacings, kinds = (self.fields.get(name, "").lower().split() for name in ("spacings", "kinds"))
        kinds += ["domain"] * (len(spacings) - len(kinds))
        of_space = [s for s, kind in zip(spacings, kinds, strict=False) if kind in ("domain", "space", "???", "none")]
        return bool(of_space) and None not in [finite(s, None) for s in of_space]

    def _meta_notes(self) -> list[str]:
        fields = self.fields
        sized, placed = "elementspacing" in fields or "elementsize" in fields, not _MATRIX.isdisjoint(fields)
        notes = self._unstated("ndims", sized, placed)
        slope = finite(fields.get("elementtointensityfunctionslope"), 1.0)
        offset = finite(fields.get("elementtointensityfunctionoffset"), 0.0)
        if (slope, offset) != (1.0, 0.0):
            notes.append(
                f"its header asks for values times {slope:g} plus {offset:g}, which is not done, as in Slicer; the values are those of "
                "the file"
            )
        size = _BYTES.get(fields.get("elementtype", "").lower().removeprefix("met_").removesuffix("_array"))
        plain = fields.get("elementdatafile") == "LOCAL" and fields.get("compresseddata", "False").lower() != "true"
        counts = re.findall(r"\d+", fields.get("dimsize", ""))
        if size and plain and counts:
            told = math.prod(map(int, counts)) * size * max(1, int(finite(fields.get("elementnumberofchannels"), 1)))
            held = os.path.getsize(self.path) - len(self.text) - 1
            if told and held >= 2 * told:
                raise InputError(
                    f"{str(self.path)!r} holds {held:,} bytes of voxels, and its header claims {told:,} (numbers of {size} bytes); "
                    "correct ElementType or DimSize in its header"
                )
        return notes


def _text_of(path: Path) -> bytes:
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


def _unpacked(path: Path, start: int, most: int) -> int:
    """To how many bytes, hardly more than ``most``, the content of ``path`` from byte ``start`` on unpacks; 0 if it is damaged."""
    unpacker, count = zlib.decompressobj(zlib.MAX_WBITS | 32), 0  # of zlib or gzip
    try:
        with open(path, "rb") as file:
            file.seek(start)
            while count <= most and (part := unpacker.unconsumed_tail or unpacker.unused_data or file.read(1 << 20)):
                if unpacker.eof:  # behind a stream stands another one, or nothing of the image
                    if not part.startswith(b"\x1f\x8b"):
                        break
                    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)
                count += len(unpacker.decompress(part, 1 << 24))
    except (OSError, zlib.error):
        return 0
    return count


def _ends_with(path: Path, last: bytes) -> bool:
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - len(last)))
        return file.read() == last
