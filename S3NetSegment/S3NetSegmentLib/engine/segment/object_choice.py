"""``ObjectChoice``: an object, its alternatives and its granularity, all answered without fitting again; the object in a slice that
points, boxes and strokes mean; its border."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..common.arrays import box_around, two
from ..common.errors import InputError
from ..common.progress import Steps
from ..images import AXES, Extent
from ..images.resample import axis_weights, mask_to_grid
from .objects.slice_objects import spread_points
from .prompts import Crossing, Prompts, Voxel
from .working_grid import WorkingGrid

_BAND = 1.5  # samples of the working grid on each side of the border that are decided anew
_REACH = 2.5  # standard deviation of the neighbourhood that says what is inside and what outside, in the same samples
_SOFTNESS = 0.7
_TRUST = 0.8  # how much the image counts beside the smooth outline
_STROKE_EDITS = 3  # points of a stroke at which the answer is corrected
# Log-odds of the Dice with the object that a box, or one point, means: constant, and factor of those that the network expects of
# its own answer in a box, or the candidates of the best one, who know nothing of an object that none of them is. Fitted on development
# slices, see Testing/benchmarks/segment/prompts.py.
_BOX, _POINT = (0.25, 0.48), (-0.32, 0.67)


@dataclass(frozen=True, eq=False)
class Finish:
    """What is done to an answer on its way to the image's own voxels, all in the order of the grid.

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
                found[tuple(np.transpose([grid.extent.index(v) for v in voxels]))] = value
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
        index: int | None = None,
        finish: Finish | None = None,
        size_known: bool = False,
    ):
        """
        :param ranked: candidates of the first point (``objects.RankedCandidates``), on the working grid.
        :param edits: points, (working sample, whether it is inside); where a step is otherwise, it is corrected there.
        :param finish: what makes the answer on the image's own voxels; None: nothing but another grid.
        :param size_known: whether what was asked first says how large the object is, as a box does.
        """
        self._ranked, self._objects, self._grid, self._edits = ranked, objects, grid, tuple(edits)
        self._finish, self._size_known = finish or Finish(), size_known
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
    def expected_in_box(self) -> float:
        """Dice with the object that is meant, 0 to 1, to be expected of the best answer to boxes in a slice."""
        return _expected(self._ranked.sureness, *_BOX)

    @property
    def expected_at_point(self) -> float:
        """The same of the best answer to one point in a slice."""
        return _expected(self._ranked.worth[self._ranked.best], *_POINT)

    @property
    def mask(self) -> np.ndarray:
        """The chosen object, bool [K, J, I] over the extent."""
        if self._mask is None:
            self._mask = self._grid.stored(self._chosen())
        return self._mask

    def _chosen(self) -> np.ndarray:
        """The chosen object in the order of the grid."""
        return self._finish.native(self.working_mask(), self._grid)

    @property
    def ranked(self):
        """The candidates of the first point, on the working grid (``objects.RankedCandidates``)."""
        return self._ranked

    def opinions(self):
        """What speaks for each of all candidates at the first point (``objects.ranked.Opinions``)."""
        return self._ranked.opinions or self._objects.opinions(self._ranked.point)

    def step_mask(self, index: int) -> np.ndarray:
        """Step ``index`` of the ladder without corrections by further points, bool [K, J, I] over the extent."""
        return self._grid.stored(self._step(index))

    def _step(self, index: int) -> np.ndarray:
        """The same in the order of the grid."""
        return self._finish.native(np.asarray(self._ranked.masks[index], dtype=bool), self._grid)

    def at(self, index: int) -> ObjectChoice:
        """The same choice at another step of the ladder (clipped to its ends)."""
        return ObjectChoice(self._ranked, self._objects, self._grid, self._edits, index, self._finish, self._size_known)

    def working_mask(self) -> np.ndarray:
        """The chosen object on the working grid, bool."""
        mask = np.asarray(self._ranked.masks[self.index], dtype=bool)
        # A point in a slice that is right from the start may have been set last, after others had made it wrong: it is held only
        # once it was corrected, so that the answer stays near to what the user saw before.
        held = [] if self._size_known else [self._ranked.point]
        done: set = set()
        while wrong := [edit for edit in self._edits if bool(mask[edit[0]]) != edit[1] and edit[0] not in done]:
            point, add = wrong[0]
            if self._grid.flat:
                # A point may speak for another answer as a whole unless it is the first one and the size is known, or the user
                # chose the answer.
                whole = self.index == self._ranked.best and bool(held)
                answers = self._ranked.masks[0 if whole else -1 :]
                mask = self._objects.edited(mask, point, add, held, answers, self._size_known)
            else:
                right = [p for p, inside in self._edits if bool(mask[p]) == inside]
                mask = self._objects.edited(mask, point, add, right)
            held.append(point)
            done.add(point)
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


