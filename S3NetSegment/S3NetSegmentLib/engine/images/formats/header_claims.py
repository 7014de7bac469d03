"""What the header of a file claims, checked before memory is taken or another file is opened for it: headers can be damaged,
or made to harm."""

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
from ...common.errors import InputError, ResourceError, image_warning
from ..files import refuse_devices, stem_of, suffix_of

_LONGEST = 8 << 20  # bytes of a header in text
_MOST_DIMENSIONS = 10
MOST_KEYS = (
    20_000  # key/value pairs of a NRRD header, about nine for a segment; reading takes the square of their number
)
_MOST_PAGES = 65_535  # of a TIFF file
_META = (".mha", ".mhd")
_FIELD = re.compile(rb"^[ \t]*(data ?file|ElementDataFile|NDims)[ \t]*[:=](?!=)[ \t]*(.*?)[ \t\r]*$", re.I | re.M)
_PACKED = re.compile(rb"^[ \t]*CompressedData[ \t]*=[ \t]*[Tt1]", re.M)
_GZIPPED = re.compile(rb"^[ \t]*encoding[ \t]*:[ \t]*gz", re.I | re.M)
_BEFORE_VTK = re.compile(rb"^(LOOKUP_TABLE|VECTORS|SCALARS).*\n", re.M)
# Bytes before the voxels, by ITK's name of the format.
_PLAIN_HEADS = {"NiftiImageIO": 0, "GiplImageIO": 256, "MRCImageIO": 1024, "VTKImageIO": 0}
# Deflate packs at most 1,032 to one, LZW about 2,500; what stands in a few lines may always be as large as a slice.
_DENSEST, _ALWAYS = 3000, 64 << 20
_PATIENT_SPACES = re.compile(r"(left|right)-(anterior|posterior)-(superior|inferior)|[lr][ap][si]", re.I)
_MILLIMETRES = {"mm", "millimeter", "millimetre", "millimeters", "millimetres", "", "none", "???"}
NOT_PLACED = (
    "its header does not tell how it lies in the patient; its axes are taken to run to the left, to posterior and upwards, as Slicer "
    "does, but nobody knows which side is left"
)
_MATRIX = {"transformmatrix", "rotation", "orientation"}  # names of the same in a MetaImage
_BYTES = {
    "char": 1, "uchar": 1, "short": 2, "ushort": 2, "int": 4, "uint": 4, "long": 4, "ulong": 4, "long_long": 8,
    "ulong_long": 8, "float": 4, "double": 8,
}  # fmt: skip


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
                shown = value[:20].decode("ascii", "replace")
                raise InputError(f"{str(path)!r} has {shown} dimensions in its header; copy or export it again")
            continue
        if value == b"LOCAL":
            continue
        for file in _named_files(path, header, value):
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


def _named_files(path: Path, header: bytes, value: bytes) -> list[Path]:
    """The files that ``value`` in a ``header`` names, or the list behind it."""
    listed = header.partition(value)[2].splitlines() if value.split()[:1] == [b"LIST"] else [value]
    return [path.parent / os.fsdecode(entry.strip()) for entry in listed if entry.strip()]


def check_meta_files(path: Path, size: Sequence[int], voxel_bytes: int) -> None:
    """Raises InputError if a MetaImage names fewer files than it has slices, or if its compressed voxels unpack to less than its
    header claims: the reader takes what there is and says nothing. Other files pass. For the parameters see :func:`check_size`."""
    header = text_header(path)
    words = next((v for name, v in _FIELD.findall(header) if name == b"ElementDataFile"), b"").split()
    if not words:
        return
    value, numbers = b" ".join(words), [int(word) for word in words[1:] if word.isdigit()]
    files = [path] if value == b"LOCAL" else _named_files(path, header, value)
    if b"%" in value or words[0] == b"LIST":
        # The numbers of a pattern: its first, its last, the step; that of a list: the dimensions of each of its files.
        first, last, step = [*numbers, 0, 0, 1][:3] if len(numbers) > 1 else (1, 1, 1)
        listed = len(files) - (not header.endswith(b"\n"))  # MetaIO passes over a last line without an end
        count = listed if words[0] == b"LIST" else (last - first) // max(1, step) + 1
        slices = math.prod(size[numbers[0] if words[0] == b"LIST" and numbers else len(size) - 1 :])
        if count < slices:
            raise InputError(
                f"{str(path)!r} names {count} files of voxels in whole lines, and has {slices} slices; correct its header"
            )
    if b"%" in value or not _PACKED.search(header):
        return
    claimed = math.prod(size) * voxel_bytes
    if sum(_unpacked(file, len(header) + 1 if value == b"LOCAL" else 0, claimed) for file in files) < claimed:
        raise InputError(f"{str(path)!r} is cut off or damaged: voxels are missing or wrong; copy or export it again")


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


def _behind_nrrd_header(path: Path, header: bytes) -> int:
    with open(path, "rb") as file:
        end = re.match(rb"\r?\n\r?\n", file.read(len(header) + 4)[len(header) :])
    return len(header) + (end.end() if end else 0)


def _ends_with(path: Path, last: bytes) -> bool:
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - len(last)))
        return file.read() == last


