"""The object in a box: all candidates vote, each the more, the better it fits the box."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from ...common.errors import InputError
from .box_candidates import MADE_SOURCES, NAMES, BoxCandidates, BoxPart, Point, box_candidates
from .ranked import NEARLY_EQUAL, Opinions, RankedCandidates, best_first, dice_matrix, rank_ladder
from .slice_features import SliceStatistics

# Chosen on development slices: a candidate of one point more is e times as likely.
WEIGHTS = {
    "box_overlap": 12.0, "leak": -4.0, "colours_dice": 1.5, "contrast_inside": 0.5, "held_points": 6.0
}  # fmt: skip
# A hand-drawn box is a little larger or smaller than the object: among candidates that fit better than this, fit decides nothing.
_WELL_FITTED = 0.92
CERTAINTY = 1.0
ISLAND = 0.1  # of the largest part: smaller ones are left out
_VOTE_AHEAD = 1.0  # how much better than the best candidate the mask counts that they all vote for


def scores_of(candidates: BoxCandidates) -> np.ndarray:
    """Like log-probabilities up to a constant, ``[n]``."""
    columns = {name: candidates.column(name) for name in WEIGHTS}
    columns["box_overlap"] = np.minimum(columns["box_overlap"], _WELL_FITTED)
    total = np.zeros(len(columns["box_overlap"]))
    for name, weight in WEIGHTS.items():
        total += weight * columns[name]
    return total


def vote(candidates: BoxCandidates, scores: np.ndarray) -> np.ndarray:
    """The probability that each sample belongs to the object, ``[h, w]``."""
    shares = np.exp(CERTAINTY * (scores - scores.max()))
    return np.tensordot(shares / shares.sum(), candidates.masks.astype(np.float32), 1)


def without_islands(soft: np.ndarray, held: Sequence[Point]) -> np.ndarray:
    """``soft`` with 0 in parts that are far smaller than the largest one and hold no marked point: a vote of many candidates
    leaves such crumbs where a few of them agree."""
    parts, count = ndimage.label(soft > 0.5)
    if count < 2:
        return soft
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    small = sizes < ISLAND * sizes.max()
    small[[0, *(parts[p] for p in held)]] = False
    return np.where(small[parts], 0, soft)


def ranked_in_box(
    maps: dict[str, list[np.ndarray]],
    statistics: SliceStatistics,
    edges: Sequence[float],
    *,
    inside: Sequence[Point] = (),
    excluded: np.ndarray | None = None,
) -> RankedCandidates:
    """The candidates for the object in a box of the slice, and as the best one what they vote for.

    :param edges: top, bottom, left and right in pixels, counted from the outer corner of the slice.
    :param inside: pixels of the object. ``excluded``: bool ``[h, w]``, what it must not hold.
    """
    shape = statistics.shape
    part = BoxPart.around(shape, edges, excluded)
    if not part.box.any():
        raise InputError(
            "all of the box belongs to other segments, which the object must not touch; draw it elsewhere, or allow overlap"
        )
    held = [part.sample(p) for p in inside if part.box[part.sample(p)]]
    candidates = box_candidates(maps, statistics, part, held)
    scores = scores_of(candidates)
    soft = without_islands(vote(candidates, scores), held)
    voted = soft > 0.5 if (soft > 0.5).any() else candidates.masks[scores.argmax()]
    masks = np.concatenate((candidates.masks, voted[None]))
    scores = np.append(scores, scores.max() + _VOTE_AHEAD)
    overlap = dice_matrix(masks)
    last = len(masks) - 1
    order = [
        last,
        *(n for n in best_first(scores, overlap, CERTAINTY) if n != last and overlap[n, last] <= NEARLY_EQUAL),
    ]
    sizes = masks.sum((1, 2))
    ladder = sorted(order, key=lambda n: (sizes[n], n))
    whole = [part.whole(soft if n == last and (soft > 0.5).any() else masks[n], shape) for n in ladder]
    table = np.concatenate((candidates.table, np.zeros((1, len(NAMES)))))
    votes = np.pad(candidates.votes, ((0, 1), (0, 1)))
    votes[-1, -1] = 1
    told = Opinions(
        NAMES, table, np.zeros(len(scores)), scores, (*maps, *MADE_SOURCES, "vote"), votes, CERTAINTY
    )  # fmt: skip
    middle = (int(np.mean(edges[:2])), int(np.mean(edges[2:])))
    ranked = rank_ladder(ladder, whole, order, scores, overlap, CERTAINTY)
    return ranked.told_by(told, tuple(min(max(p, 0), n - 1) for p, n in zip(middle, shape, strict=True)))
