"""The columns of a manifest: their names, what they hold, for which method they are, and how a cell is read.

A cell is a text (CSV, or JSON) or a JSON value; both are read by the same functions, which raise ValueError with what is
wrong and the remedy.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from ..few_shot.drawn_numbers import drawn_numbers
from ..images import AXES

_YES, _NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_BOTH = ("segment", "few-shot")


@dataclass(frozen=True)
class Column:
    """One column.

    :param read: text or JSON value -> value of the :class:`Case` field of the same name.
    :param methods: for which methods it has a meaning.
    """

    help: str
    read: Callable
    methods: tuple[str, ...] = (*_BOTH, "apply")


def words(value) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{_shown(value)} is no text")
    if any(ord(c) < 32 for c in value):
        raise ValueError(f"{_shown(value)} holds control characters; write it anew")
    return value.strip()


def label(value) -> str:
    """A text, or a whole number."""
    return words(str(value) if isinstance(value, int) and not isinstance(value, bool) else value)


def texts(value) -> tuple[str, ...]:
    """Texts, in a cell separated by ";"."""
    parts = value.split(";") if isinstance(value, str) else value
    if not isinstance(parts, list) or not parts:
        raise ValueError(f"{_shown(value)} is no list of texts")
    return tuple(words(part) for part in parts)


def optional_texts(value) -> tuple[str | None, ...]:
    """Texts, in a cell separated by ";", of which some may be empty (null)."""
    parts = value.split(";") if isinstance(value, str) else value
    if not isinstance(parts, list):
        raise ValueError(f"{_shown(value)} is no list of texts")
    return tuple(None if part is None or part == "" or str(part).isspace() else words(part) for part in parts)


def names(value) -> tuple[str, ...]:
    """Names, in a cell separated by commas; a list in JSON."""
    return texts(value) if isinstance(value, list) else (words(value),)


def switch(value) -> bool:
    """true or false."""
    text = str(value).strip().lower()
    if text not in _YES + _NO:
        raise ValueError(f"{_shown(value)} is neither true nor false")
    return text in _YES


def whole(low: int, high: int = 2**31 - 1) -> Callable:
    """A whole number from ``low`` to ``high``."""

    def read(value) -> int:
        number = _number(value)
        if number != int(number) or not low <= number <= high:
            raise ValueError(f"{_shown(value)} is not a whole number from {low} to {high}")
        return int(number)

    return read


def length(value) -> float:
    """Millimetres above 0."""
    number = _number(value)
    if number <= 0:
        raise ValueError(f"{_shown(value)} is not a length in mm above 0")
    return number


def one_of(*choices: str) -> Callable:
    """One of ``choices``."""

    def read(value) -> str:
        text = str(value).strip()
        if text not in choices:
            raise ValueError(f"{_shown(value)} is not one of {', '.join(choices)}")
        return text

    return read


def device_name(value) -> str:
    """Where it is computed."""
    text = str(value).strip()
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?|mps", text):
        raise ValueError(f"{_shown(value)} is no device; write auto, cpu, cuda, cuda:0 (the first card) or mps")
    return text


def slice_pair(value) -> tuple[int, int]:
    """ "A:B", both included, or one slice "K"; in JSON also [A, B] or K."""
    parts = value.split(":") if isinstance(value, str) else value if isinstance(value, list) else [value]
    if not 1 <= len(parts) <= 2:
        raise ValueError(f"{_shown(value)} are no slices; write FIRST:LAST or one number, counted from 0, e.g. 20:45")
    first, last = whole(0)(parts[0]), whole(0)(parts[-1])
    if first > last:
        raise ValueError(f"{_shown(value)} ends before it begins; write FIRST:LAST")
    return first, last


def positions(value) -> tuple[tuple[float, ...], ...]:
    """ "R,A,S; R,A,S; ..." in patient mm; in JSON also [[R, A, S], ...]."""
    return tuple(_numbers(part, (3,), "R,A,S in mm, e.g. -12.5,30,4") for part in _several(value))


def voxels(value) -> tuple[tuple[int, ...], ...]:
    """ "i,j,k; ..." or "i,j; ...", counted from 0; in JSON also [[i, j, k], ...]."""
    found = []
    for part in _several(value):
        numbers = _numbers(part, (2, 3), "i,j or i,j,k, whole numbers from 0, e.g. 120,80,14")
        found.append(tuple(whole(0)(number) for number in numbers))
    return tuple(found)


def drawn_slices(value) -> tuple[tuple[int, ...] | str | None, ...]:
    """ "K,K,...", ranges "A-B" or "all", one entry for each drawing, separated by ";"; in JSON also [K, ...] or
    [[K, ...], "all", null]."""
    if isinstance(value, list) and all(isinstance(part, int) for part in value):
        value = [value]
    entries = value.split(";") if isinstance(value, str) else value if isinstance(value, list) else [value]
    found = []
    for entry in entries:
        if entry is None or (isinstance(entry, str) and not entry.strip()):
            found.append(None)
        elif isinstance(entry, str):
            found.append(drawn_numbers(entry))
        else:
            numbers = [whole(0)(part) for part in (entry if isinstance(entry, list) else [entry])]
            found.append(drawn_numbers(",".join(map(str, numbers))))
    return tuple(found)


def assignments(value) -> tuple[str, ...]:
    """ "name=value; name=value"; in JSON also {"name": value}."""
    if isinstance(value, dict):
        value = [f"{name}={_setting_text(entry)}" for name, entry in value.items()]
    found = texts(value)
    for text in found:
        if "=" not in text:
            raise ValueError(f"{text!r} is not a setting; write NAME=VALUE, several separated by ';'")
    return found


COLUMNS = {
    "image": Column("the image: a file, or a folder with a DICOM series", words),
    "series": Column("number, UID or description of the DICOM series, if the folder holds several", label),
    "method": Column("segment, few-shot or apply; segment without this column", one_of("segment", "few-shot", "apply")),
    "output": Column(
        "name of the result inside the output folder; without an ending .seg.nrrd, with .dcm DICOM SEG; without it the image's",
        words,
    ),
    "frame": Column("frame of a 4D image, counted from 0", whole(0)),
    "axis": Column("axis across the slices: auto, x, y, z", one_of("auto", *AXES), _BOTH),
    "slices": Column("only these slices: FIRST:LAST or one number, counted from 0", slice_pair, _BOTH),
    "points": Column("inside the object: R,A,S in mm; several separated by ';'", positions, ("segment",)),
    "not_points": Column("outside the object: R,A,S in mm", positions, ("segment",)),
    "pixels": Column("inside the object: i,j,k counted from 0", voxels, ("segment",)),
    "not_pixels": Column("outside the object: i,j,k counted from 0", voxels, ("segment",)),
    "radius": Column("rough radius of the object in mm", length, ("segment",)),
    "regions": Column("number of regions without points, 2 to 16", whole(2, 16), ("segment",)),
    "regions_only": Column("true: leave the automatic object out", switch, ("segment",)),
    "support": Column("the drawing; several files separated by ';'", texts, ("few-shot",)),
    "support_image": Column(
        "the image that the drawing belongs to, if it is another one", optional_texts, ("few-shot",)
    ),
    "drawn": Column(
        "the drawn slices: numbers and ranges, 12,30-33, or all (also the empty ones); without it those that hold labels; "
        "one entry for each drawing, separated by ';'",
        drawn_slices,
        ("few-shot",),
    ),
    "labels": Column(
        "names of the values of a drawing that is a plain label map: a file with lines VALUE,NAME (see s3net few-shot --help)",
        words,
        ("few-shot",),
    ),
    "segments": Column("only these segments of the drawing, separated by commas", names, ("few-shot",)),
    "partial": Column("true: only what lies near the drawing is background", switch, ("few-shot",)),
    "encoder": Column("auto, default (none), dinov2-... or a file of weights", words, ("few-shot",)),
    "model": Column("the model file", words, ("apply",)),
    "preset": Column("default or paper", one_of("default", "paper"), ("segment",)),
    "settings": Column("NAME=VALUE; several separated by ';' ('s3net settings' lists them)", assignments, _BOTH),
    "seed": Column("random seed", whole(0), _BOTH),
    "device": Column("auto, cpu, cuda, cuda:N or mps; without it what --device says", device_name),
    "confidence": Column("true: also write NAME_confidence.nii.gz", switch),
}
PATH_COLUMNS = ("image", "support", "support_image", "labels", "model")


def _number(value) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{_shown(value)} is not a number")
    return number


def _numbers(value, counts: tuple[int, ...], form: str) -> tuple[float, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    try:
        numbers = tuple(_number(part) for part in parts)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) not in counts:
        raise ValueError(f"{_shown(value)} is not a position; write {form}")
    return numbers


def _several(value) -> list:
    if isinstance(value, str):
        return [part for part in re.split(r"\s*;\s*", value.strip()) if part]
    if isinstance(value, list) and value and not any(isinstance(part, list | str) for part in value):
        return [value]
    if not isinstance(value, list) or not value:
        raise ValueError(f"{_shown(value)} is no list of positions")
    return value


def _setting_text(value) -> str:
    if isinstance(value, list):
        return ",".join(map(_setting_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _shown(value) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
