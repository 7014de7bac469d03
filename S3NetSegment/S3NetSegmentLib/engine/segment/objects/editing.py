"""A further point changes an object by the region that it most likely stands for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from ...common.masks import box_around
from .candidates import EIGHT

Point = tuple[int, int]
_LARGEST_ADDITION, _LARGEST_REMOVAL = 1.5, 0.7  # shares of the object that one point may add or remove
# People click in the middle of what is wrong. A change counts (depth of the point in it / its largest depth) ** power.
_CENTRE_POWER = 3.0
# The log-probability below which a plain spot around the point is the better guess, and its radius in pixels.
_SPOT_SCORE = -6.0
_SPOT_RADIUS = 4.0


def edited_mask(
    mask: np.ndarray, point: Point, add: bool, regions: np.ndarray, scores: np.ndarray, protected: Sequence[Point]
) -> np.ndarray:
    """``mask`` with the part at ``point`` of the most fitting of ``regions`` added or removed; bool ``[h, w]``.

    :param regions: bool ``[n, h, w]``, candidates at the point.
    :param scores: their log-probabilities, ``[n]``.
    :param protected: points that must stay as they are; what would change one of them is not used.
    """
    area = max(1, int(np.count_nonzero(mask)))
    limit = (_LARGEST_ADDITION if add else _LARGEST_REMOVAL) * area
    best, best_score = None, _SPOT_SCORE
    for i in np.argsort(-scores, kind="stable"):
        if scores[i] <= best_score:
            break  # the middle can only lower a score
        change = regions[i] & ~mask if add else regions[i] & mask
        if not change[point]:
            continue
        box = box_around(change)
        parts, _ = ndimage.label(change[box], EIGHT)
        at = (point[0] - box[0].start, point[1] - box[1].start)
        change[box] = parts == parts[at]
        if np.count_nonzero(change) > limit or any(change[p] for p in protected):
            continue
        score = scores[i] + _CENTRE_POWER * np.log(_centrality(change, point))
        if score > best_score:
            best, best_score = change, score
    if best is None:
        best = _spot(mask.shape, point, protected)
    return mask | best if add else mask & ~best


def _centrality(change: np.ndarray, point: Point) -> float:
    """Depth of ``point`` in the change as a share of its largest depth, above 0 to 1."""
    box = box_around(change)
    depth = ndimage.distance_transform_edt(np.pad(change[box], 1))
    return float(depth[point[0] - box[0].start + 1, point[1] - box[1].start + 1] / depth.max())


def _spot(shape: tuple[int, int], point: Point, protected: Sequence[Point]) -> np.ndarray:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    spot = (rows - point[0]) ** 2 + (columns - point[1]) ** 2 <= _SPOT_RADIUS**2
    for p in protected:
        spot[p] = False
    spot[point] = True
    return spot
