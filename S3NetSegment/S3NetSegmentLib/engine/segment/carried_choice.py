"""The choice between what is carried from prompted slices and what the direct search of the volume finds there, and a second look at
what was chosen.

Both are asked: candidates made of supervoxels, at a point deep inside the slice answer, and the carried object. A candidate is
judged by how well it agrees with what is known, the slices: the best one counts where it agrees well with them, else the carried object
does. The sections of the one that counts are then shown to the network of boxes (``objects/sections.py``), which votes with the
carried object.
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
from ..images.intensity import IntensityScale
from ..images.resample import mask_to_grid, resized
from .carry import CarriedObject, DrawnSlices, Place, carry_prompts, kept_near_drawn
from .object_choice import ObjectChoice
from .objects.candidates import deepest_point
from .objects.ranked import CLEARLY_DIFFERENT, SHOWN, Opinions, RankedCandidates
from .objects.sections import Part, seen_in_sections
from .objects.volume_features import agreement_of_sections
from .planes import AnsweredVoxels, allowed_by, grid_of
from .prompts import PromptedPlane, Prompts
from .working_grid import WorkingGrid

# All chosen on development volumes, see Testing/benchmarks/segment/volume_prompts.py.
_AGREEMENT_WEIGHT = 6.0  # of the agreement of a candidate with the slice answers, beside half its score
_SEARCHED = 0.9  # mean Dice of the best candidate with the slice answers, below which the carried object is chosen
_SECTIONS_SHARE = 0.6  # of the vote of the network, which is shown the sections, and the carried object
_MADE = ("carried", "sections")  # names of what is made of the slices, as sources
_SMALLEST_STEP = 1.02  # ratio of the sizes of neighbouring steps, at least


def prompted_choice(
    volume,
    grid: WorkingGrid,
    objects,
    prompts: Prompts,
    *,
    settings,
    scale: IntensityScale,
    device="auto",
    radius_mm=None,
    excluded=None,
    slices_so_far=None,
) -> Steps[CarriedChoice]:
    """The object in the volume that ``prompts`` show, as a generator of progress steps.

    :param volume: the ordered one, and all other parameters in its order, as those of ``grid``.
    :param objects: the :class:`VolumeObjects` on ``grid``. ``scale``: of the intensities. Other parameters and errors: see
        :func:`carry_prompts`.
    """
    extent = grid.extent
    prompts = prompts.checked(extent)
    steps = carry_prompts(
        volume, prompts, extent=extent, axis=grid.axis, settings=settings, device=device,
        slices_so_far=slices_so_far, excluded=excluded,
    )  # fmt: skip
    carried = yield from as_part_of(steps, 0.0, 0.6)
    slices = _Slices(carried.drawn, volume, grid, objects.graph)
    steps = objects.ranked_steps(slices.point, radius_mm=radius_mm, weighed=slices.weighed, certainty=None)
    ranked = yield from as_part_of(steps, 0.6, 0.8)
    yield Step(0.8, "Comparing answers")
    allowed = allowed_by(prompts, volume, extent)

    def kept(mask: np.ndarray) -> np.ndarray:
        return kept_near_drawn(mask, slices.answered, prompts, extent, allowed, excluded)

    ladder = _Ladder(objects, ranked, carried, grid, kept, _left_on_grid(grid, allowed, excluded), slices)
    array = volume.array[extent.slices]
    looking = _looked_at_again(ladder.native(ladder.first_step), carried, lambda place: scale.apply(array[place]))
    ladder.choose((yield from as_part_of(looking, 0.85, 1.0)))
    elsewhere = [v for v in prompts.outside_voxels if not any((a, v[n]) in carried.drawn for n, a in enumerate(AXES))]
    return CarriedChoice(ladder, objects, grid, [(grid.to_work(v), False) for v in elsewhere])


def _looked_at_again(first: np.ndarray, carried: CarriedObject, features) -> Steps[tuple[Part, np.ndarray]]:
    """A part of the extent, outside of which nothing belongs to the object, and how likely each voxel there does, float32: what the
    network says of the sections of ``first``, and the carried object."""
    if not first.any():  # other segments have taken all of it
        nothing = three(slice(0, 0) for _ in range(3))
        return nothing, np.zeros((0, 0, 0), np.float32)
    part, seen = yield from seen_in_sections(first, features)
    own, sure = carried.mask[part], carried.confidence[part]
    return part, _SECTIONS_SHARE * seen + (1 - _SECTIONS_SHARE) * np.where(own, sure, 1 - sure)


class CarriedChoice(ObjectChoice):
    """An :class:`ObjectChoice` two steps of which have the image's own resolution: the carried object, and what the second look made
    of it or of the best candidate. All others are candidates of the direct search; all hold the slices as they were answered.

    Attributes: ``carried`` (:class:`CarriedObject`, as the volume is stored), ``carried_step`` (its step on the ladder),
    ``candidate_step`` (that of the best candidate), ``first_step`` (the one of both that was looked at again).
    """

    def __init__(self, ladder: _Ladder, objects, grid: WorkingGrid, edits, index: int | None = None):
        super().__init__(ladder.ranked, objects, grid, edits, index)
        self._ladder = ladder
        self.carried_step, self.candidate_step = ladder.carried_step, ladder.candidate_step
        self.first_step = ladder.first_step

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
        """Those of the candidates, and as the last rows the objects that were made, of which nothing is measured."""
        found = super().opinions()
        made = len(self._ladder.made)
        votes = np.pad(found.votes, ((0, made), (0, made)))
        votes[-made:, -made:] = np.eye(made, dtype=votes.dtype)
        return replace(
            found, table=_with_nan(found.table, made), votes=votes, sources=(*found.sources, *_MADE[:made]),
            learned=_with_nan(found.learned, made), hand=_with_nan(found.hand, made), certainty=None,
        )  # fmt: skip

    def _vote(self) -> np.ndarray:
        """Half of the vote is that of the candidates, half that of the carried object and the second look."""
        scores = np.array(self._ranked.scores, np.float64)
        scores[[step for step in range(self.steps) if self._ladder.is_made(step)]] = -np.inf
        part, likely = self._ladder.seen
        whole = np.zeros(self._ladder.carried.mask.shape, np.float32)
        whole[part] = likely
        return (self._share(scores) + resized(whole, self._grid.shape)) / 2


def _with_nan(array: np.ndarray, rows: int) -> np.ndarray:
    return np.concatenate((array, np.full((rows, *array.shape[1:]), np.nan, array.dtype)))


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
        found = [agreement_of_sections(sets, self._graph.labels[places], plane) for places, plane in self._cuts]
        return np.mean(found, 0)

    def weighed(self, scores: np.ndarray, sets: np.ndarray) -> np.ndarray:
        """The scores of candidates with what the answers say of them, which counts more."""
        return scores / 2 + _AGREEMENT_WEIGHT * self.agreement(sets)

    def dice(self, mask: np.ndarray) -> float:
        """The same of one mask on the working grid."""
        return float(np.mean([dice(mask[places], plane) for places, plane in self._cuts]))

    def _places(self, index: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Samples of the working grid at voxels of the extent, one index array for each axis."""
        sizes = zip(index, self._grid.native, self._grid.shape, strict=True)
        return tuple(((places + 0.5) * m / n).astype(int) for places, n, m in sizes)