def check_held(path: Path, image_io: str, claimed: int) -> None:
    """Raises InputError if a VTK, GIPL, MRC or ANALYZE file or a packed NRRD file holds fewer bytes of voxels than its header has
    ``claimed``: ITK fills up what is missing, or takes what stands behind a packed stream, and says nothing. Other files pass."""
    if image_io == "NrrdImageIO":
        header = text_header(path)
        name = next((value for field, value in _FIELD.findall(header) if field.lower() != b"ndims"), b"")
        if not _GZIPPED.search(header) or b"%" in name:
            return
        files = _named_files(path, header, name) if name and name != b"LOCAL" else [path]
        if len(files) == 1 and _ends_with(files[0], struct.pack("<I", claimed % 2**32)):
            return  # a gzip stream ends with the number of its bytes, and ITK checks the rest
        if sum(_unpacked(file, 0 if name else _behind_nrrd_header(path, header), claimed) for file in files) < claimed:
            raise InputError(
                f"{str(path)!r} is cut off or damaged: voxels are missing or wrong; copy or export it again"
            )
        return
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
        raise InputError(f"{str(path)!r} is cut off or damaged: voxels are missing or wrong; copy or export it again")


def check_size(path: Path, size: Sequence[int], voxel_bytes: int) -> None:
    """Raises InputError if the header of ``path`` claims more voxels than the file can hold at all, and ResourceError if this
    machine has no room for them.

    :param size: voxels along each axis.
    :param voxel_bytes: of one voxel with all its components.
    """
    claimed = math.prod(size) * voxel_bytes
    if claimed > _ALWAYS and claimed > _DENSEST * _bytes_behind(path):
        raise InputError(
            f"{str(path)!r} is cut off or damaged: its header claims {' x '.join(map(str, size))} voxels, which its "
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


def note_header(path: Path) -> None:
    """Issues ImageWarning for units, spaces and scales in the header of ``path`` that are not followed; InputError where the
    file holds at least twice the voxels that its header claims. Files of other formats pass."""
    header = text_header(path).decode("utf-8", "replace")
    if not header:
        return
    lines = (re.match(r"\s*([^:=#][^:=]*?)\s*[:=](?!=)\s*(.*?)\s*$", line) for line in header.splitlines())
    fields = {m[1].lower(): m[2] for m in lines if m}
    shown = repr(os.fspath(path))
    notes = _nrrd_notes(fields) if header.startswith("NRRD") else _meta_notes(fields, path)
    for note in notes:
        image_warning(f"{shown}: {note}")


def _unstated(sized: bool, placed: bool) -> list[str]:
    """What to say of a volume whose header does not tell the sizes of its voxels, or how it lies in the patient."""
    notes = (
        []
        if sized
        else ["its header does not tell how large its voxels are; 1 mm is taken, lengths and volumes are not real"]
    )
    return notes if placed else [*notes, NOT_PLACED]


def _nrrd_notes(fields: dict[str, str]) -> list[str]:
    notes = []
    if _number(fields.get("dimension"), 3.0) > 2:
        notes += _unstated(
            "space directions" in fields or "spacings" in fields,
            "space" in fields
            or _number(fields.get("space dimension"), 0.0) > 3,  # ITK names no space of four dimensions
        )
    units = set(re.findall(r'"([^"]*)"', fields.get("space units", ""))) | set(
        re.findall(r'"([^"]*)"', fields.get("units", "") if "spacings" in fields else "")
    )
    if others := sorted(u for u in units if u.strip().lower() not in _MILLIMETRES):
        notes.append(
            f"its sizes are in {', '.join(others)} and taken as mm, as Slicer does; correct them in its header"
        )
    space = fields.get("space", "").strip('"')
    if space and not _PATIENT_SPACES.fullmatch(space):
        notes.append(
            f"its space {space!r} is none of a patient; it is taken as left-posterior-superior, as Slicer does"
        )
    return notes


def _meta_notes(fields: dict[str, str], path: Path) -> list[str]:
    notes = []
    if _number(fields.get("ndims"), 3.0) > 2:
        notes += _unstated("elementspacing" in fields or "elementsize" in fields, not _MATRIX.isdisjoint(fields))
    scale = [
        _number(fields.get(f"elementtointensityfunction{name}"), usual)
        for name, usual in (("slope", 1.0), ("offset", 0.0))
    ]
    if scale != [1.0, 0.0]:
        notes.append(
            f"its header asks for values times {scale[0]:g} plus {scale[1]:g}, which is not done, as in Slicer; the values are "
            "those of the file"
        )
    size = _BYTES.get(fields.get("elementtype", "").lower().removeprefix("met_").removesuffix("_array"))
    plain = fields.get("elementdatafile") == "LOCAL" and fields.get("compresseddata", "False").lower() != "true"
    counts = re.findall(r"\d+", fields.get("dimsize", ""))
    if size and plain and counts:
        told = math.prod(map(int, counts)) * size * max(1, int(_number(fields.get("elementnumberofchannels"), 1)))
        held = os.path.getsize(path) - len(text_header(path)) - 1
        if told and held >= 2 * told:
            raise InputError(
                f"{str(path)!r} holds {held:,} bytes of voxels, and its header claims {told:,} (numbers of {size} bytes); correct "
                "ElementType or DimSize in its header"
            )
    return notes


def _number(text: str | None, otherwise: float) -> float:
    try:
        number = float(text or "")
    except ValueError:
        return otherwise
    return number if math.isfinite(number) else otherwise
