"""The choice between what is carried from prompted slices and what the direct search of the volume finds there.

Both are asked: candidates made of supervoxels, at a point deep inside the slice answer, and the carried object. A candidate is
judged by how well it agrees with what is known, the slices; where the best one and the carried object contradict each other, the
one counts whose size is nearer to what the slices let expect.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from ..common.arrays import dice, three
from ..common.progress import Step, Steps, as_part_of
from ..images import AXES, Volume
from ..images.resample import mask_to_grid, resized
from .carry import CarriedObject, DrawnSlices, Place, carry_prompts, kept_near_drawn
from .object_choice import ObjectChoice
from .objects.candidates import deepest_point
from .objects.ranked import CLEARLY_DIFFERENT, SHOWN, Opinions, RankedCandidates
from .planes import AnsweredVoxels, allowed_by, grid_of
from .prompts import PromptedPlane, Prompts, box_hulls
from .working_grid import WorkingGrid

# All chosen on development volumes, see Testing/benchmarks/segment/volume_prompts.py.
_SEARCHED = 0.85  # mean Dice of the best candidate with the slice answers, below which the carried object is chosen
_CONTRADICTION = 0.5  # Dice of both, below which their sizes decide
_SMALLEST_STEP = 1.02  # ratio of the sizes of neighbouring steps, at least


def prompted_choice(
    volume,
    grid: WorkingGrid,
    objects,
    prompts: Prompts,
    *,
    settings,
    device="auto",
    radius_mm=None,
    excluded=None,
    slices_so_far=None,
) -> Steps[CarriedChoice]:
    """The object in the volume that ``prompts`` show, as a generator of progress steps.

    :param volume: the ordered one, and all other parameters in its order, as those of ``grid``.
    :param objects: the :class:`VolumeObjects` on ``grid``. Other parameters and errors: see :func:`carry_prompts`.
    """
    extent = grid.extent
    prompts = prompts.checked(extent)
    steps = carry_prompts(
        volume, prompts, extent=extent, axis=grid.axis, settings=settings, device=device,
        slices_so_far=slices_so_far, excluded=excluded,
    )  # fmt: skip
    carried = yield from as_part_of(steps, 0.0, 0.7)
    slices = _Slices(carried.drawn, volume, grid, objects.graph)
    steps = objects.ranked_steps(slices.point, radius_mm=radius_mm, agreement=slices.agreement)
    ranked = yield from as_part_of(steps, 0.7, 0.9)
    yield Step(0.9, "Comparing answers")
    allowed = allowed_by(prompts, volume, extent)

    def kept(mask: np.ndarray) -> np.ndarray:
        return kept_near_drawn(mask, slices.answered, prompts, extent, allowed, excluded)

    ladder = _Ladder(objects, ranked, carried, grid, kept, _left_on_grid(grid, allowed, excluded))
    expected = _expected_voxels(carried.drawn, prompts, volume)
    ladder.choose(slices.dice(ladder.candidate), expected)
    elsewhere = [v for v in prompts.outside_voxels if not any((a, v[n]) in carried.drawn for n, a in enumerate(AXES))]
    return CarriedChoice(ladder, objects, grid, [(grid.to_work(v), False) for v in elsewhere])


class CarriedChoice(ObjectChoice):
    """An :class:`ObjectChoice` one step of which is the carried object, at the image's own resolution; all others are candidates
    of the direct search, each with the slices as they were answered.

    Attributes: ``carried`` (:class:`CarriedObject`, as the volume is stored), ``carried_step`` (its step on the ladder),
    ``candidate_step`` (that of the best candidate).
    """

    def __init__(self, ladder: _Ladder, objects, grid: WorkingGrid, edits, index: int | None = None):
        super().__init__(ladder.ranked, objects, grid, edits, index)
        self._ladder = ladder
        self.carried_step, self.candidate_step = ladder.place, ladder.candidate_step

    @cached_property
    def carried(self) -> CarriedObject:
        return self._ladder.carried.in_order(self._grid.order.back)

    def _chosen(self) -> np.ndarray:
        mask = self._step(self.index)
        before = np.asarray(self._ranked.masks[self.index], bool)
        removed = before & ~self.working_mask()
        return self._ladder.kept(mask & ~self._grid.to_native(removed, mask_to_grid)) if removed.any() else mask

    def _step(self, index: int) -> np.ndarray:
        return self._ladder.native(index)

    def at(self, index: int) -> CarriedChoice:
        return CarriedChoice(self._ladder, self._objects, self._grid, self._edits, index)

    def opinions(self) -> Opinions:
        """Those of the candidates, and as the last row the carried object, of which nothing is measured."""
        found = super().opinions()
        empty = np.full((1, found.table.shape[1]), np.nan, found.table.dtype)
        votes = np.zeros((len(found.votes) + 1, found.votes.shape[1] + 1), found.votes.dtype)
        votes[:-1, :-1], votes[-1, -1] = found.votes, 1
        return replace(
            found, table=np.concatenate((found.table, empty)), votes=votes, sources=(*found.sources, "carried"),
            learned=np.append(found.learned, np.nan), hand=np.append(found.hand, np.nan),
        )  # fmt: skip

    def _vote(self) -> np.ndarray:
        """Half of the vote is that of the candidates, half the probability of the carried object."""
        scores = np.array(self._ranked.scores, np.float64)
        scores[self.carried_step] = -np.inf
        carried = self._ladder.carried
        likely = np.where(carried.mask, carried.confidence, 1 - carried.confidence)
        return (self._share(scores) + resized(likely, self._grid.shape)) / 2


class _Slices:
    """The answers in slices and planes as seen from the working grid.

    Attributes: ``answered`` (all of them, as voxels), ``point`` (the sample of the grid deep inside the largest one).
    """

    def __init__(self, drawn: DrawnSlices, volume: Volume, grid: WorkingGrid, graph):
        self._grid, self._graph = grid, graph
        self.answered = [AnsweredVoxels.of(key, mask, volume, grid.extent) for key, mask in drawn.items()]
        self._cuts = [(self._places(known.index), known.inside) for known in self.answered if known.inside.any()]
        key, plane = _largest(drawn, volume)
        place = deepest_point(plane)
        if isinstance(key, PromptedPlane):
            voxel = volume.voxel_at(grid_of(key, volume).ras_of((*place[::-1], 0)))
        else:
            local = list(grid.extent.start)
            across = AXES.index(key[0])
            for a, n in zip((a for a in (2, 1, 0) if a != across), place, strict=True):
                local[a] += n
            local[across] = key[1]
            voxel = three(local)
        self.point = grid.to_work(voxel)

    def agreement(self, sets: np.ndarray) -> np.ndarray:
        """Mean Dice ``[n]`` of candidates, as sets of supervoxels ``[n, regions]``, with the answers."""
        found = []
        for places, plane in self._cuts:
            labels = self._graph.labels[places]
            inside, there = (np.bincount(v, minlength=self._graph.count) for v in (labels[plane], labels.ravel()))
            found.append(2 * (sets @ inside) / (sets @ there + np.count_nonzero(plane)))
        return np.mean(found, 0)

    def dice(self, mask: np.ndarray) -> float:
        """The same of one mask on the working grid."""
        return float(np.mean([dice(mask[places], plane) for places, plane in self._cuts]))

    def _places(self, index: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Samples of the working grid at voxels of the extent, one index array for each axis."""
        sizes = zip(index, self._grid.native, self._grid.shape, strict=True)
        return tuple(((places + 0.5) * m / n).astype(int) for places, n, m in sizes)


