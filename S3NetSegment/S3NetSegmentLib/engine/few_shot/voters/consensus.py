"""What several patients that were laid over a volume agree on, and who of them is far from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from ...images import Volume
from ..registration.label_alignment import KnownLabels, mean_dice

if TYPE_CHECKING:
    from .transferred import Fitted

_POINTS = 8000  # at which the patients are compared
_ROUNDS = 4  # of asking who agrees with those who agree
_ASTRAY, _BEHIND = (
    0.6,
    0.1,
)  # agreement with the others below which a patient lies elsewhere, if it is so far below the middle
_LEAST = 0.05  # weight of a patient whom nobody agrees with


@dataclasses.dataclass(frozen=True, eq=False)
class Consensus:
    """
    :param index: voxels ``[3, n]`` of the query volume at which the patients were compared.
    :param found: label that each patient gives there, ``[S, n]``.
    :param weights: of each patient, with a sum of 1: how like the images are, and how many agree with it.
    :param agreement: Dice of each patient with what the others agree on, 0 to 1.
    """

    index: np.ndarray
    found: np.ndarray
    weights: np.ndarray
    agreement: np.ndarray

    @property
    def astray(self) -> list[int]:
        """Numbers of patients that lie elsewhere than the others."""
        limit = min(_ASTRAY, float(np.median(self.agreement)) - _BEHIND)
        return [n for n, agrees in enumerate(self.agreement) if agrees < limit]

    def without(self, number: int) -> KnownLabels:
        """What the others agree on."""
        weights = self.weights.copy()
        weights[number] = 0
        return KnownLabels(self.index, voted(self.found, weights), False)


def consensus_of(query: Volume, fitted: Sequence[Fitted]) -> Consensus:
    """What ``fitted`` agree on; at least two."""
    index = _points(query, fitted)
    found = np.stack([labels_at(one, query, index) for one in fitted])
    count = len(fitted)
    agree = np.ones((count, count))
    for a in range(count):
        for b in range(a):
            agree[a, b] = agree[b, a] = mean_dice(found[a], found[b])
    like = np.array([max(_LEAST, one.alignment.correlation) ** 2 for one in fitted])
    weights = like / like.sum()
    for _ in range(_ROUNDS):
        support = np.maximum((agree - np.eye(count)) @ weights, _LEAST)
        weights = like * support**2
        weights /= weights.sum()
    agreement = []
    for n in range(count):
        others = weights.copy()
        others[n] = 0
        agreement.append(mean_dice(found[n], voted(found, others)))
    return Consensus(index, found, weights, np.array(agreement))


def labels_at(one: Fitted, query: Volume, index: np.ndarray) -> np.ndarray:
    """The label that a support volume gives at voxels ``index`` ``[3, n]`` of ``query``, 0 for the background."""
    values = [int(v) for v in np.unique(one.labels) if v]
    shares = one.sampled(query, index, values)
    shares = np.concatenate(((1 - shares.sum(0))[None], shares))
    return np.array([0, *values], np.uint8)[shares.argmax(0)]


def pooled_dice(found: np.ndarray, true: np.ndarray) -> float:
    """Dice over all labels together, in which small ones count little; 0 where there are none."""
    right = int(np.count_nonzero((found == true) & (true > 0)))
    total = int(np.count_nonzero(found)) + int(np.count_nonzero(true))
    return 2 * right / total if total else 0.0


def voted(found: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The label ``[n]`` that most patients by ``weights`` ``[S]`` give, of ``found`` ``[S, n]``."""
    values = np.unique(found)
    votes = np.stack([((found == v) * weights[:, None]).sum(0) for v in values])
    return values[votes.argmax(0)].astype(np.uint8)


def _points(query: Volume, fitted: Sequence[Fitted]) -> np.ndarray:
    """Voxels of ``query`` on a lattice over all that the patients were laid over."""
    lows, highs = [], []
    for one in fitted:
        size = np.array(one.region.array.shape[::-1])
        corners = np.array(list(product(*zip(np.zeros(3), size - 1, strict=True)))).T
        matrix = np.linalg.inv(query.ijk_to_ras) @ one.region.matrix
        corners = matrix[:3, :3] @ corners + matrix[:3, 3:]
        lows.append(corners.min(1))
        highs.append(corners.max(1))
    low = np.clip(np.min(lows, 0), 0, np.array(query.size) - 1)
    high = np.clip(np.max(highs, 0), 0, np.array(query.size) - 1)
    sides = (high - low) * query.spacing
    step = max(float(np.prod(sides + np.array(query.spacing)) / _POINTS) ** (1 / 3), 1e-3)
    axes = [
        np.unique(np.rint(np.linspace(a, b, max(1, min(round(b - a) + 1, round(s / step) + 1)))))
        for a, b, s in zip(low, high, sides, strict=True)
    ]
    return np.stack([g.ravel() for g in np.meshgrid(*axes, indexing="ij")])