class _Ladder:
    """Candidates from small to large with what was made of the prompted slices among them.

    Attributes: ``ranked`` (what is left of each step on the working grid; after :meth:`choose`), ``carried``, ``made`` (masks over the
    extent by the names in :data:`_MADE`), ``searched`` (whether the best candidate counts more than the carried object), ``seen`` (see
    :func:`_looked_at_again`; after :meth:`choose`).

    :param found: the candidates. ``kept``: what of a mask over the extent may stay. ``left``: the same on the working grid, bool.
    """

    def __init__(
        self, objects, found: RankedCandidates, carried: CarriedObject, grid: WorkingGrid, kept, left, slices: _Slices
    ):
        self.carried, self.kept, self._found, self._grid = carried, kept, found, grid
        self.made: list[np.ndarray] = []
        sets = objects.measured(found.point).candidates.sets
        steps = list(range(len(found.masks)))
        if left is not None:  # which makes some of them alike
            held = np.bincount(objects.graph.labels[left], minlength=objects.graph.count)
            steps = _clearly_larger(sets[list(found.numbers)] @ held, found.best)
        self._steps = steps  # numbers of candidates; -1 is the first of those that were made
        self._masks = _Masks(found.masks, left, self._steps)
        self._rows = len(sets)
        self.searched = slices.dice(self._masks[self.candidate_step]) >= _SEARCHED
        self._insert(carried.mask)

    @property
    def first_step(self) -> int:
        return self.candidate_step if self.searched else self.carried_step

    @property
    def candidate_step(self) -> int:
        return self._steps.index(self._found.best)

    @property
    def carried_step(self) -> int:
        return self._steps.index(-1)

    def is_made(self, step: int) -> bool:
        return self._steps[step] < 0

    def _insert(self, mask: np.ndarray) -> None:
        work = mask_to_grid(mask, self._grid.shape)
        size = np.count_nonzero(work)
        place = bisect_left(range(len(self._steps)), size, key=lambda step: np.count_nonzero(self._masks[step]))
        self.made.append(mask)
        self._masks.made.append(work)
        self._steps.insert(place, -len(self.made))

    def choose(self, seen: tuple[Part, np.ndarray]) -> None:
        """Makes ``ranked``; ``seen``: see :func:`_looked_at_again`."""
        found, self.seen = self._found, seen
        again = np.zeros(self.carried.mask.shape, bool)
        again[seen[0]] = seen[1] > 0.5
        if again.any():
            self._insert(self.kept(again))
        order = [found.best, -1] if self.searched else [-1, found.best]
        order = [*range(-len(self.made), -1), *order, *found.alternatives[1:]]
        shown: list[int] = []
        for step in (self._steps.index(n) for n in order if n in self._steps):
            if len(shown) < SHOWN and all(dice(self._masks[step], self._masks[n]) < CLEARLY_DIFFERENT for n in shown):
                shown.append(step)
        # What was made has no score of its own: it counts as about as good as the best candidate.
        best = found.scores[found.best]
        own = {-1: best + (-1e-3 if self.searched else 1e-3), -2: best + 2e-3}
        scores = np.array([own[n] if n < 0 else found.scores[n] for n in self._steps])
        numbers = tuple(self._rows + ~n if n < 0 else found.numbers[n] for n in self._steps)
        worth = tuple(map(float, scores))
        self.ranked = RankedCandidates(self._masks, scores, shown[0], tuple(shown), numbers, worth, found.point)

    def native(self, step: int) -> np.ndarray:
        """The mask of a step over the extent, bool ``[K, J, I]``."""
        number = self._steps[step]
        if number < 0:
            return self.made[~number]
        return self.kept(self._grid.to_native(np.asarray(self._found.masks[number], bool), mask_to_grid))


class _Masks(Sequence[np.ndarray]):
    """The masks of ``steps``: numbers in ``masks``, of which stays what is ``left`` (None: all), or below 0 those that were ``made``."""

    def __init__(self, masks: Sequence[np.ndarray], left: np.ndarray | None, steps: list[int]):
        self._masks, self._left, self._steps = masks, left, steps
        self.made: list[np.ndarray] = []

    def __len__(self) -> int:
        return len(self._steps)

    def __getitem__(self, index):  # the mask of one step
        number = self._steps[index]
        if number < 0:
            return self.made[~number].copy()
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
