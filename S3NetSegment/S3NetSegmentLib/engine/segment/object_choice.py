"""``ObjectChoice``: an object, its alternatives and its granularity, all answered without fitting again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..images.resample import mask_to_grid
from .border import refined
from .prompts import Voxel
from .working_grid import WorkingGrid


@dataclass(frozen=True, eq=False)
class Finish:
    """What is done to an answer on its way to the image's own voxels.

    :param drawn, erased: voxels (i, j, k) that belong to the object, and that do not.
    :param excluded: bool [K, J, I] over the extent, what is never part of it; None: nothing.
    :param allowed: bool on the working grid, where it may lie; None: everywhere.
    :param features: of a slice on the working grid, and ``native_features``: rows and columns of the image -> the same
        there; None: the border is as fine as the working grid.
    """

    drawn: Sequence[Voxel] = ()
    erased: Sequence[Voxel] = ()
    excluded: np.ndarray | None = None
    allowed: np.ndarray | None = None
    features: np.ndarray | None = None
    native_features: Callable[[tuple[slice, slice]], np.ndarray] | None = None

    def native(self, mask: np.ndarray, grid: WorkingGrid) -> np.ndarray:
        """``mask`` on the image's own voxels, bool [K, J, I]."""
        features, native_features = self.features, self.native_features
        if features is None or native_features is None or mask.shape == grid.native:
            found = grid.to_native(mask, mask_to_grid)
        else:
            found = grid.to_native(mask, lambda own, shape: refined(own, features, shape, native_features))
        for voxels, value in ((self.drawn, True), (self.erased, False)):
            if voxels:
                found[tuple(np.transpose([grid.native_index(v) for v in voxels]))] = value
        if self.excluded is not None:
            found &= ~self.excluded
        return found


class ObjectChoice:
    """An object and its alternatives: a ladder of candidate masks from small to large, of which one is chosen.

    Masks of other steps are made when they are asked for, so that a large volume holds only one at a time.

    Attributes: ``steps`` (length of the ladder, at least 1), ``index`` (the chosen step), ``alternatives`` (ladder
    indices of the best, at most three, clearly different answers, best first; the first is the automatic choice).
    """

    def __init__(
        self,
        ranked,
        objects,
        grid: WorkingGrid,
        edits: Sequence[tuple[tuple[int, ...], bool]],
        voxel: Sequence[int] | None = None,
        index: int | None = None,
        finish: Finish | None = None,
    ):
        """
        :param ranked: candidates of the first point (``objects.RankedCandidates``), on the working grid.
        :param edits: further points, (working sample, whether to add there), applied in order to every step.
        :param voxel: the first point, (i, j, k); always part of the object.
        :param finish: what makes the answer on the image's own voxels; None: nothing but another grid.
        """
        self._ranked, self._objects, self._grid, self._edits, self._voxel = ranked, objects, grid, tuple(edits), voxel
        self._finish = finish or Finish()
        self.index = ranked.best if index is None else int(np.clip(index, 0, len(ranked.masks) - 1))
        self._mask: np.ndarray | None = None
        self._unanimity: np.ndarray | None = None

    @property
    def steps(self) -> int:
        return len(self._ranked.masks)

    @property
    def alternatives(self) -> tuple[int, ...]:
        return tuple(self._ranked.alternatives)

    @property
    def mask(self) -> np.ndarray:
        """The chosen object, bool [K, J, I] over the extent."""
        if self._mask is None:
            self._mask = self._finish.native(self.working_mask(), self._grid)
            if self._voxel is not None:  # an object finer than the working grid can slip through it
                self._mask[self._grid.native_index(self._voxel)] = True
        return self._mask

    @property
    def ranked(self):
        """The candidates of the first point, on the working grid (``objects.RankedCandidates``)."""
        return self._ranked

    def opinions(self):
        """What speaks for each of all candidates at the first point (``objects.ranked.Opinions``)."""
        return self._ranked.told or self._objects.opinions(self._ranked.point)

    def step_mask(self, index: int) -> np.ndarray:
        """Step ``index`` of the ladder without corrections by further points, bool [K, J, I] over the extent."""
        return self._finish.native(np.asarray(self._ranked.masks[index], dtype=bool), self._grid)

    def at(self, index: int) -> ObjectChoice:
        """The same choice at another step of the ladder (clipped to its ends)."""
        return ObjectChoice(self._ranked, self._objects, self._grid, self._edits, self._voxel, index, self._finish)

    def working_mask(self) -> np.ndarray:
        """The chosen object on the working grid, bool."""
        mask = np.asarray(self._ranked.masks[self.index], dtype=bool)
        for number, (point, add) in enumerate(self._edits):
            if bool(mask[point]) != add:
                opposing = [p for p, a in self._edits[:number] if a != add]
                if not add and self._voxel is not None:
                    opposing.append(self._grid.to_work(self._voxel))
                mask = self._objects.edited(mask, point, add, opposing)
        return mask if self._finish.allowed is None else mask & self._finish.allowed

    def unanimity(self) -> np.ndarray:
        """How unanimous the candidates are about each sample of the working grid, float32 0 to 1: |2 v - 1|, where v is
        the share of candidates that hold it, weighted by softmax of their scores; 0 where that speaks against the
        chosen object. Takes seconds in a volume, the first time."""
        if self._unanimity is None:
            vote = self._vote()
            self._unanimity = np.clip(np.where(self.working_mask(), 2 * vote - 1, 1 - 2 * vote), 0, 1)
        return self._unanimity

    def _vote(self) -> np.ndarray:
        """How likely each sample of the working grid belongs to the object, 0 to 1."""
        return self._share(np.asarray(self._ranked.scores, np.float64))

    def _share(self, scores: np.ndarray) -> np.ndarray:
        """The share of candidates that hold each sample, weighted by softmax of ``scores``, float32."""
        weights = np.exp(scores - scores.max())
        weights[weights < 0.01] = 0  # far worse candidates would only cost time
        vote = np.zeros(self._grid.shape, np.float32)
        for number in np.flatnonzero(weights):
            vote += np.float32(weights[number] / weights.sum()) * self._ranked.masks[int(number)]
        return vote
