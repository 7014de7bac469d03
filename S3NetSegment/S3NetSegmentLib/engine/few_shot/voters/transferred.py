"""A drawing in another volume, laid over this one: a voter, never a fact; and what several patients agree on.

Joint label fusion: Wang et al., "Multi-atlas segmentation with joint label fusion", 2013. Volumes that are wrong in the same
place together count as one, so that five poor ones do not outvote a good one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from scipy import ndimage

from ...common.arrays import corners
from ...common.progress import Step, Steps
from ...images import AXES, Volume
from ..drawings.drawing import SoftDrawing
from ..frame import Frame
from ..registration.fitting import Fitted
from ..registration.known_labels import KnownLabels, mean_dice
from ..registration.picture import mapped
from .voter import Voter

_PATCH_MM = 4.0  # around a voxel, in which images are compared
_PRIOR_SHARE = 0.3  # in the vote, where no hidden drawn slice says how good it is
_VOXELS_AT_ONCE = 30_000  # sampled between two steps of progress
_TRUST = (0.35, 0.7)  # true over expected Dice, by the correlation of the aligned images (fitted to seven pairs)
_AGREED = 0.4  # the same, where several patients agree: this and the Dice of the one that agrees best (six hearts)
_UNDRAWN_SHARE = 0.6  # where nothing is drawn in the query volume
_RIDGE = 0.1  # of the mean product: keeps weights from following the noise
_LEAST = 1e-4  # product of differences that is as good as none
_POINTS = 8000  # at which the patients are compared
_ROUNDS = 4  # of asking who agrees with those who agree
# Agreement with the others below which a patient lies elsewhere, if it is so far below the middle.
_ASTRAY, _BEHIND = 0.6, 0.1
_LEAST_SLICES = 3  # of a volume; a single one does not tell how far from it a segment reaches
_ALONG = 0.7  # cosine from which on two axes are the same for what is cut off
_FACE = 0.1  # share of the largest section from which on a segment goes on where its volume ends
_LEAST_WEIGHT = 0.05  # weight of a patient whom nobody agrees with


class Transferred(Voter):
    """The drawings of other volumes, laid over this one.

    :param values: label value of each class, ``values[0]`` = 0 for the background.
    :param blind: drawn slice of the query volume -> ``fitted`` as they would be without it; they say how good the part is.
    :param foretold: Dice with which ``blind`` predict all that is drawn in the query volume; None: nothing is.
    """

    name = "transferred"
    prior_share, undrawn_share = _PRIOR_SHARE, _UNDRAWN_SHARE
    knows_places = True

    def __init__(
        self,
        query: Volume,
        fitted: Sequence[Fitted],
        values: Sequence[int],
        blind: Mapping[int, Sequence[Fitted]] | None = None,
        foretold: float | None = None,
    ):
        self._query, self._fitted, self._values = query, tuple(fitted), tuple(values)
        self._blind, self.foretold = blind or {}, foretold
        self.notes = [note for one in fitted for note in one.notes]
        # What is laid over is no better than the drawing that it was filled in from.
        self.most = {v: max((one.expected.get(v, 1.0) for one in self._fitted), default=1.0) for v in self._values[1:]}
        likest = max((one.alignment.correlation for one in self._fitted), default=0.0)
        self.trust = float(np.clip(_TRUST[0] + _TRUST[1] * likest, 0, 1))
        if len(self._fitted) > 2:  # where they disagree, the vote says so itself
            agreed = max(one.reliability for one in self._fitted)
            self.trust = max(self.trust, float(np.clip(_AGREED + agreed, 0, 1)))

    def masks(self, drawn: SoftDrawing, first: int, last: int, without: int | None = None) -> Steps[torch.Tensor]:
        """See :class:`Voter`."""
        frame = drawn.frame
        fitted = self._fitted if without is None else self._blind.get(without, self._fitted)
        height, width = frame.work_shape
        rows = frame.box.top + (np.arange(height) + 0.5) * frame.box.shape[0] / height - 0.5
        columns = frame.box.left + (np.arange(width) + 0.5) * frame.box.shape[1] / width - 0.5
        out = torch.empty(last - first + 1, len(self._values), height, width)
        batch = max(1, _VOXELS_AT_ONCE // (height * width))
        for start in range(first, last + 1, batch):
            yield Step((start - first) / len(out), "Laying the other drawing over")
            stop = min(start + batch, last + 1)
            grid = np.meshgrid(np.arange(start, stop), rows, columns, indexing="ij")
            index = self._index(frame.axis, [g.ravel() for g in grid])
            weights = self._weights(fitted, index, (stop - start, height, width), frame)
            shares = self._shares(fitted, index, weights).reshape(len(self._values), stop - start, height, width)
            out[start - first : stop - first] = torch.from_numpy(shares).transpose(0, 1)
        return out

    def projection(self, axis: str) -> np.ndarray:
        """Class image ``[H, W]`` of everything that is laid over, seen along ``axis``: where to look."""
        size = self._query.size
        across = AXES.index(axis)
        rest = [a for a in (2, 1, 0) if a != across]
        image = np.zeros([size[a] for a in rest], np.uint8)
        for one in self._fitted:
            matrix = np.linalg.inv(self._query.ijk_to_ras) @ np.linalg.inv(one.alignment.to_support)
            for c, value in enumerate(self._values[1:], 1):
                voxels = np.argwhere(one.labels == value)[:, ::-1].T
                place = np.rint(mapped(matrix @ one.support.ijk_to_ras, voxels)).astype(int)
                inside = ((place >= 0) & (place < np.array(size)[:, None])).all(0)
                image[tuple(place[a, inside] for a in rest)] = c
        return ndimage.grey_closing(image, 3)

    def cut_off(self, axis: str) -> dict[int, frozenset[str]]:
        """See :class:`Voter`: where the field of view of every volume that shows a segment ends within it."""
        found: dict[int, frozenset[str]] = {}
        for one in self._fitted:
            for value in (int(v) for v in np.unique(one.labels) if v):
                sides = _cut_sides(self._query, one, value, axis)
                found[value] = found.get(value, sides) & sides
        return {value: sides for value, sides in found.items() if sides}

    def _index(self, axis: str, grid: list[np.ndarray]) -> np.ndarray:
        """Voxels (i, j, k) of (slice, row, column) along ``axis``."""
        order = [2 - AXES.index(axis)]
        order += [d for d in range(3) if d != order[0]]
        index = np.empty((3, grid[0].size))
        for values, dimension in zip(grid, order, strict=True):
            index[2 - dimension] = values
        return index

    def _weights(
        self, fitted: Sequence[Fitted], index: np.ndarray, shape: tuple[int, int, int], frame: Frame
    ) -> np.ndarray:
        """Weight of each support volume at voxels ``index``, ``[S, n]``: joint label fusion."""
        if len(fitted) == 1:
            return np.ones((1, index.shape[1]), np.float32)
        differences = np.stack([one.differences(self._query, index) for one in fitted]).reshape(-1, *shape)
        reliability = [one.reliability * max(0.05, one.alignment.correlation) for one in fitted]
        patch = (0.0, *(_PATCH_MM / np.array(frame.work_spacing[1:])))
        return fusion_weights(differences, reliability, patch).reshape(-1, index.shape[1])

    def _shares(self, fitted: Sequence[Fitted], index: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Class shares ``[C, n]`` at voxels ``index``: all support volumes by their ``weights`` ``[S, n]``."""
        total = np.zeros((len(self._values), index.shape[1]), np.float32)
        counted = np.zeros_like(total)
        for one, weight in zip(fitted, weights, strict=True):
            shown = [c for c, v in enumerate(self._values) if c and (one.labels == v).any()]
            total[shown] += weight * one.sampled(self._query, index, [self._values[c] for c in shown])
            counted[shown] += weight
        total /= np.maximum(counted, 1e-6)
        total[0] = np.clip(1 - total[1:].sum(0), 0, None)
        return total / total.sum(0)


