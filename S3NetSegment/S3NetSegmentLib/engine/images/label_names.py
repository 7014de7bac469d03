"""Names and colours for the values of plain label maps, from a file of their own.

Read are, told apart by their content: colour tables of 3D Slicer (``.ctbl``) and FreeSurfer (``value name r g b a``), label
descriptions of ITK-SNAP (``value r g b a visible mesh "name"``), CSV or TSV (``value,name[,r,g,b]``, with or without a head
line), plain text (``value name``), and JSON: {"1": "liver"}, {"liver": 1}, a list of {"value", "name", "color"}, or one of
these under "labels" or "classes" (``dataset.json`` of nnU-Net, ``cohort.json``).
"""

from __future__ import annotations

import csv
import dataclasses
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..common.arrays import three
from ..common.delimited_text import COMMENTS, lines_and_delimiter
from ..common.errors import InputError
from ..common.json_file import read_json
from .files import file_head
from .segmentation import LARGEST_LABEL, Segmentation

Color = tuple[float, float, float]
_MOST_BYTES = 16 << 20
_EXAMPLE = "write lines such as: 1,liver or 1,liver,221,130,101"
_HEADS = {
    "value": ("value", "label", "labelvalue", "label_value", "index", "id", "idx", "number", "integervalue"),
    "name": ("name", "label_name", "labelname", "structure", "text", "segment", "description", "class"),
    "r": ("r", "red", "color_r"), "g": ("g", "green", "color_g"), "b": ("b", "blue", "color_b"),
}  # fmt: skip
_SNAP = re.compile(r'\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+([\d.]+)\s+(\d+)\s+(\d+)\s+"(.*)"\s*')
_TABLE = re.compile(r"\s*(\S+)\s+(?:\"([^\"]*)\"|(.*?))((?:\s+\d+(?:\.\d+)?){3,4})?\s*")


@dataclass(frozen=True)
class LabelName:
    """What a value of a label map means. ``color``: red, green, blue, each 0 to 1; None: not given."""

    name: str
    color: Color | None = None


def read_label_names(path: str | os.PathLike) -> dict[int, LabelName]:
    """Value -> name of the file at ``path``, in its order; 0, the background, is left out.

    :raises InputError: no such file, no text, no label in it, or a line that is wrong: which one, and what is wrong in it.
    """
    path, shown = Path(path), repr(os.fspath(path))
    head = file_head(path)
    if path.stat().st_size > _MOST_BYTES:
        raise InputError(f"{shown} is larger than {_MOST_BYTES >> 20} MB; is it a list of labels? {_EXAMPLE}")
    if path.suffix.lower() == ".json" or head.lstrip()[:1] in (b"{", b"["):
        entries = _json_entries(read_json(path), shown)
    else:
        entries = _text_entries(path, shown)
    names: dict[int, LabelName] = {}
    values_of: dict[str, int] = {}
    for place, value, name, color in entries:
        where = f"{shown}, {place}"
        number = _value(value, where)
        if not name.strip():
            raise InputError(f"{where}: label {number} has no name; {_EXAMPLE}")
        if number == 0:
            continue
        if number in names:
            raise InputError(f"{where}: label {number} is there twice; keep one")
        name = " ".join(name.split())
        other = values_of.setdefault(name.casefold(), number)
        if other != number:
            raise InputError(f"{where}: {name!r} is the name of label {other}, too; make the names differ")
        names[number] = LabelName(name, _color(color, where))
    if not names:
        raise InputError(f"{shown} names no label above 0; {_EXAMPLE}")
    return names


def named(segmentation: Segmentation, names: Mapping[int, LabelName], label_map: str, names_file: str) -> Segmentation:
    """``segmentation``, which was read from a label map without names, with the ``names`` and colours of its values.

    Values that ``names`` does not have keep the names that they have.

    :raises InputError: the segments have names of their own, or none of their values is among ``names``.
    """
    own = [s.name for s in segmentation.segments if not s.is_unnamed]
    if own:
        raise InputError(
            f"{label_map!r} has names of its own ({', '.join(own[:4])}), and {names_file!r} is for label maps without; leave it out"
        )
    values = [s.value for s in segmentation.segments]
    if values and not set(values) & names.keys():
        raise InputError(
            f"{names_file!r} names none of the labels of {label_map!r}, which are {_listed(values)}; it has {_listed(names)}"
        )
    segments = []
    for segment in segmentation.segments:
        found = names.get(segment.value)
        color = segment.color if found is None or found.color is None else found.color
        segments.append(dataclasses.replace(segment, name=segment.name if found is None else found.name, color=color))
    return Segmentation(segmentation.layers, segments, segmentation.ijk_to_ras)


def all_named(
    segmentations: Sequence[Segmentation], label_maps: Sequence[str], names_file: str | os.PathLike | None
) -> list[Segmentation]:
    """``segmentations``, read from the files ``label_maps``, those without names with the names in ``names_file`` (None:
    as they are). InputError as :func:`read_label_names` and :func:`named`; all have names of their own."""
    if names_file is None:
        return list(segmentations)
    names = read_label_names(names_file)
    bare = [all(s.is_unnamed for s in segmentation.segments) for segmentation in segmentations]
    return [
        named(segmentation, names, os.fspath(path), os.fspath(names_file)) if without or not any(bare) else segmentation
        for segmentation, path, without in zip(segmentations, label_maps, bare, strict=True)
    ]


def _listed(values) -> str:
    values = sorted(values)
    return ", ".join(map(str, values[:8])) + (", ..." if len(values) > 8 else "")