def refined(
    mask: np.ndarray,
    features: np.ndarray,
    native: tuple[int, ...],
    native_features: Callable[[tuple[slice, slice]], np.ndarray],
) -> np.ndarray:
    """``mask`` (bool ``[h, w]``) on the image's own samples, bool ``[H, W]``: a smooth outline, moved to where the image
    changes from what is inside nearby to what is outside nearby.

    :param features: float ``[h, w, C]`` on the working grid. ``native_features``: rows and columns of the image -> the same
        of these samples.
    """
    out = np.zeros(native, bool)
    if not mask.any():
        return out
    rows, columns = box_around(mask, margin=6)
    own = mask[rows, columns]
    maps = _soft_maps(own, features[rows, columns])
    part, weights = [], []
    for axis, place in enumerate((rows, columns)):
        ratio = native[axis] / mask.shape[axis]
        first, last = int(np.floor(place.start * ratio)), min(native[axis], int(np.ceil(place.stop * ratio)))
        whole = axis_weights(mask.shape[axis], native[axis], first, last)[:, place]
        weights.append(whole / np.maximum(whole.sum(1, keepdims=True), 1e-6))
        part.append(slice(first, last))
    maps = np.einsum("ab,bcm->acm", weights[0], maps, optimize=True)
    maps = np.einsum("dc,acm->adm", weights[1], maps, optimize=True)
    channels = features.shape[2]
    soft, trust, threshold, direction = maps[..., 0], maps[..., 1], maps[..., 2], maps[..., 3 : 3 + channels]
    found = soft > 0.5
    band = (soft > 0.02) & (soft < 0.98)
    values = native_features(two(part))
    likeness = (values[band] * direction[band]).sum(1) - threshold[band]
    found[band] = soft[band] - 0.5 + _TRUST * trust[band] * np.clip(likeness, -0.5, 0.5) > 0
    out[tuple(part)] = found
    return out


def _expected(worth: float, constant: float, factor: float) -> float:
    worth = float(np.clip(worth, 0.02, 0.98))
    return float(1 / (1 + np.exp(-constant) * (1 / worth - 1) ** factor))


def _soft_maps(mask: np.ndarray, features: np.ndarray) -> np.ndarray:
    """For each sample, float32 ``[h, w, 3 + C]``: how far inside (0 to 1), how far inside and outside differ nearby (0 to
    1), and the plane between both in the space of the features, so that ``f . direction - threshold`` is 0.5 where f is as
    inside and -0.5 where it is as outside."""
    inside = mask.astype(np.float32)
    means = []
    for side in (inside, 1 - inside):
        core = ndimage.binary_erosion(side > 0.5, border_value=1)
        weight = (core if core.any() else side > 0.5).astype(np.float32)
        total = ndimage.gaussian_filter(weight, _REACH) + 1e-4
        means.append([ndimage.gaussian_filter(c * weight, _REACH) / total for c in np.moveaxis(features, 2, 0)])
        if side is inside:
            spread = ndimage.gaussian_filter(((features - np.stack(means[0], -1)) ** 2).sum(2) * weight, _REACH) / total
    within, without = (np.stack(m, -1) for m in means)
    difference = within - without
    squared = (difference**2).sum(2)
    direction = difference / (squared + 1e-6)[..., None]
    threshold = (direction * (within + without) / 2).sum(2)
    soft = ndimage.gaussian_filter(inside, _SOFTNESS)
    trust = squared / (squared + 2 * spread + 1e-5)
    return np.concatenate((np.stack((soft, trust, threshold), -1), direction), 2).astype(np.float32)


def refuse_excluded(prompts: Prompts, excluded: np.ndarray | None, extent: Extent) -> None:
    """InputError where ``excluded`` has another shape than the extent, or a point inside the object lies in it."""
    if excluded is None:
        return
    shape = tuple(extent.size[::-1])
    if excluded.shape != shape:
        raise InputError(f"excluded has {excluded.shape} voxels; the searched part has {shape} (k, j, i)")
    for voxel in prompts.inside_voxels:
        if excluded[extent.index(voxel)]:
            raise InputError(
                f"point {tuple(voxel)} (voxel i, j, k) lies in another segment, which the object must not touch; place it "
                "elsewhere, or allow overlap"
            )


def slice_candidates(
    objects, grid: WorkingGrid, prompts: Prompts, excluded: np.ndarray | None, crossing: Crossing | None = None
) -> Steps:
    """The candidates in a slice for boxes, or else for strokes, as a generator of progress steps; ``objects``: :class:`SliceObjects`."""
    if not prompts.boxes:
        strokes = (prompts.strokes, prompts.outside_strokes)
        return objects.ranked_along(*([grid.to_work(v) for stroke in one for v in stroke] for one in strokes))
    working = None if excluded is None else mask_to_grid(np.squeeze(excluded, 2 - AXES.index(grid.axis)), grid.shape)
    shown = None
    if crossing is not None:
        shown = [tuple(map(grid.to_work, voxels)) for voxels in (crossing.inside, crossing.outside)]
    return (yield from objects.ranked_in_steps([grid.edges_of(box) for box in prompts.boxes], working, shown))


def chosen(ranked, objects, grid: WorkingGrid, prompts: Prompts, finish: Finish) -> ObjectChoice:
    """The answer with the corrections that points and strokes ask for."""
    edits = [(grid.to_work(v), True) for v in [*prompts.inside, *_of_strokes(prompts.strokes)]]
    inside = {point for point, _ in edits}
    outside = map(grid.to_work, [*prompts.outside, *_of_strokes(prompts.outside_strokes)])
    edits += [(point, False) for point in outside if point not in inside]
    return ObjectChoice(ranked, objects, grid, edits, finish=finish, size_known=bool(prompts.boxes))


def _of_strokes(strokes: Sequence) -> list:
    return [point for stroke in strokes for point in spread_points(stroke, _STROKE_EDITS)]
