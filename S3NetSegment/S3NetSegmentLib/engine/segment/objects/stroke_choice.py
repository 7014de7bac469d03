"""The object that a stroke runs through: what is found at several of its points, judged by how much of the stroke it holds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import logsumexp

from .ranked import Opinions, RankedCandidates, rank

Point = tuple[int, int]
PROBES = 5  # points of a stroke at which objects are searched
_HOLDING = 10.0  # how much less likely a candidate is that misses the stroke, or holds what was marked outside
_ENOUGH = 0.9  # share of the stroke that one of the candidates holds, or those of all points are joined


def spread_points(points: Sequence[Point], most: int = PROBES) -> list[Point]:
    """At most ``most`` of the points, evenly spread over the stroke."""
    distinct = list(dict.fromkeys(points))
    if len(distinct) <= most:
        return distinct
    places = np.round((np.arange(most) + 0.5) * len(distinct) / most - 0.5).astype(int)
    return [distinct[n] for n in places]


def ranked_along(objects, stroke: Sequence[Point], outside: Sequence[Point] = ()) -> RankedCandidates:
    """The candidates for the object that ``stroke`` (pixels of the slice) runs through.

    :param objects: ``SliceObjects``, which measures the candidates at a point.
    :param outside: pixels that do not belong to it.
    """
    rows: dict[bytes, list] = {}  # mask -> [mask, features, learned, hand, votes, score]
    best = []
    for point in spread_points(stroke):
        measured, told = objects.measured(point), objects.opinions(point)
        scores = told.learned + told.hand
        scores = scores - logsumexp(scores)
        best.append((measured.candidates.masks[scores.argmax()], scores.max()))
        columns = (measured.candidates.masks, told.table, told.learned, told.hand, told.votes, scores)
        for row in zip(*columns, strict=True):
            held = rows.setdefault(np.packbits(row[0]).tobytes(), list(row))
            if row[-1] > held[-1]:
                held[:] = row
    if max(_share(row[0], stroke) for row in rows.values()) < _ENOUGH:
        joined = np.any([mask for mask, _ in best], 0)
        zeros = np.zeros(len(told.names))
        rows[b""] = [joined, zeros, 0.0, 0.0, np.zeros(len(told.sources), int), float(np.mean([s for _, s in best]))]
    masks, table, learned, _, votes, scores = (np.array(column) for column in zip(*rows.values(), strict=True))
    holds = np.array([_share(mask, stroke) - 1 for mask in masks]) - [_share(mask, outside) for mask in masks]
    scores = scores + _HOLDING * holds
    ranked = rank(masks, scores, certainty=told.certainty)
    opinions = Opinions(told.names, table, learned, scores - learned, told.sources, votes, told.certainty)
    return ranked.told_by(opinions, stroke[len(stroke) // 2])


def _share(mask: np.ndarray, points: Sequence[Point]) -> float:
    return float(np.mean([mask[p] for p in points])) if len(points) else 0.0