def _cut_sides(query: Volume, fitted: Fitted, value: int, axis: str) -> frozenset[str]:
    """On which sides along ``axis`` of ``query`` the volume of ``fitted`` ends within a segment."""
    across = query.ijk_to_ras[:3, AXES.index(axis)]
    back = np.linalg.inv(fitted.alignment.to_support)[:3, :3]
    mask, sides = fitted.labels == value, set()
    for a, count in enumerate(fitted.support.size):
        way = back @ fitted.support.ijk_to_ras[:3, a]
        along = float(way @ across / (np.linalg.norm(way) * np.linalg.norm(across)))
        if count < _LEAST_SLICES or abs(along) < _ALONG:
            continue
        areas = mask.sum(tuple(d for d in range(3) if d != 2 - a))
        names = ("before", "after") if along > 0 else ("after", "before")
        sides |= {name for name, area in zip(names, areas[[0, -1]], strict=True) if area > _FACE * areas.max()}
    return frozenset(sides)


def fusion_weights(differences: np.ndarray, reliability: Sequence[float], patch: Sequence[float]) -> np.ndarray:
    """Weights ``[S, Z, H, W]`` of S support volumes, at least 0, with a sum of 1 at each voxel.

    :param differences: what each image differs by from the query image, ``[S, Z, H, W]``, 0 or more.
    :param reliability: of each volume as a whole, above 0; its expected error is the larger the less reliable it is.
    :param patch: standard deviation of the neighbourhood in which images are compared, in voxels (Z, H, W).
    """
    trusted = np.maximum(np.asarray(reliability, np.float32), 1e-3)
    errors = np.abs(differences).astype(np.float32) / trusted.reshape(-1, 1, 1, 1)
    count = len(errors)
    products = np.empty((*errors.shape[1:], count, count), np.float32)
    sigma = np.minimum(np.asarray(patch, float), 3.0)
    for a in range(count):
        for b in range(a, count):
            near = ndimage.gaussian_filter(errors[a] * errors[b], sigma, mode="nearest")
            products[..., a, b] = products[..., b, a] = near
    trace = np.trace(products, axis1=-2, axis2=-1) / count
    diagonal = np.arange(count)
    products[..., diagonal, diagonal] += (_RIDGE * trace + _LEAST)[..., None]
    weights = np.linalg.solve(products, np.ones((*products.shape[:-1], 1), np.float32))[..., 0]
    weights = np.clip(weights, 0, None)
    weights /= np.maximum(weights.sum(-1, keepdims=True), 1e-9)
    return np.moveaxis(weights, -1, 0)


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
    found = np.stack([one.labels_at(query, index) for one in fitted])
    count = len(fitted)
    agree = np.ones((count, count))
    for a in range(count):
        for b in range(a):
            agree[a, b] = agree[b, a] = mean_dice(found[a], found[b])
    like = np.array([max(_LEAST_WEIGHT, one.alignment.correlation) ** 2 for one in fitted])
    weights = like / like.sum()
    for _ in range(_ROUNDS):
        support = np.maximum((agree - np.eye(count)) @ weights, _LEAST_WEIGHT)
        weights = like * support**2
        weights /= weights.sum()
    agreement = []
    for n in range(count):
        others = weights.copy()
        others[n] = 0
        agreement.append(mean_dice(found[n], voted(found, others)))
    return Consensus(index, found, weights, np.array(agreement))


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
        ends = corners(np.zeros(3), np.array(one.region.array.shape[::-1]) - 1)
        places = mapped(np.linalg.inv(query.ijk_to_ras) @ one.region.matrix, ends.T)
        lows.append(places.min(1))
        highs.append(places.max(1))
    low = np.clip(np.min(lows, 0), 0, np.array(query.size) - 1)
    high = np.clip(np.max(highs, 0), 0, np.array(query.size) - 1)
    sides = (high - low) * query.spacing
    step = max(float(np.prod(sides + np.array(query.spacing)) / _POINTS) ** (1 / 3), 1e-3)
    axes = [
        np.unique(np.rint(np.linspace(a, b, max(1, min(round(b - a) + 1, round(s / step) + 1)))))
        for a, b, s in zip(low, high, sides, strict=True)
    ]
    return np.stack([g.ravel() for g in np.meshgrid(*axes, indexing="ij")])
