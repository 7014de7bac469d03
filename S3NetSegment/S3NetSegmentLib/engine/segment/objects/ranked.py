"""``RankedCandidates``: candidate masks of one object from small to large, with their scores; and how masks overlap."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from scipy.special import erf, logsumexp

from ...common.arrays import dice

C = TypeVar("C")
CLEARLY_DIFFERENT = 0.85  # masks of a lower Dice coefficient are offered as different answers
NEARLY_EQUAL = 0.97  # masks of a higher one are one step of the ladder
_SAME_OPINION = 0.9  # of masks of a higher one only the best says what is meant: how often it was found does not count
SHOWN = 3  # answers offered at most
WEIGHTS = Path(__file__).with_name("ranker.npz")
_CLIP = 4.0  # standardised features beyond are taken as this


@dataclass(frozen=True)
class RankedCandidates:
    """Candidates of one object on the working grid.

    :param masks: bool arrays, distinct, sorted by size (small to large), at least one. Those of a volume are made when
        they are asked for.
    :param scores: float ``[len(masks)]``; higher is better, their differences read like differences of log-probability.
    :param best: index of the chosen candidate.
    :param alternatives: indices of at most three clearly different candidates, best first; the first is ``best``.
    :param numbers: for each mask its number among all candidates at the point (rows of what was measured of them).
    :param worth: for each mask what the choice goes by: the score, or the expected Dice where that decides.
    :param point: the sample of the working grid that was asked at, of a box its middle.
    :param opinions: what speaks for each candidate in a box or along a stroke; of a point it is measured anew when asked for.
    :param sureness: in a box, the Dice with the object that the network of boxes expects of its own answer, 0 to 1; else NaN.
    """

    masks: Sequence[np.ndarray]
    scores: np.ndarray
    best: int
    alternatives: tuple[int, ...]
    numbers: tuple[int, ...] = ()
    worth: tuple[float, ...] = ()
    point: tuple[int, ...] = ()
    opinions: Opinions | None = None
    sureness: float = math.nan


@dataclass(frozen=True)
class Opinions:
    """What speaks for each of ``n`` candidates.

    :param names: of the features. ``table``: their values ``[n, F]``.
    :param learned, hand: the two parts of the score ``[n]``: the ranker's and the hand-made one with its weight.
    :param sources: where candidates come from. ``votes``: how often each source proposed each, ``[n, sources]``.
    :param certainty: see :func:`rank_ladder`.
    """

    names: tuple[str, ...]
    table: np.ndarray
    learned: np.ndarray
    hand: np.ndarray
    sources: tuple[str, ...]
    votes: np.ndarray
    certainty: float | None


@dataclass(frozen=True)
class Measured(Generic[C]):
    """The candidates at one point, what was measured of them ``[n, F]`` and how they overlap (Dice ``[n, n]``)."""

    candidates: C
    table: np.ndarray
    overlap: np.ndarray


def rank(
    masks: np.ndarray, scores: np.ndarray, *, overlap: np.ndarray | None = None, certainty: float | None = None
) -> RankedCandidates:
    """Candidates sorted by area; of nearly equal ones only the best is kept.

    :param masks: bool ``[n, ...]``, n >= 1, not empty.
    :param scores: float ``[n]``.
    :param overlap: their Dice coefficients ``[n, n]`` if already known.
    :param certainty: see :func:`rank_ladder`.
    """
    overlap = dice_matrix(masks) if overlap is None else overlap
    sizes = masks.reshape(len(masks), -1).sum(1)
    order = best_first(scores, overlap, certainty)
    ladder = sorted(order, key=lambda i: (sizes[i], i))
    return rank_ladder(ladder, [masks[i] for i in ladder], order, scores, overlap, certainty)


def best_first(scores: np.ndarray, overlap: np.ndarray, certainty: float | None = None) -> list[int]:
    """Numbers of the candidates, the best first; of nearly equal ones only the best.

    :param scores: of what must not be chosen -inf: it is left out. ``overlap``: Dice coefficients ``[n, n]``. ``certainty``: see
        :func:`rank_ladder`.
    """
    order = np.argsort(-worth_of(scores, overlap, certainty), kind="stable")
    return _different(order[np.isfinite(scores[order])], overlap, NEARLY_EQUAL)


def _different(order: np.ndarray, overlap: np.ndarray, alike: float) -> list[int]:
    """Of ``order`` (the best first) those that are not ``alike``, a Dice coefficient, to a better one."""
    kept: list[int] = []
    for i in order.tolist():
        if not kept or overlap[i, kept].max() <= alike:
            kept.append(i)
    return kept


def worth_of(scores: np.ndarray, overlap: np.ndarray, certainty: float | None) -> np.ndarray:
    """What the choice goes by, ``[n]``: the scores, or with ``certainty`` the expected Dice; see :func:`rank_ladder`."""
    return scores if certainty is None else overlap @ _chances(scores, overlap, certainty)


def _chances(scores: np.ndarray, overlap: np.ndarray, certainty: float) -> np.ndarray:
    """How likely each candidate is the object that is meant, ``[n]``, see :func:`rank_ladder`."""
    different = _different(np.argsort(-scores, kind="stable"), overlap, _SAME_OPINION)
    chances = np.zeros(len(scores))
    chances[different] = _softmax(certainty * scores[different])
    return chances


def rank_ladder(
    ladder: list[int],
    masks: Sequence[np.ndarray],
    order: list[int],
    scores: np.ndarray,
    overlap: np.ndarray,
    certainty: float | None = None,
) -> RankedCandidates:
    """The same where the ladder is known: its candidates from small to large, and their masks.

    :param order: :func:`best_first`; the first of them is on the ladder.
    :param scores, overlap: of all candidates ``[n]``, ``[n, n]``; the masks of the answers are compared once more.
    :param certainty: None: the best scored candidate is chosen. A number: the one with the highest expected Dice, where
        each candidate is the object that is meant with probability softmax(certainty x score), of alike ones the best alone;
        the alternatives are those that raise the expected Dice of the best of all that are shown.
    """
    place = {i: n for n, i in enumerate(ladder)}
    first, *further = (i for i in order if i in place)
    shown = [first]
    doubt = None if certainty is None else np.sqrt(_chances(scores, overlap, certainty))
    while len(shown) < SHOWN:
        others = [i for i in further if overlap[i, shown].max() < CLEARLY_DIFFERENT]
        if not others:
            break
        if doubt is None:
            chosen = others[0]
        else:
            gain = np.maximum(overlap[others], overlap[shown].max(0)) @ (doubt / doubt.sum())
            chosen = others[int(gain.argmax())]
        further.remove(chosen)
        if all(dice(masks[place[chosen]], masks[place[i]]) < CLEARLY_DIFFERENT for i in shown):
            shown.append(chosen)
    worth = worth_of(scores, overlap, certainty)[ladder]
    return RankedCandidates(
        masks, scores[ladder], place[first], tuple(place[i] for i in shown), tuple(map(int, ladder)), tuple(map(float, worth))
    )  # fmt: skip


def united(answers: Sequence[RankedCandidates]) -> RankedCandidates:
    """Several parts of one object as one: each step takes all parts larger or smaller by as many steps."""
    first, *others = answers
    if not others:
        return first
    ladders = [a.masks for a in answers]
    starts = [a.best for a in answers]
    offsets = range(-max(starts), max(len(m) - s for m, s in zip(ladders, starts, strict=True)))
    masks = [
        np.any([m[min(max(s + offset, 0), len(m) - 1)] for m, s in zip(ladders, starts, strict=True)], 0)
        for offset in offsets
    ]
    own = [min(max(first.best + offset, 0), len(first.masks) - 1) for offset in offsets]
    place = {offset: n for n, offset in enumerate(offsets)}
    alternatives = tuple(place[n - first.best] for n in first.alternatives)
    return dataclasses.replace(
        first, masks=masks, scores=first.scores[own], best=place[0], alternatives=alternatives,
        numbers=tuple(first.numbers[n] for n in own), worth=tuple(first.worth[n] for n in own),
        sureness=float(np.mean([answer.sureness for answer in answers])),
    )  # fmt: skip


def _softmax(scores: np.ndarray) -> np.ndarray:
    shares = np.exp(scores - scores.max())
    return shares / shares.sum()


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


class Ranker:
    """Networks of two hidden layers (GELU) that each give candidates a score; their log-probabilities are averaged.

    :param names: features in the order of the first layer's inputs.
    :param centre, scale: of each feature, from the training data; ``[F]``.
    :param layers: three (weights ``[networks, inputs, outputs]``, biases ``[networks, outputs]``).
    """

    def __init__(self, names, centre, scale, layers, about: dict | None = None):
        self.names, self.centre, self.scale = tuple(names), np.asarray(centre), np.asarray(scale)
        self.layers = [(np.asarray(w, np.float32), np.asarray(b, np.float32)) for w, b in layers]
        self.about = about or {}

    @classmethod
    def load(cls, path: Path, kind: str = "") -> Ranker:
        """The ranker in ``path``; of several in one file the one for ``kind`` of image."""
        prefix = f"{kind}_" if kind else ""
        with np.load(path, allow_pickle=False) as file:
            return cls(
                [str(n) for n in file[f"{prefix}names"]],
                file[f"{prefix}centre"],
                file[f"{prefix}scale"],
                [(file[f"{prefix}weights_{n}"], file[f"{prefix}biases_{n}"]) for n in range(3)],
                json.loads(str(file[f"{prefix}about"])),
            )

    def standardised(self, table: np.ndarray) -> np.ndarray:
        return np.clip((table - self.centre) / self.scale, -_CLIP, _CLIP).astype(np.float32)

    def score(self, table: np.ndarray) -> np.ndarray:
        """Mean log-probability ``[n]`` that each of the candidates, rows of ``table`` ``[n, F]``, is meant."""
        hidden = np.broadcast_to(self.standardised(table), (len(self.layers[0][0]), *table.shape))
        for number, (weights, biases) in enumerate(self.layers):
            hidden = hidden @ weights + biases[:, None]
            if number < 2:
                hidden = hidden * (0.5 * (1 + erf(hidden * np.float32(np.sqrt(0.5)))))
        scores = hidden[..., 0].astype(np.float64)
        return (scores - logsumexp(scores, axis=1, keepdims=True)).mean(0)


@lru_cache(maxsize=2)
def default_ranker(kind: str) -> Ranker:
    """The ranker that ships with the engine for "grey" slices or "colour" pictures."""
    return Ranker.load(WEIGHTS, kind)