class _Ladder:
    """Candidates from small to large with the carried object among them.

    Attributes: ``ranked`` (what is left of each step on the working grid), ``place`` (step of the carried object), ``carried``,
    ``candidate`` (the best candidate, on the working grid, bool), ``candidate_step`` (its step).

    :param found: the candidates. ``kept``: what of a mask over the extent may stay. ``left``: the same on the working grid, bool.
    """

    def __init__(self, objects, found: RankedCandidates, carried: CarriedObject, grid: WorkingGrid, kept, left):
        self.carried, self.kept, self._found, self._grid = carried, kept, found, grid
        self._carried_work = mask_to_grid(carried.mask, grid.shape)
        masks = _Masks(found.masks, left, range(len(found.masks)), self._carried_work)
        self.candidate = masks[found.best]
        sets = objects.measured(found.point).candidates.sets
        steps = list(range(len(found.masks)))
        if left is not None:  # which makes some of them alike
            held = np.bincount(objects.graph.labels[left], minlength=objects.graph.count)
            steps = _clearly_larger(sets[list(found.numbers)] @ held, found.best)
        size = np.count_nonzero(self._carried_work)
        self.place = bisect_left(steps, size, key=lambda number: np.count_nonzero(masks[number]))
        self._steps: list[int | None] = [*steps[: self.place], None, *steps[self.place :]]  # None: the carried object
        self._masks = _Masks(found.masks, left, self._steps, self._carried_work)
        self.candidate_step = self._steps.index(found.best)
        self._rows = len(sets)

    def choose(self, agreement: float, expected: float) -> None:
        """Makes ``ranked``.

        :param agreement: of the best candidate with the slices, 0 to 1. ``expected``: size of the object, voxels of the image.
        """
        found = self._found
        first, second = self.candidate_step, self.place
        if self._carried_is_better(agreement, expected):
            first, second = second, first
        shown = [first]
        for step in (second, *(self._steps.index(n) for n in found.alternatives[1:] if n in self._steps)):
            if len(shown) < SHOWN and all(dice(self._masks[step], self._masks[n]) < CLEARLY_DIFFERENT for n in shown):
                shown.append(step)
        # The carried object has no score of its own: it counts as about as good as the best candidate.
        own = found.scores[found.best] + (1e-3 if first == self.place else -1e-3)
        scores = np.array([own if n is None else found.scores[n] for n in self._steps])
        numbers = tuple(self._rows if n is None else found.numbers[n] for n in self._steps)
        worth = tuple(map(float, scores))
        self.ranked = RankedCandidates(self._masks, scores, first, tuple(shown), numbers, worth, found.point)

    def native(self, step: int) -> np.ndarray:
        """The mask of a step over the extent, bool ``[K, J, I]``."""
        number = self._steps[step]
        if number is None:
            return self.carried.mask
        return self.kept(self._grid.to_native(np.asarray(self._found.masks[number], bool), mask_to_grid))

    def _carried_is_better(self, agreement: float, expected: float) -> bool:
        if agreement < _SEARCHED:
            return True
        if dice(self.candidate, self._carried_work) >= _CONTRADICTION:
            return False
        voxels = self.carried.mask.size / self.candidate.size  # of the image in one sample of the grid
        size, carried = int(np.count_nonzero(self.candidate)) * voxels, int(np.count_nonzero(self.carried.mask))
        return _off(carried, expected) < _off(size, expected)


