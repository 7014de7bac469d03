"""The vote: how much each part of the answer counts (the prior mix, and what predicts a hidden drawn slice best), and the vote itself at the
image's own resolution, made a few slices at a time and only where there is something to decide."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
from scipy import ndimage

from ...common.arrays import bounding_box, two
from ...common.device import one_threaded
from ...common.progress import Step, Steps
from ...segment.objects.sections import Part
from ..frame import Frame, Window

# Parts: "carried" (registration with appearance), "registered" (registration alone), "grown" (GrowCut), "appearance".
Mix = Mapping[str, float]

COMPACT_MIXES: tuple[Mix, ...] = (
    {"carried": 1},
    {"carried": 3, "grown": 1},
    {"carried": 1, "grown": 1},
    {"carried": 1, "grown": 3},
    {"carried": 1, "registered": 1},
    {"registered": 1, "grown": 1},
    {"grown": 1},
)
SCATTERED_MIXES: tuple[Mix, ...] = (
    {"grown": 2, "appearance": 1},
    {"grown": 1, "appearance": 1},
    {"grown": 1},
)
WEIGHING = "Weighing"
_PRIOR_BONUS = 0.01  # Dice by which another mix must be better than the prior one
_LEAST_SHARE = 0.01
_SIDE_FROM, _SIDE_TO = 0.38, 0.44  # how often appearance is with GrowCut before, and until, carried masks count no more
_FURTHER_SHARES = (0.15, 0.35, 0.6, 1.0)
_FURTHER_ALONE = 0.9  # of the Dice of the others that it must reach without them
_FURTHER_GAIN = 0.01  # Dice that a further part must gain on hidden slices
_GROW_BLUR = 0.7  # pixels, of GrowCut's labels and of the vote before its sure voxels are taken
_VALUES_AT_ONCE = 600_000  # voxels times classes decided in one step, about 0.05 s
_VALUES_KEPT = 60_000_000  # voxels times classes of a vote that is not made a second time
_SEEN = 0.5  # of what counts for a class: what the network says of its sections, chosen on pairs of patients
_NOTHING = 0.02  # share of all segments together, below which a voxel is background
_MARGIN = 5  # pixels around everything else
_CORNERS_TOUCH = np.ones((3, 3), bool)


def prior_mix(scattered: bool, anisotropy: float) -> Mix:
    """The mix where nothing is known about how the parts do.

    :param anisotropy: 1 to 4; where neighbouring slices hardly overlap, GrowCut is poor and carrying counts more.
    """
    return {"grown": 2, "appearance": 1} if scattered else {"carried": anisotropy, "grown": 1}


def weighted_mix(
    prior: Mix, candidates: tuple[Mix, ...], hidden: list[tuple[dict, torch.Tensor]], softness: float
) -> Steps[Mix]:
    """The average of all candidates and the prior, weighted by exp(softness * Dice on hidden drawn slices), as a generator of
    progress steps.

    :param hidden: for each hidden slice the parts ``name -> [C, h, w]`` and what is drawn there, classes ``[h, w]``.
    :returns: part -> share; shares sum to 1.
    """
    mixes = [*candidates, prior]
    scores = np.empty(len(mixes))
    for n, mix in enumerate(mixes):
        yield Step(n / len(mixes), WEIGHING)
        scores[n] = mean_dice(mix, hidden)
    if np.isnan(scores).any():
        return normalised(prior)
    scores[-1] += _PRIOR_BONUS
    weights = np.exp(softness * (scores - scores.max()))
    total: dict[str, float] = {}
    for mix, weight in zip(mixes, weights / weights.sum(), strict=True):
        for part, share in mix.items():
            total[part] = total.get(part, 0.0) + float(weight) * share / sum(mix.values())
    return normalised({part: share for part, share in total.items() if share > _LEAST_SHARE})


def side_with_grown(logs: torch.Tensor, carried: torch.Tensor, grown: torch.Tensor) -> float:
    """Where carried masks and GrowCut disagree and appearance is with one of them: how often it is with GrowCut, 0 to 1.

    :param logs: ``[n, C, h, w]``, log-probabilities of the appearance.
    :param carried, grown: ``[n, h, w]``, classes.
    """
    seen = logs.argmax(1)
    differ = carried != grown
    for_grown, for_carried = (int((differ & (seen == part)).sum()) for part in (grown, carried))
    return for_grown / max(1, for_grown + for_carried)


def doubt_of_carrying(side: float) -> float:
    """How little the carried masks are to be believed, 0 to 1, when appearance sides with GrowCut that often. GrowCut
    reaches further, so that it has to be with it almost as often as with the carried masks."""
    return float(np.clip((side - _SIDE_FROM) / (_SIDE_TO - _SIDE_FROM), 0, 1))


def arbitrated(prior: Mix, doubt: float) -> dict[str, float]:
    """The prior mix, and as far as carrying is in doubt that of scattered targets."""
    total = {part: (1 - doubt) * value for part, value in normalised(prior).items()}
    for part, value in normalised(prior_mix(True, 1.0)).items():
        total[part] = total.get(part, 0.0) + doubt * value
    return {part: value for part, value in total.items() if value > 0}


def looks_scattered(hidden: list[tuple[dict, torch.Tensor]]) -> bool:
    """Whether hidden drawn slices are predicted clearly better when nothing is carried."""
    best = [max(mean_dice(mix, hidden) for mix in mixes) for mixes in (SCATTERED_MIXES[:2], COMPACT_MIXES)]
    return best[0] > best[1] + _PRIOR_BONUS


def further_share(mix: Mix, part: str, prior: float, hidden: list[tuple[dict, torch.Tensor]]) -> float:
    """Share of the vote for a further ``part`` beside ``mix``, 0 to 1: what predicts hidden drawn slices best, and nothing
    unless it is clearly better; ``prior`` where no slice is hidden.

    :param hidden: as in :func:`weighted_mix`, with ``part`` among the parts.
    """
    plain = mean_dice(mix, hidden)
    if np.isnan(plain):
        return prior
    scores = {share: mean_dice(mixed(mix, part, share), hidden) for share in _FURTHER_SHARES}
    best = max(scores, key=lambda share: scores[share])
    # Hidden slices lie in gaps twice as wide, where any blurred guess helps: a part must also be worth something alone.
    return best if scores[best] > plain + _FURTHER_GAIN and scores[1.0] >= _FURTHER_ALONE * plain else 0.0


def mixed(mix: Mix, part: str, share: float) -> dict[str, float]:
    """``mix`` with ``share`` of it given to ``part``."""
    if share == 0:
        return dict(mix)
    return {**{name: (1 - share) * own for name, own in normalised(mix).items() if share < 1}, part: share}


def normalised(mix: Mix) -> dict[str, float]:
    total = sum(mix.values())
    return {part: share / total for part, share in mix.items()}


def mean_dice(mix: Mix, hidden) -> float:
    """Over hidden slices and the classes drawn there; NaN if nothing is drawn on any."""
    scores = []
    for parts, drawn in hidden:
        found = sum(share * parts[part] for part, share in mix.items()).argmax(0)
        scores += class_dice(found, drawn)
    return float(np.mean(scores)) if scores else float("nan")


def class_dice(found: torch.Tensor, drawn: torch.Tensor) -> list[float]:
    """Dice of each class (not the background) that is drawn."""
    scores = []
    for c in torch.unique(drawn[drawn > 0]).tolist():
        a, b = found == c, drawn == c
        scores.append(float(2 * (a & b).sum() / (a.sum() + b.sum())))
    return scores


class Vote:
    """Shares of the classes on slices ``first`` to ``last`` of ``frame``.

    :param soft: ``[n, C, h, w]``, weighted sum of the parts on the working grid.
    :param grown: uint8 ``[n, H, W]``, GrowCut's classes; None: not used.
    :param grown_share: weight of ``grown`` in the vote.
    :param grown_blur: factor of the blur of GrowCut's labels, less than 1 for thin segments.
    :param ends: ``[n, C]``, factor of each class on each slice.
    :param reach: ``[n, C, h, w]``, factor of each class on the working grid; None: 1.
    """

    def __init__(
        self,
        frame: Frame,
        first: int,
        last: int,
        soft: torch.Tensor,
        grown: np.ndarray | None,
        grown_share: float,
        grown_blur: float,
        ends: torch.Tensor,
        reach: torch.Tensor | None = None,
    ):
        self._frame, self.first, self.last = frame, first, last
        self._soft, self._ends, self._reach, self._classes = soft, ends, reach, soft.shape[1]
        self._grown, self._share, self._blur = grown, grown_share, _GROW_BLUR * grown_blur
        self._again: np.ndarray | None = None
        self._again_share = 0.0
        self._seen: dict[int, tuple[slice, Window, torch.Tensor]] = {}
        self._count = last - first + 1
        self._window = self._window_of_votes()
        self._start_anew()

    def add_second(self, labels: np.ndarray, share: float) -> None:
        """Mixes the classes ``[n, H, W]`` of a second GrowCut in with weight ``share``."""
        self._again, self._again_share = labels, share
        self._widen(_window_around(np.any(labels > 0, 0)))

    def add_seen(self, c: int, part: Part, likely: np.ndarray) -> None:
        """Mixes in how ``likely`` the voxels of a ``part`` of ``[n, H, W]`` belong to class ``c``, and none elsewhere: half of what counts
        for that class."""
        slices, *window = part
        self._seen[c] = slices, two(window), torch.from_numpy(likely)
        self._widen(two(window))

    def _widen(self, window: Window) -> None:
        """Votes in ``window``, too."""
        window = _union(self._window, window)
        if window != self._window:
            self._window = window
            self._start_anew()

    def _start_anew(self) -> None:
        """Forgets what was computed in another window."""
        self._votes: dict[int, torch.Tensor] = {}
        grown = self._grown
        self._grown_blurred = None if grown is None else self._blurred(partial(self._one_hot, grown), self._blur)

    @one_threaded
    def sure_voxels(self, least: float) -> Steps[np.ndarray]:
        """Class + 1 where the blurred vote is surer than ``least``, else 0; uint8 ``[n, H, W]``."""
        sure = np.ones((self._count, *self._frame.box.shape), np.uint8)
        votes = self._blurred(self._vote, _GROW_BLUR)
        for n in self._slices():
            if n % self._at_once == 0:
                yield Step(n / self._count, "Voting")
            shares = votes.at(n)
            best, classes = shares.max(0)
            known = best > least * shares.sum(0)
            sure[(n, *self._window)] = torch.where(known, classes + 1, 0).numpy()
        return sure

    @one_threaded
    def decisions(self) -> Steps[tuple[np.ndarray, np.ndarray, torch.Tensor]]:
        """Classes (uint8), their probabilities (float32), ``[n, H, W]``, and the sums of both in each slice,
        ``[n, 4, C]``: probability inside the class, voxels of the class, probability anywhere; and the largest probability."""
        shape = (self._count, *self._frame.box.shape)
        classes, sureness = np.zeros(shape, np.uint8), np.ones(shape, np.float32)
        sums = torch.zeros(shape[0], 4, self._classes)
        again = None if self._again is None else self._blurred(partial(self._one_hot, self._again), _GROW_BLUR)
        for n in self._slices():
            if n % self._at_once == 0:
                yield Step(n / self._count, "Deciding")
            shares = self._vote(n)
            if again is not None:
                shares = torch.lerp(shares, again.at(n), self._again_share)
            shares = self._with_seen(n, shares / shares.sum(0))
            best, winner = shares.max(0)
            sums[n, 2], sums[n, 3] = shares.sum((1, 2)), shares.amax((1, 2))
            for c in range(self._classes):
                mine = winner == c
                sums[n, 0, c], sums[n, 1, c] = (shares[c] * mine).sum(), mine.sum()
            classes[(n, *self._window)], sureness[(n, *self._window)] = winner.numpy(), best.numpy()
        return classes, sureness, sums

    def _with_seen(self, n: int, shares: torch.Tensor) -> torch.Tensor:
        """``shares`` ``[C, H', W']`` with what :meth:`add_seen` has added for slice ``n``."""
        if not self._seen:
            return shares
        top, left = (s.start for s in self._window)
        mixed = shares.clone()
        for c, (slices, (rows, columns), found) in self._seen.items():
            own = torch.zeros_like(shares[c])
            if slices.start <= n < slices.stop:
                place = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
                own[place] = found[n - slices.start]
            mixed[c] = torch.lerp(shares[c], own, _SEEN)
        mixed[0] = (1 - mixed[1:].sum(0)).clamp(min=0)
        return mixed / mixed.sum(0)

    @property
    def _at_once(self) -> int:
        """Slices between two steps of progress."""
        size = (self._window[0].stop - self._window[0].start) * (self._window[1].stop - self._window[1].start)
        return max(1, _VALUES_AT_ONCE // max(1, size * self._classes))

    def _slices(self) -> list[int]:
        """The slices on which, or on whose neighbours, there is something to decide."""
        filled = (self._soft[:, 1:].sum(1) > _NOTHING).any((1, 2)).numpy()
        for labels in (self._grown, self._again):
            if labels is not None:
                filled |= (labels > 0).any((1, 2))
        near = filled.copy()
        near[1:] |= filled[:-1]
        near[:-1] |= filled[1:]
        return np.flatnonzero(near).tolist()

    def _window_of_votes(self) -> Window:
        """Rows and columns outside of which all slices are background."""
        found = (self._soft[:, 1:].sum(1) > _NOTHING).any(0).numpy()
        sizes = zip(_window_around(found), self._frame.box.shape, found.shape, strict=True)
        window = two(_scaled(span, n / m, n) for span, n, m in sizes)
        if self._grown is not None:
            window = _union(window, _window_around(np.any(self._grown > 0, 0)))
        return two(
            slice(max(0, s.start - _MARGIN), min(n, s.stop + _MARGIN)) if s.stop > s.start else s
            for s, n in zip(window, self._frame.box.shape, strict=True)
        )

    def _vote(self, n: int) -> torch.Tensor:
        """Class shares ``[C, H', W']`` on slice ``n`` without the second GrowCut; asked for twice, so they are kept where
        memory allows it."""
        if n in self._votes:
            return self._votes[n]
        total = self._frame.enlarged(self._soft[n : n + 1], self._window)[0]
        if self._grown_blurred is not None and self._share > 0:
            total = total + self._share * self._grown_blurred.at(n)
        total = total * self._ends[n, :, None, None]
        if self._reach is not None:
            total *= self._frame.enlarged(self._reach[n : n + 1], self._window)[0]
        total[0] += (1 - total.sum(0)).clamp(min=0)
        if total.numel() * self._count <= _VALUES_KEPT:
            self._votes[n] = total
        return total

    def _one_hot(self, labels: np.ndarray, n: int) -> torch.Tensor:
        part = torch.from_numpy(labels[(n, *self._window)])
        return torch.stack([(part == c).float() for c in range(self._classes)])

    def _blurred(self, make: Callable[[int], torch.Tensor], sigma: float) -> _BlurredSlices:
        across = sigma * self._frame.spacing[1] / self._frame.spacing[0]
        return _BlurredSlices(make, self._count, sigma, across)


class _BlurredSlices:
    """Slices ``make(n)`` ``[C, H, W]``, n from 0 to ``count`` - 1, after a Gaussian of ``sigma`` pixels in the slice and
    ``across`` slices; edges are repeated. Asked for one after the other, each is made and blurred in itself only once."""

    def __init__(self, make: Callable[[int], torch.Tensor], count: int, sigma: float, across: float):
        self._make, self._count, self._sigma = make, count, sigma
        reach = np.arange(-int(3 * across + 0.5), int(3 * across + 0.5) + 1) if across > 0.05 else np.zeros(1, int)
        share = np.exp(-0.5 * (reach / max(across, 1e-6)) ** 2)
        self._shares = list(zip(reach.tolist(), (share / share.sum()).tolist(), strict=True))
        self._near: dict[int, torch.Tensor] = {}

    def at(self, n: int) -> torch.Tensor:
        (offset, share), *others = self._shares
        total = self._plane(min(max(n + offset, 0), self._count - 1)) * share
        for offset, share in others:
            total.add_(self._plane(min(max(n + offset, 0), self._count - 1)), alpha=share)
        self._near = {z: plane for z, plane in self._near.items() if z >= n + self._shares[0][0]}
        return total

    def _plane(self, n: int) -> torch.Tensor:
        if n not in self._near:
            values = self._make(n).numpy()
            for axis in (1, 2):
                if self._sigma > 0.05 and values.shape[axis] > 1:
                    values = ndimage.gaussian_filter1d(values, self._sigma, axis, mode="nearest", truncate=3.0)
            self._near[n] = torch.from_numpy(values)
        return self._near[n]


def _window_around(plane: np.ndarray) -> Window:
    """Rows and columns of ``plane`` (bool ``[H, W]``) that hold anything; empty if none do."""
    return two(bounding_box(plane) or (slice(0, 0), slice(0, 0)))


def _scaled(span: slice, factor: float, size: int) -> slice:
    return slice(int(span.start * factor), min(size, int(np.ceil(span.stop * factor))))


def _union(a: Window, b: Window) -> Window:
    if a[0].stop <= a[0].start:
        return b
    if b[0].stop <= b[0].start:
        return a
    return two(slice(min(s.start, t.start), max(s.stop, t.stop)) for s, t in zip(a, b, strict=True))


def keep_one_part(classes: np.ndarray, sureness: np.ndarray, sums: torch.Tensor) -> None:
    """Makes background, in place, of all parts of a class in a slice but that with the largest sum of probabilities. Pixels whose
    corners touch belong together.

    :param classes: ``[n, H, W]``, 0 the background. :param sureness: ``[n, H, W]``, probability of that class; what becomes
        background keeps 1 minus it.
    :param sums: ``[n, 4, C]``, see :meth:`~..vote.decision.Vote.decisions`; the first two follow.
    """
    for n, plane in enumerate(classes):
        for c in np.unique(plane[plane > 0]).tolist():
            parts, count = ndimage.label(plane == c, _CORNERS_TOUCH)
            if count < 2:
                continue
            weights = ndimage.sum_labels(sureness[n], parts, np.arange(1, count + 1))
            lost = (parts > 0) & (parts != 1 + int(np.argmax(weights)))
            plane[lost] = 0
            sums[n, 0, c], sums[n, 1, c] = float(weights.max()), int(np.count_nonzero(plane == c))
            sureness[n][lost] = 1 - sureness[n][lost]
