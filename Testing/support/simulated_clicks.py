"""Where a user would click, made from the true outline: for the benchmarks and for training on synthetic scenes."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

Point = tuple[int, int]  # row, column
_INNER = 0.4  # of the largest depth of an error: hands do not place a correction nearer to its border


def innermost_point(mask: np.ndarray) -> Point:
    """The point of ``mask`` (bool ``[h, w]``, not empty) that is farthest from its outside."""
    row, column = np.unravel_index(_depth(mask).argmax(), mask.shape)
    return int(row), int(column)


def random_point(mask: np.ndarray, rng: np.random.Generator) -> Point:
    """A point of ``mask`` that is not right at its border."""
    depth = _depth(mask)
    rows, columns = np.nonzero(depth > min(2.0, depth.max() / 2))
    at = rng.integers(rows.size)
    return int(rows[at]), int(columns[at])


def drawn_stroke(mask: np.ndarray, rng: np.random.Generator) -> list[Point]:
    """The points of ``mask`` on the straight line between the farthest of four pairs of its random points."""
    pairs = [np.array([random_point(mask, rng), random_point(mask, rng)]) for _ in range(4)]
    start, end = max(pairs, key=lambda pair: np.hypot(*(pair[1] - pair[0])))
    line = np.linspace(start, end, int(np.abs(end - start).max()) + 1).round().astype(int)
    return [(row, column) for row, column in line.tolist() if mask[row, column]]


def corrective_point(
    answer: np.ndarray, truth: np.ndarray, rng: np.random.Generator | None = None
) -> tuple[Point, bool] | None:
    """A point in the largest connected error of ``answer``, and whether it belongs to the object; None if there is no error.

    :param rng: draws the point from the inner part of the error, as hands meet it; None: its innermost point.
    """
    wrong = answer != truth
    missing, excess = ndimage.label(truth & wrong), ndimage.label(answer & wrong)
    best, best_size, inside = None, 0, True
    for (parts, count), is_missing in ((missing, True), (excess, False)):
        if count:
            sizes = np.bincount(parts.ravel())
            sizes[0] = 0
            if sizes.max() > best_size:
                best, best_size, inside = parts == sizes.argmax(), sizes.max(), is_missing
    if best is None:
        return None
    if rng is None:
        return innermost_point(best), inside
    depth = _depth(best)
    rows, columns = np.nonzero(depth >= _INNER * depth.max())
    at = rng.integers(rows.size)
    return (int(rows[at]), int(columns[at])), inside


def _depth(mask: np.ndarray) -> np.ndarray:
    return ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
