"""Learning curves as a picture, drawn with numpy alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from ...images.colors import label_colors

_WIDTH, _HEIGHT, _LEFT, _BELOW, _ABOVE, _RIGHT = 640, 220, 62, 24, 22, 14
_INK, _GRID = (40, 40, 40), (225, 225, 225)
# 3 x 5 pixels each, rows from above, as octal digits.
_GLYPHS = {
    "0": "75557", "1": "26227", "2": "71747", "3": "71717", "4": "55711", "5": "74717", "6": "74757", "7": "71122",
    "8": "75757", "9": "75717", ".": "00002", "-": "00700", "+": "02720", "e": "03743", "k": "45655", "M": "57755",
    "a": "03553", "b": "46556", "c": "03443", "d": "13553", "f": "32722", "g": "35317", "h": "46555", "i": "20222",
    "l": "22221", "m": "06775", "n": "06555", "o": "02552", "p": "65644", "q": "35311", "r": "03444", "s": "03436",
    "t": "27221", "u": "05557", "v": "05552", "w": "05776", "x": "05225", "y": "55312", "z": "07247", " ": "00000",
    "_": "00007", "j": "10152",
}  # fmt: skip


def first_with(entries: Iterable[Mapping], part: str) -> int | None:
    """The first step of the ``entries`` of a log whose loss has this part; None if none has."""
    return next((e["step"] for e in entries if "event" not in e and e.get(part) is not None), None)


def draw_curves(
    curves: Mapping[str, Sequence[tuple[float, float]]], marks: Mapping[str, float] | None = None
) -> np.ndarray:
    """One diagram below the other, one for each curve of (step, value) points; uint8 ``[H, W, 3]``. Values that are no
    numbers are left out. A curve with many points is drawn pale, with its running mean on it.

    :param marks: what begins at a step -> that step; shown as a line with its name in every diagram.
    """
    diagrams = enumerate(curves.items())
    return np.concatenate(
        [_diagram(name, points, label_colors(n + 1)[n], marks or {}) for n, (name, points) in diagrams]
    )


def _diagram(name: str, points: Sequence[tuple[float, float]], color, marks: Mapping[str, float]) -> np.ndarray:
    picture = np.full((_HEIGHT, _WIDTH, 3), 255, np.uint8)
    data = np.array([(x, y) for x, y in points if y is not None and np.isfinite(y)], float).reshape(-1, 2)
    write_text(picture, 6, _LEFT, name)
    if not len(data):
        return picture
    low, high = data[:, 1].min(), data[:, 1].max()
    margin = 0.05 * (high - low) or max(abs(high) * 0.05, 1e-3)
    ticks_y = _ticks(low - margin, high + margin, 4)
    ticks_x = _ticks(0, max(1.0, data[:, 0].max()), 6)
    box = (0.0, max(1.0, data[:, 0].max()), low - margin, high + margin)
    for y in ticks_y:
        row = _place(box, 0, y)[0]
        picture[row, _LEFT : _WIDTH - _RIGHT] = _GRID
        text = _short(y)
        write_text(picture, row - 5, _LEFT - 8 * len(text) - 4, text)
    for x in ticks_x:
        column = _place(box, x, low)[1]
        picture[_ABOVE : _HEIGHT - _BELOW, column] = _GRID
        text = _short(x)
        write_text(picture, _HEIGHT - _BELOW + 7, column - 4 * len(text), text)
    for text, x in marks.items():
        if not 0 <= x <= box[1]:
            continue
        column = _place(box, x, low)[1]
        picture[_ABOVE : _HEIGHT - _BELOW, column][::3] = _INK  # dotted
        write_text(picture, _ABOVE + 3, max(_LEFT, min(column + 4, _WIDTH - _RIGHT - 8 * len(text))), text)
    rgb = np.array(color) * 255
    many = len(data) > 40
    _polyline(picture, box, data, 0.4 * rgb + 0.6 * 255 if many else rgb, 1)
    if many:
        width = max(3, len(data) // 20)
        kernel = np.ones(width) / width
        smooth = np.stack([np.convolve(data[:, c], kernel, "valid") for c in (0, 1)], 1)
        _polyline(picture, box, smooth, 0.8 * rgb, 2)
    return picture


def write_text(picture: np.ndarray, top: int, left: int, text: str) -> None:
    """Writes ``text`` (lower case letters, digits) in small pixels into ``picture``."""
    for character in text:
        glyph = _GLYPHS.get(character, "00000")
        bits = np.array([[int(d) >> b & 1 for b in (2, 1, 0)] for d in glyph], bool).repeat(2, 0).repeat(2, 1)
        part = picture[max(0, top) : top + 10, max(0, left) : left + 6]
        part[bits[: part.shape[0], : part.shape[1]]] = _INK
        left += 8


def _polyline(picture: np.ndarray, box, data: np.ndarray, color, width: int) -> None:
    places = np.array([_place(box, x, y) for x, y in data])
    for (r0, c0), (r1, c1) in pairwise(places if len(places) > 1 else [places[0]] * 2):
        count = max(abs(r1 - r0), abs(c1 - c0), 1) + 1
        rows, columns = np.rint(np.linspace(r0, r1, count)).astype(int), np.rint(np.linspace(c0, c1, count)).astype(int)
        for down in range(width):
            picture[np.clip(rows + down, 0, _HEIGHT - 1), columns] = color


def _place(box, x: float, y: float) -> tuple[int, int]:
    """Row and column of a value."""
    along, up = (x - box[0]) / (box[1] - box[0]), (y - box[2]) / (box[3] - box[2])
    row = _HEIGHT - _BELOW - 1 - up * (_HEIGHT - _BELOW - _ABOVE - 1)
    return round(row), round(_LEFT + along * (_WIDTH - _LEFT - _RIGHT - 1))


def _ticks(low: float, high: float, count: int) -> list[float]:
    """Round numbers from ``low`` to ``high``, about ``count``."""
    raw = (high - low) / count
    unit = 10.0 ** np.floor(np.log10(raw))
    step = unit * next(m for m in (1, 2, 5, 10) if m * unit >= raw)
    return [float(n * step) for n in range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1)]


def _short(value: float) -> str:
    if value != 0 and (abs(value) >= 1e6):
        return f"{value / 1e6:g}M"
    if abs(value) >= 1e4:
        return f"{value / 1e3:g}k"
    return f"{value:.4g}"
