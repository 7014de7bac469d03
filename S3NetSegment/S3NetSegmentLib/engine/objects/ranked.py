"""``RankedCandidates``: candidate masks of one object from small to large, with their scores; and how masks overlap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

CLEARLY_DIFFERENT = 0.85  # masks of a lower Dice coefficient are offered as different answers
NEARLY_EQUAL = 0.97  # masks of a higher one are one step of the ladder


@dataclass(frozen=True)
class RankedCandidates:
    """Candidates of one object on the working grid.

    :param masks: bool arrays, distinct, sorted by size (small to large), at least one. Those of a volume are made when
        they are asked for.
    :param scores: float ``[len(masks)]``; higher is better, their differences read like differences of log-probability.
    :param best: index of the chosen candidate.
    :param alternatives: indices of at most three clearly different candidates, best first; the first is ``best``.
    """

    masks: Sequence[np.ndarray]
    scores: np.ndarray
    best: int
    alternatives: tuple[int, ...]


def rank(masks: np.ndarray, scores: np.ndarray, *, overlap: np.ndarray | None = None) -> RankedCandidates:
    """Candidates sorted by area; of nearly equal ones only the best scored is kept.

    :param masks: bool ``[n, ...]``, n >= 1, not empty.
    :param scores: float ``[n]``.
    :param overlap: their Dice coefficients ``[n, n]`` if already known.
    """
    overlap = dice_matrix(masks) if overlap is None else overlap
    return rank_sizes(masks.reshape(len(masks), -1).sum(1), scores, overlap, lambda ladder: [masks[i] for i in ladder])


def rank_sizes(
    sizes: np.ndarray, scores: np.ndarray, overlap: np.ndarray, masks_of: Callable[[list[int]], Sequence[np.ndarray]]
) -> RankedCandidates:
    """The same where only the ``sizes`` ``[n]`` of the candidates and their ``overlap`` are known; ``masks_of`` gives
    the masks of candidates by their numbers."""
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        if not kept or overlap[i, kept].max() <= NEARLY_EQUAL:
            kept.append(int(i))
    ladder = sorted(kept, key=lambda i: (sizes[i], i))
    place = {i: n for n, i in enumerate(ladder)}
    shown: list[int] = []
    for i in kept:  # in the order of scores
        if len(shown) < 3 and (not shown or overlap[i, shown].max() < CLEARLY_DIFFERENT):
            shown.append(i)
    return RankedCandidates(masks_of(ladder), scores[ladder], place[shown[0]], tuple(place[i] for i in shown))


def dice_matrix(masks: np.ndarray) -> np.ndarray:
    """Dice coefficients ``[n, n]`` (float32) between bool masks ``[n, ...]``; 0 where both are empty."""
    shared = shared_counts(masks)
    areas = np.diag(shared)
    return (2 * shared / np.maximum(areas[:, None] + areas[None], 1)).astype(np.float32)


def shared_counts(masks: np.ndarray) -> np.ndarray:
    """Number of common samples ``[n, n]`` (int64) of bool masks ``[n, ...]``, counted 64 samples at a time."""
    rows = np.packbits(masks.reshape(len(masks), -1), axis=1)
    rows = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 8))).view(np.uint64)
    shared = np.zeros((len(masks), len(masks)), np.int64)
    for i in range(len(rows)):
        shared[i, i:] = np.bitwise_count(rows[i] & rows[i:]).sum(1, dtype=np.int64)
    return np.maximum(shared, shared.T)
