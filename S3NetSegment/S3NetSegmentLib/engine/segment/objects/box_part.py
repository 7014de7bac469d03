"""``BoxPart``: the part of a slice around a box in which its object is searched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...common.arrays import two

Point = tuple[int, int]  # row, column
SIDE_ERROR = 0.07  # standard deviation of a side of a hand-drawn box, as a share of its length
MOST_ROOM = 0.25  # that a hand leaves on all sides of an object, as a share of them
_SURROUNDINGS = 0.35  # of the box that are looked at, as a share of its sides
_LEAST_SURROUNDINGS = 4.0  # pixels
_LARGEST_PART = 112  # samples along a side; a larger part is thinned out
_PROBES = ((0, 0), (-0.25, 0), (0.25, 0), (0, -0.25), (0, 0.25))  # from the middle of the box, in shares of its sides


@dataclass(frozen=True)
class BoxPart:
    """The part of a slice around a box, thinned out where it is large.

    :param rows, columns: of the slice. ``step``: only every so many of them are looked at.
    :param edges: top, bottom, left and right of the box in samples of the part, counted from the outer corner.
    :param box: bool ``[h, w]``, the samples in the box that may belong to the object; ``room``, ``reach``: those that may belong to a
        candidate and to the answer, which may go beyond the box by two errors of its sides and by one.
    :param radius: see ``elliptic_radius``.
    """

    rows: slice
    columns: slice
    step: int
    edges: np.ndarray
    box: np.ndarray
    room: np.ndarray
    reach: np.ndarray
    radius: np.ndarray

    @classmethod
    def around(cls, shape: tuple[int, int], edges: Sequence[float], excluded: np.ndarray | None = None) -> BoxPart:
        """:param edges: of the box in pixels of the slice. ``excluded``: bool ``shape``, what the object must not hold."""
        sides = np.asarray(edges, float)
        ranges, lengths = [], []
        for (low, high), length in zip(sides.reshape(2, 2), shape, strict=True):
            margin = max(_LEAST_SURROUNDINGS, _SURROUNDINGS * (high - low))
            ranges.append((max(0, int(np.floor(low - margin))), min(length, int(np.ceil(high + margin)))))
            lengths.append(ranges[-1][1] - ranges[-1][0])
        step = -(-max(lengths) // _LARGEST_PART)
        rows, columns = (slice(first, last, step) for first, last in ranges)
        own = (sides - np.repeat([rows.start, columns.start], 2)) / step
        size = two(len(range(s.start, s.stop, step)) for s in (rows, columns))
        beyond = np.repeat(sides[1::2] - sides[::2], 2) / step * (-1, 1, -1, 1)
        box, room, reach = (_rectangle(size, own + errors * SIDE_ERROR * beyond) for errors in (0, 2, 1))
        if excluded is not None:
            box, room, reach = (area & ~excluded[rows, columns] for area in (box, room, reach))
        return cls(rows, columns, step, own, box, room, reach, elliptic_radius(size, own))

    def of(self, array: np.ndarray) -> np.ndarray:
        return array[self.rows, self.columns]

    def samples(self, points: Sequence[Point]) -> np.ndarray:
        """The samples of this part at points (row, column) of the slice that may belong to a candidate, ``[2, n]``."""
        places = np.array(points, int).reshape(-1, 2).T - [[self.rows.start], [self.columns.start]]
        found = places // self.step
        found = found[:, ((found >= 0) & (found < np.array([self.box.shape]).T)).all(0)]
        return found[:, self.room[tuple(found)]]

    def probes(self) -> list[Point]:
        """The middle of the box and four samples around it, those that may belong to the object."""
        top, bottom, left, right = self.edges
        places = (
            ((top + bottom) / 2 + down * (bottom - top), (left + right) / 2 + across * (right - left))
            for down, across in _PROBES
        )
        height, width = self.box.shape
        found = [(int(np.clip(y, 0, height - 1)), int(np.clip(x, 0, width - 1))) for y, x in places]
        return [p for p in dict.fromkeys(found) if self.box[p]]

    def whole(self, soft: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """``soft`` (0 to 1, ``[h, w]`` of this part) cut at a half on the slice, bool ``shape``."""
        out = np.zeros(shape, bool)
        values = soft.astype(np.float32)
        for axis, place in enumerate((self.rows, self.columns) if self.step > 1 else ()):
            at = np.arange(place.stop - place.start) / self.step
            first = np.minimum(at.astype(int), values.shape[axis] - 1)
            second = np.minimum(first + 1, values.shape[axis] - 1)
            share = np.expand_dims((at - first).astype(np.float32), 1 - axis)
            values = (1 - share) * np.take(values, first, axis) + share * np.take(values, second, axis)
        out[self.rows.start : self.rows.stop, self.columns.start : self.columns.stop] = values > 0.5
        return out


def _rectangle(size: tuple[int, int], edges: np.ndarray) -> np.ndarray:
    """The samples between ``edges``, at least one; bool ``size``."""
    box = np.zeros(size, bool)
    (top, left), (bottom, right) = np.floor(edges[[0, 2]] + 0.5).astype(int), np.ceil(edges[[1, 3]] - 0.5).astype(int)
    top, left = min(max(top, 0), size[0] - 1), min(max(left, 0), size[1] - 1)
    box[top : max(bottom, top + 1), left : max(right, left + 1)] = True
    return box


def elliptic_radius(shape: tuple[int, int], edges: np.ndarray) -> np.ndarray:
    """Distance from the middle of a box, 1 on the ellipse that fills it; float ``[h, w]``.

    :param edges: top, bottom, left and right of the box in pixels, counted from the outer corner of the first one.
    """
    top, bottom, left, right = edges
    rows = (np.arange(shape[0])[:, None] + 0.5 - (top + bottom) / 2) / max((bottom - top) / 2, 0.5)
    columns = (np.arange(shape[1])[None] + 0.5 - (left + right) / 2) / max((right - left) / 2, 0.5)
    return np.sqrt(rows**2 + columns**2)