def _text_entries(path: Path, shown: str) -> Iterator[tuple]:
    """(place, value, name, colour) of each line of a text file."""
    try:
        lines, delimiter = lines_and_delimiter(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise InputError(f"{shown} is no UTF-8 text; save it as CSV UTF-8. {_EXAMPLE}") from None
    if any("\0" in line for line in lines):
        raise InputError(f"{shown} is not a text file; {_EXAMPLE}")
    kept = [
        (n, line.rstrip("\r\n"))
        for n, line in enumerate(lines, 1)
        if line.strip() and not line.lstrip().startswith(COMMENTS)
    ]
    if kept and delimiter in kept[0][1]:
        return _delimited(kept, delimiter, shown)
    return _spaced(kept, shown)


def _delimited(lines: list[tuple[int, str]], delimiter: str, shown: str) -> Iterator[tuple]:
    columns = None
    for number, line in lines:
        cells = [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))]
        place = f"line {number}"
        if columns is None:
            columns = _columns(cells)
            if columns is None and not cells[0].isdigit():
                raise InputError(f"{shown}, {place}: {line.strip()[:60]!r} has no value and name; {_EXAMPLE}")
            head = columns is not None
            columns = columns or {name: n for n, name in enumerate(("value", "name", "r", "g", "b"))}
            if head:
                continue
        if len(cells) <= max(columns["value"], columns["name"]):
            raise InputError(f"{shown}, {place}: {line.strip()[:60]!r} has no name; {_EXAMPLE}")
        parts = [cells[columns[c]] for c in "rgb" if c in columns and columns[c] < len(cells)]
        yield place, cells[columns["value"]], cells[columns["name"]], [p for p in parts if p] or None


def _columns(cells: list[str]) -> dict[str, int] | None:
    """Which cell of a head line is which; None if it is none."""
    folded = [cell.casefold().replace(" ", "_") for cell in cells]
    found = {what: next((n for n, c in enumerate(folded) if c in known), None) for what, known in _HEADS.items()}
    if found["value"] is not None and found["name"] is None and len(cells) == 2:
        found["name"] = 1 - found["value"]
    if found["value"] is None or found["name"] is None or found["value"] == found["name"]:
        return None
    return {what: at for what, at in found.items() if at is not None}


def _spaced(lines: list[tuple[int, str]], shown: str) -> Iterator[tuple]:
    """Lines of columns between blanks: ITK-SNAP's, colour tables, or a value and a name."""
    if lines and lines[0][1].split()[0].casefold() in _HEADS["value"]:
        lines = lines[1:]
    table = all((found := _TABLE.fullmatch(line)) and found[4] for _, line in lines)
    for number, line in lines:
        place = f"line {number}"
        snap = _SNAP.fullmatch(line)
        if snap:
            yield place, snap[1], snap[8], [snap[2], snap[3], snap[4]]
            continue
        found = _TABLE.fullmatch(line)
        if found is None or not found[1].isdigit() or not (found[2] or found[3]):
            raise InputError(f"{shown}, {place}: {line.strip()[:60]!r} is not a value with a name; {_EXAMPLE}")
        name, color = found[2] or found[3], found[4]
        if not table and found[2] is None:  # "3 lobe 1 2 3" is a name unless every line ends in a colour
            name, color = f"{name}{color or ''}", None
        if table and "_" in name and " " not in name:
            name = name.replace("_", " ")  # colour tables have no blanks in names
        yield place, found[1], name, color.split()[:3] if color else None


def _json_entries(content, shown: str) -> Iterator[tuple]:
    if isinstance(content, dict):
        inner = next((content[key] for key in ("labels", "classes") if isinstance(content.get(key), dict | list)), None)
        content = content if inner is None else inner
    if isinstance(content, dict):
        for key, value in content.items():
            place = f"entry {key!r}"
            if isinstance(value, str) and key.strip().isdigit():
                yield place, key, value, None
            else:
                yield place, value, key, None
    elif isinstance(content, list):
        for number, entry in enumerate(content, 1):
            place = f"entry {number}"
            entry = {"name": entry} if isinstance(entry, str) else entry
            if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
                raise InputError(f'{shown}, {place}: it has no name; write {{"value": 1, "name": "liver"}}')
            yield place, entry.get("value", number), entry["name"], entry.get("color")
    else:
        raise InputError(f'{shown} holds no labels; write {{"1": "liver", "2": "spleen"}}')


def _value(value, where: str) -> int:
    text = str(value).strip() if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if not text.isascii() or not text.isdigit() or int(text[:6]) > LARGEST_LABEL or len(text) > 6:
        raise InputError(
            f"{where}: {value!r} is not a value of a label; it must be a whole number from 0 to {LARGEST_LABEL}"
        )
    return int(text)


def _color(parts, where: str) -> Color | None:
    """A colour of three parts 0 to 255, or all of them 0 to 1; or "#rrggbb"."""
    if parts is None:
        return None
    try:
        if isinstance(parts, str):
            numbers: list[float] = [int(parts.removeprefix("#")[n : n + 2], 16) for n in (0, 2, 4)]
        else:
            numbers = [float(part) for part in parts]
        if not isinstance(parts, str) and max(numbers) <= 1:
            numbers = [255 * n for n in numbers]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != 3 or not all(0 <= n <= 255 for n in numbers):
        shown = parts if isinstance(parts, str) else ", ".join(map(str, parts)) if isinstance(parts, list) else parts
        raise InputError(f"{where}: {shown!r} is not a colour; write red, green, blue, each 0 to 255")
    return three(n / 255 for n in numbers)