class _Masks(Sequence[np.ndarray]):
    """The masks of ``steps``: numbers in ``masks``, of which stays what is ``left`` (None: all); None: ``own``."""

    def __init__(
        self, masks: Sequence[np.ndarray], left: np.ndarray | None, steps: Sequence[int | None], own: np.ndarray
    ):
        self._masks, self._left, self._steps, self._own = masks, left, steps, own

    def __len__(self) -> int:
        return len(self._steps)

    def __getitem__(self, index):  # the mask of one step
        number = self._steps[index]
        if number is None:
            return self._own.copy()
        mask = np.asarray(self._masks[number], bool)
        return mask if self._left is None else mask & self._left


def _clearly_larger(sizes: np.ndarray, always: int) -> list[int]:
    """Numbers of those ``sizes`` that are clearly larger than all before; ``always`` is one of them."""
    chosen: list[int] = []
    for number, size in enumerate(sizes.tolist()):
        if size > (_SMALLEST_STEP * sizes[chosen[-1]] if chosen else 0):
            chosen.append(number)
        elif number == always:
            chosen = [n for n in chosen if sizes[n] * _SMALLEST_STEP < size] + [number]
    return chosen


def _left_on_grid(grid: WorkingGrid, allowed: np.ndarray | None, excluded: np.ndarray | None) -> np.ndarray | None:
    """What may be part of the object, on the working grid; None: everything."""
    left = allowed
    if excluded is not None:
        left = ~excluded if left is None else left & ~excluded
    return None if left is None else mask_to_grid(left, grid.shape)


def _largest(drawn: DrawnSlices, volume: Volume) -> tuple[Place, np.ndarray]:
    """The answer with the largest area."""
    return max(drawn.items(), key=lambda answer: _area(answer[0], answer[1], volume))


def _area(key: Place, mask: np.ndarray, volume: Volume) -> float:
    """Square millimetres of an answer."""
    if isinstance(key, PromptedPlane):
        pixel = float(np.prod(grid_of(key, volume).spacing[:2]))
    else:
        pixel = float(np.prod(volume.spacing)) / volume.spacing[AXES.index(key[0])]
    return np.count_nonzero(mask) * pixel


def _expected_voxels(drawn: DrawnSlices, prompts: Prompts, volume: Volume) -> float:
    """How many voxels an ellipsoid has that fills the boxes, or a ball whose section is as large as the largest slice answer."""
    hulls = [] if prompts.planes else box_hulls(prompts.boxes, room=0)
    if hulls:
        return sum(float(np.pi / 6 * np.prod(hull.size)) for hull in hulls)
    key, mask = _largest(drawn, volume)
    area = _area(key, mask, volume)
    return 4 / 3 * np.pi * (area / np.pi) ** 1.5 / float(np.prod(volume.spacing))


def _off(size: float, expected: float) -> float:
    return abs(float(np.log(max(size, 1) / max(expected, 1))))
