"""The forms in which people write the values of tasks: on the command line, in a cell of a manifest, in JSON, in a script.

A value is a text or what JSON can hold; both are read by the same functions, which raise ValueError with what is wrong and
the remedy.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from ..common.numbers import finite
from .drawn_numbers import drawn_numbers

ALL_FRAMES = "all"
COMPUTING = "computing"  # heading of the options that every method has
AXES = ("x", "y", "z")
_MOST = 2**31 - 1
_YES, _NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def words(value) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{_shown(value)} is not a text")
    if any(ord(c) < 32 for c in value):
        raise ValueError(f"{_shown(value)} holds control characters; write it anew")
    return value.strip()


def label(value) -> str:
    """A text, or a whole number."""
    return words(str(value) if isinstance(value, int) and not isinstance(value, bool) else value)


def optional_texts(value) -> tuple[str | None, ...]:
    """Texts, in a cell separated by ";", of which some may be empty (null)."""
    parts = value.split(";") if isinstance(value, str) else value
    if not isinstance(parts, list):
        raise ValueError(f"{_shown(value)} is not a list of texts")
    return tuple(None if part is None or not str(part).strip() else words(part) for part in parts)


def texts(value) -> tuple[str, ...]:
    """Texts, in a cell separated by ";"."""
    parts = value.split(";") if isinstance(value, str) else value
    if not isinstance(parts, list) or not parts:
        raise ValueError(f"{_shown(value)} is not a list of texts")
    return tuple(map(words, parts))


def name_list(value) -> str:
    """Names separated by commas."""
    if not (text := words(value)).strip(" ,"):
        raise ValueError(f"{_shown(value)} names no segment; write names as in the drawing, e.g. liver,spleen")
    return text


def names(value) -> tuple[str, ...]:
    """Names, in a cell separated by commas; a list in JSON."""
    return texts(value) if isinstance(value, list) else (name_list(value),)


def switch(value) -> bool:
    """true or false."""
    text = str(value).strip().lower()
    if text not in _YES + _NO:
        raise ValueError(f"{_shown(value)} is neither true nor false")
    return text in _YES


def whole(low: int, high: int = _MOST) -> Callable:
    """A whole number from ``low`` to ``high``."""

    def read(value) -> int:
        number = _number(value)
        if number != int(number) or not low <= number <= high:
            limits = f"from {low} to {high}" if high < _MOST or number > high else f"of {low} or more"
            raise ValueError(f"{_shown(value)} is not a whole number {limits}")
        return int(number)

    return read


def frame(value) -> int | str:
    """A frame of a 4D image, counted from 0, or "all" for each of them."""
    if isinstance(value, str) and value.strip() == ALL_FRAMES:
        return ALL_FRAMES
    try:
        return whole(0)(value)
    except ValueError as error:
        raise ValueError(f"{error}; write a frame, counted from 0, or {ALL_FRAMES}") from None


def positive(what: str, most: float) -> Callable:
    """A number above 0, up to ``most``; ``what`` it is, for messages."""

    def read(value) -> float:
        number = 0.0 if isinstance(value, bool) else finite(value, 0.0)
        if not 0 < number <= most:
            raise ValueError(f"{_shown(value)} is not {what} above 0")
        return number

    return read


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
        raise ValueError(f"{_shown(value)} is not a device; write auto, cpu, cuda, cuda:0 (the first card) or mps")
    return text


def slice_pair(value) -> tuple[int, int]:
    """ "A:B", both included, or one slice "K"; in JSON also [A, B] or K."""
    parts = value.split(":") if isinstance(value, str) else value if isinstance(value, list) else [value]
    try:
        first, last = (whole(0)(part) for part in (parts * 2 if len(parts) == 1 else parts))
    except ValueError:
        raise ValueError(
            f"{_shown(value)} are not slices; write FIRST:LAST or one number, counted from 0, e.g. 20:45"
        ) from None
    if first > last:
        raise ValueError(f"{_shown(value)} ends before it begins; write FIRST:LAST")
    return first, last


def several(one: Callable) -> Callable:
    """Values that ``one`` reads, in a cell separated by ";"; in JSON a list of them, or one."""

    def read(value) -> tuple:
        return tuple(map(one, _several(value)))

    return read


def position(value) -> tuple[float, ...]:
    """R,A,S in patient mm; in JSON also [R, A, S]."""
    return _numbers(value, (3,), "a position", "R,A,S in mm, e.g. -12.5,30,4")


def voxel(value) -> tuple[int, ...]:
    """i,j,k or i,j, counted from 0; in JSON also [i, j, k]."""
    written = "i,j or i,j,k, whole numbers from 0, e.g. 120,80,14"
    numbers = _numbers(value, (2, 3), "a pixel", written)
    if any(number != int(number) for number in numbers):
        raise ValueError(f"{_shown(value)} is not a pixel; write {written}")
    if min(numbers) < 0:
        raise ValueError(f"{_shown(value)} is outside the image; pixels are counted from 0")
    return tuple(map(int, numbers))


def box(value) -> tuple[int, ...]:
    """Two opposite corners, both included: i,j,k,i,j,k, or i,j,i,j where there is one slice; in JSON also [i, j, k, i, j, k].
    What reaches beyond the image is cut off later, so numbers below 0 are corners, too."""
    written = "two corners, i,j,k,i,j,k (or i,j,i,j in a picture), whole numbers, e.g. 80,60,14,130,110,14"
    numbers = _numbers(value, (4, 6), "a box", written)
    if any(number != int(number) or abs(number) > _MOST for number in numbers):
        raise ValueError(f"{_shown(value)} is not a box; write {written}")
    return tuple(map(int, numbers))


def named_box(value) -> tuple[str, tuple[int, ...]]:
    """NAME=i,j,k,i,j,k: a box and the segment that it shows."""
    name, equals, corners = words(value).rpartition("=")
    try:
        if not equals or not name.strip() or len(found := box(corners)) != 6:
            raise ValueError
    except ValueError:
        raise ValueError(
            f"{_shown(value)} is not a named box; write NAME=i,j,k,i,j,k, whole numbers, e.g. liver=80,60,14,130,110,14"
        ) from None
    return name.strip(), found


def named_boxes(value) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """ "NAME=i,j,k,i,j,k; ..."; in JSON also {"NAME": [[i, j, k, i, j, k], ...]}."""
    if isinstance(value, dict):
        value = [
            f"{name}={','.join(map(str, corners))}" for name, own in value.items() for corners in several(box)(own)
        ]
    elif isinstance(value, str):
        value = [part for part in value.split(";") if part.strip()]
    return tuple(map(named_box, texts(value)))


def box_mm(value) -> tuple[float, ...]:
    """R,A,S,R,A,S in patient mm: two opposite corners; in JSON also [R, A, S, R, A, S]."""
    return _numbers(value, (6,), "a box", "two corners, R,A,S,R,A,S in mm, e.g. -40,10,32,25,60,32")


def stroke(value) -> tuple[tuple[int, ...], ...]:
    """ "i,j,k;i,j,k;..." (or i,j): the corners of a line; in JSON also [[i, j, k], ...]."""
    found = several(voxel)(value)
    if not found:
        raise ValueError(f"{_shown(value)} is not a stroke; write its points, i,j,k;i,j,k;..., e.g. 90,70,14;110,85,14")
    if len({len(point) for point in found}) > 1:
        raise ValueError(f"{_shown(value)} mixes i,j and i,j,k; write all points of a stroke alike")
    return found


def strokes(value) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """ "i,j,k;i,j,k | i,j,k;i,j,k": strokes separated by "|"; in JSON also [[[i, j, k], ...], ...]."""
    if isinstance(value, str):
        value = [part for part in value.split("|") if part.strip()]
    elif isinstance(value, list) and all(isinstance(part, list) for part in value):
        value = value if any(isinstance(entry, list | str) for part in value for entry in part) else [value]
    if not isinstance(value, list) or not value:
        raise ValueError(f"{_shown(value)} is not a list of strokes")
    return tuple(map(stroke, value))


def drawn_slices(value) -> tuple[tuple[int, ...] | str | None, ...]:
    """ "K,K,...", ranges "A-B" or "all", one entry for each drawing, separated by ";"; in JSON also [K, ...] or
    [[K, ...], "all", null]."""
    if isinstance(value, list) and all(isinstance(part, int) for part in value):
        value = [value]
    entries = value.split(";") if isinstance(value, str) else value if isinstance(value, list) else [value]
    found: list[tuple[int, ...] | str | None] = []
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
    return tuple(map(assignment, texts(value)))


def assignment(value) -> str:
    """ "name=value"."""
    if "=" not in (text := words(value)):
        raise ValueError(f"{text!r} is not a setting; write NAME=VALUE, e.g. work_size=128")
    return text


def _number(value) -> float:
    number = None if isinstance(value, bool) else finite(value, None)
    if number is None:
        raise ValueError(f"{_shown(value)} is not a number")
    return number


def _numbers(value, counts: tuple[int, ...], what: str, form: str) -> tuple[float, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    try:
        numbers = tuple(_number(part) for part in parts)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) not in counts:
        raise ValueError(f"{_shown(value)} is not {what}; write {form}")
    return numbers


def _several(value) -> list:
    if isinstance(value, str):
        return [part for part in re.split(r"\s*;\s*", value.strip()) if part]
    if isinstance(value, list) and value and not any(isinstance(part, list | str) for part in value):
        return [value]
    if not isinstance(value, list) or not value:
        raise ValueError(f"{_shown(value)} is not a list of positions")
    return value


def _setting_text(value) -> str:
    if isinstance(value, list):
        return ",".join(map(_setting_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _shown(value) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def written(value) -> str:
    """A text, a number, numbers separated by commas, or rows of them separated by ";"."""
    if isinstance(value, tuple):
        return (";" if value and isinstance(value[0], tuple) else ",").join(map(written, value))
    return str(value)


@dataclass(frozen=True)
class Form:
    """How a value is written.

    :param read: text or JSON value -> value of the field; ValueError says what is wrong and what to write.
    :param metavar: for the help of the command line.
    :param one: for a form that holds several: reads one of them; the option may then be repeated.
    :param choices: what may be written, where that is a short list.
    :param write: value of the field (or of one of several) -> the text that :attr:`read` (or :attr:`one`) reads.
    :param is_path: whether it names files or folders; in a manifest they are relative to its own folder.
    """

    read: Callable
    metavar: str = ""
    one: Callable | None = None
    choices: tuple[str, ...] = ()
    is_path: bool = False
    write: Callable = written

    @property
    def is_switch(self) -> bool:
        return self.read is switch


def choice(*choices: str) -> Form:
    """One of a few words."""
    return Form(one_of(*choices), "{" + ",".join(choices) + "}", choices=choices)


TEXT = Form(words, "TEXT")
PATH = Form(words, "FILE", is_path=True)
SWITCH = Form(switch)
POSITIONS = Form(several(position), "R,A,S", one=position)
VOXELS = Form(several(voxel), "i,j[,k]", one=voxel)
BOXES = Form(several(box), "i,j,k,i,j,k", one=box)
NAMED_BOXES = Form(named_boxes, "NAME=i,j,k,i,j,k", one=named_box)
BOXES_MM = Form(several(box_mm), "R,A,S,R,A,S", one=box_mm)
STROKES = Form(strokes, "'i,j,k;i,j,k;...'", one=stroke)
SLICES = Form(slice_pair, "A:B", write=lambda pair: f"{pair[0]}:{pair[1]}")
LENGTH = Form(positive("a length in mm", math.inf), "MM")
MINUTES = Form(positive("a number of minutes", 1e6), "M")
SETTINGS = Form(assignments, "NAME=VALUE", one=assignment)
SEED = Form(whole(0, 2**31 - 1), "S")
NAMES = Form(names, "NAME,...", one=name_list)
AXIS = choice("auto", *AXES)
DEVICE = Form(device_name, "{auto,cpu,cuda,mps}")
