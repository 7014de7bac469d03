"""The object in a box: all candidates vote, each the more, the better it fits the box. Candidates are parts of regions at several
points of the box, clipped to it, a split by colours, and the ellipse."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ...common.arrays import box_around, two
from ...common.errors import InputError
from .candidates import EIGHT, Candidates, Distinct
from .ranked import NEARLY_EQUAL, Opinions, RankedCandidates, best_first, dice_matrix, rank_ladder
from .slice_features import COLUMN, SliceStatistics, measure

# Chosen on development slices: a candidate of one point more is e times as likely.
WEIGHTS = {"box_overlap": 12.0, "leak": -4.0, "colours_dice": 1.5, "contrast_inside": 0.5}
# A hand-drawn box is a little larger or smaller than the object: among candidates that fit better than this, fit decides nothing.
_WELL_FITTED = 0.92
CERTAINTY = 1.0
ISLAND = 0.1  # of the largest part: smaller ones are left out
_VOTE_AHEAD = 1.0  # how much better than the best candidate the mask counts that they all vote for
Point = tuple[int, int]  # row, column
MADE_SOURCES = ("colours", "ellipse")  # beside the label maps
NAMES = (
    "box_overlap",
    "leak",
    "log_fill",
    "colours_dice",
    "ellipse_dice",
    "contrast_inside",
)
_SURROUNDINGS = 0.35  # of the box that are looked at, as a share of its sides
_LEAST_SURROUNDINGS = 4.0  # pixels
_LARGEST_PART = 112  # samples along a side; a larger part is thinned out
_PROBES = ((0, 0), (-0.25, 0), (0.25, 0), (0, -0.25), (0, 0.25))  # from the middle of the box, in shares of its sides
_LEAST_SAMPLES = 4
_SMALL_HOLES = 0.05  # share of the object
_ROUNDS = 3
_OBJECT_PARTS, _SURROUNDING_PARTS = 2, 3  # normal distributions of each side
_MOST_SAMPLES = 600
_INNER = 0.6  # the ellipse that the object is first learned from, as a share of the box
_SMALLEST_DEVIATION = 0.15  # of a normal distribution, in standard deviations of the lightness
_RATIO = 4.0  # log-ratios beyond are taken as this
_PRIOR_SLOPE, _PRIOR_LIMITS = 4.0, (-3.0, 2.0)
_SMOOTHING = 1.0  # pixels


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


def without_islands(soft: np.ndarray) -> np.ndarray:
    """``soft`` with 0 in parts that are far smaller than the largest one: a vote of many candidates leaves such crumbs where a
    few of them agree."""
    parts, count = ndimage.label(soft > 0.5)
    if count < 2:
        return soft
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    small = sizes < ISLAND * sizes.max()
    small[0] = False
    return np.where(small[parts], 0, soft)


def ranked_in_box(
    maps: dict[str, list[np.ndarray]],
    statistics: SliceStatistics,
    edges: Sequence[float],
    *,
    excluded: np.ndarray | None = None,
) -> RankedCandidates:
    """The candidates for the object in a box of the slice, and as the best one what they vote for.

    :param edges: top, bottom, left and right in pixels, counted from the outer corner of the slice.
    :param excluded: bool ``[h, w]``, what it must not hold.
    """
    shape = statistics.shape
    part = BoxPart.around(shape, edges, excluded)
    if not part.box.any():
        raise InputError(
            "all of the box belongs to other segments, which the object must not touch; draw it elsewhere, or allow overlap"
        )
    candidates = box_candidates(maps, statistics, part)
    scores = scores_of(candidates)
    soft = without_islands(vote(candidates, scores))
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
    sources = (*maps, *MADE_SOURCES, "vote")
    opinions = Opinions(NAMES, table, np.zeros(len(scores)), scores, sources, votes, CERTAINTY)
    middle = (int(np.mean(edges[:2])), int(np.mean(edges[2:])))
    ranked = rank_ladder(ladder, whole, order, scores, overlap, CERTAINTY)
    point = tuple(min(max(p, 0), n - 1) for p, n in zip(middle, shape, strict=True))
    return dataclasses.replace(ranked, opinions=opinions, point=point)


@dataclass(frozen=True)
class BoxPart:
    """The part of a slice around a box, thinned out where it is large.

    :param rows, columns: of the slice. ``step``: only every so many of them are looked at.
    :param edges: top, bottom, left and right of the box in samples of the part, counted from the outer corner.
    :param box: bool ``[h, w]``, the samples in the box that may belong to the object. ``radius``: see ``elliptic_radius``.
    """

    rows: slice
    columns: slice
    step: int
    edges: np.ndarray
    box: np.ndarray
    radius: np.ndarray

    @classmethod
    def around(cls, shape: tuple[int, int], edges: Sequence[float], excluded: np.ndarray | None = None) -> BoxPart:
        """:param edges: of the box in pixels of the slice. ``excluded``: bool ``shape``, what the object must not hold."""
        sides = np.asarray(edges, float)
        ranges, lengths = [], []
        for (low, high), length in zip(sides.reshape(2, 2), shape, strict=True):
            margin = max(_LEAST_SURROUNDINGS, _SURROUNDINGS * (high - low))
            ranges.append((max(0, int(np.floor(low - margin))), min(length, int(np.ceil(high + margin)))))
            lengths.append(ranges[-1][1] - ranges[-1][0])
        step = -(-max(lengths) // _LARGEST_PART)
        rows, columns = (slice(first, last, step) for first, last in ranges)
        own = (sides - np.repeat([rows.start, columns.start], 2)) / step
        size = two(len(range(s.start, s.stop, step)) for s in (rows, columns))
        box = np.zeros(size, bool)
        (top, left), (bottom, right) = np.floor(own[[0, 2]] + 0.5).astype(int), np.ceil(own[[1, 3]] - 0.5).astype(int)
        top, left = min(max(top, 0), size[0] - 1), min(max(left, 0), size[1] - 1)
        box[top : max(bottom, top + 1), left : max(right, left + 1)] = True
        if excluded is not None:
            box &= ~excluded[rows, columns]
        return cls(rows, columns, step, own, box, elliptic_radius(size, own))

    def of(self, array: np.ndarray) -> np.ndarray:
        return array[self.rows, self.columns]

    def probes(self) -> list[Point]:
        """The middle of the box and four samples around it, those that may belong to the object."""
        top, bottom, left, right = self.edges
        places = (
            ((top + bottom) / 2 + down * (bottom - top), (left + right) / 2 + across * (right - left))
            for down, across in _PROBES
        )
        height, width = self.box.shape
        found = [(int(np.clip(y, 0, height - 1)), int(np.clip(x, 0, width - 1))) for y, x in places]
        return [p for p in dict.fromkeys(found) if self.box[p]]

    def whole(self, soft: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """``soft`` (0 to 1, ``[h, w]`` of this part) cut at a half on the slice, bool ``shape``."""
        out = np.zeros(shape, bool)
        values = soft.astype(np.float32)
        for axis, place in enumerate((self.rows, self.columns)):
            at = np.arange(place.stop - place.start) / self.step
            first = np.minimum(at.astype(int), values.shape[axis] - 1)
            second = np.minimum(first + 1, values.shape[axis] - 1)
            share = np.expand_dims((at - first).astype(np.float32), 1 - axis)
            values = (1 - share) * np.take(values, first, axis) + share * np.take(values, second, axis)
        out[self.rows.start : self.rows.stop, self.columns.start : self.columns.stop] = values > 0.5
        return out


@dataclass(frozen=True)
class BoxCandidates:
    """Candidates in a box. ``masks`` bool ``[n, h, w]`` on the part, ``votes`` ``[n, sources]`` (the sources of the label
    maps, then :data:`MADE_SOURCES`), ``table`` ``[n, len(NAMES)]``, ``overlap`` Dice ``[n, n]``."""

    masks: np.ndarray
    votes: np.ndarray
    table: np.ndarray
    overlap: np.ndarray

    def column(self, name: str) -> np.ndarray:
        return self.table[:, NAMES.index(name)]


def box_candidates(
    maps: dict[str, list[np.ndarray]],
    statistics: SliceStatistics,
    part: BoxPart,
) -> BoxCandidates:
    """All candidates in the box of ``part``.

    :param statistics: of the whole slice.
    """
    found = _Found(len(maps) + len(MADE_SOURCES))
    probes = part.probes()
    for source, of_source in enumerate(maps.values()):
        for labels in of_source:
            _add_regions(found, part.of(labels), part.box, probes, source)
    own = statistics.part(part.rows, part.columns)
    _, split = colour_split(own.smooth, part.box, part.radius)
    ellipse = part.box & (part.radius <= 1)
    ellipse = ellipse if ellipse.any() else part.box
    for source, mask in ((-2, split), (-2, ndimage.binary_fill_holes(split) & part.box), (-1, ellipse)):
        found.add_clipped(mask, 0.0, source)
    masks, votes = found.arrays()
    overlap = dice_matrix(masks)
    usual = measure(Candidates(masks, votes, np.zeros(len(masks), bool)), own, overlap, None)
    columns = {
        "box_overlap": [_overlap(_edges(mask), part.edges) for mask in masks],
        "leak": [np.mean(leaks) for leaks in found.leaks],
        "log_fill": np.log(masks.sum((1, 2)) / max(1, np.count_nonzero(part.box))),
        "colours_dice": overlap[:, found.number_of(split)],
        "ellipse_dice": overlap[:, found.number_of(ellipse)],
        "contrast_inside": usual[:, COLUMN["contrast_inside"]],
    }
    return BoxCandidates(masks, votes, np.stack([np.asarray(columns[n], float) for n in NAMES], 1), overlap)


class _Found(Distinct):
    """Candidates as they are found, and how much of each lay outside the box before it was clipped."""

    def __init__(self, sources: int):
        super().__init__(sources)
        self.leaks: list[list[float]] = []

    def add_clipped(self, mask: np.ndarray, leak: float, source: int) -> None:
        place = self.add(mask, source)
        if place == len(self.leaks):
            self.leaks.append([])
        self.leaks[place].append(leak)


def _add_regions(found: _Found, labels: np.ndarray, box: np.ndarray, probes: list[Point], source: int) -> None:
    """The connected parts of ``labels`` at the probes, clipped, and with their holes filled."""
    seen = np.zeros(labels.shape, bool)
    for probe in probes:
        if seen[probe]:
            continue
        parts, _ = ndimage.label(labels == labels[probe], EIGHT)
        region = parts == parts[probe]
        seen |= region
        clipped = region & box
        inside = np.count_nonzero(clipped)
        if inside < _LEAST_SAMPLES:
            continue
        filled = ndimage.binary_fill_holes(clipped) & box
        leak = 1 - inside / np.count_nonzero(region)
        found.add_clipped(filled, leak, source)
        if np.count_nonzero(filled) > (1 + _SMALL_HOLES) * inside:  # a ring, or an object with a ring's hole filled
            found.add_clipped(clipped, leak, source)


def _edges(mask: np.ndarray) -> np.ndarray:
    rows, columns = box_around(mask)
    return np.array([rows.start, rows.stop, columns.start, columns.stop], float)


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Common area of two rectangles over the area that either covers."""
    height, width = (max(0.0, min(one[n + 1], other[n + 1]) - max(one[n], other[n])) for n in (0, 2))
    areas = sum((r[1] - r[0]) * (r[3] - r[2]) for r in (one, other))
    return height * width / (areas - height * width)


def elliptic_radius(shape: tuple[int, int], edges: np.ndarray) -> np.ndarray:
    """Distance from the middle of a box, 1 on the ellipse that fills it; float ``[h, w]``.

    :param edges: top, bottom, left and right of the box in pixels, counted from the outer corner of the first one.
    """
    top, bottom, left, right = edges
    rows = (np.arange(shape[0])[:, None] + 0.5 - (top + bottom) / 2) / max((bottom - top) / 2, 0.5)
    columns = (np.arange(shape[1])[None] + 0.5 - (left + right) / 2) / max((right - left) / 2, 0.5)
    return np.sqrt(rows**2 + columns**2)


def colour_split(features: np.ndarray, box: np.ndarray, radius: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A box split into object and surroundings by grey values or colours alone, in the way of GrabCut but without a cut.

    A mixture of normal distributions learns the inner ellipse, another one the band around the box; the log-ratio of their
    densities, plus how far inside the ellipse a sample lies, is smoothed and cut at 0. Repeated with the answer as the object.

    :returns: how much each sample looks like the object (float ``[h, w]``, above 0: more than like its surroundings), and the
    connected object in the box (bool), which is never empty.

    :param features: float ``[h, w, C]``, a part of a slice with some surroundings of the box.
    :param box: bool ``[h, w]``. ``radius``: :func:`elliptic_radius` of it.
    """
    rng = np.random.default_rng(0)
    smooth = np.stack([ndimage.gaussian_filter(c, 0.7) for c in np.moveaxis(features, 2, 0)], -1)
    samples = smooth / (smooth[..., 0].std() + 1e-3)
    ellipse = box & (radius <= 1)
    ellipse = ellipse if ellipse.any() else box
    current = box & (radius <= _INNER)
    current = current if np.count_nonzero(current) >= 5 else ellipse
    around = ~box if np.count_nonzero(~box) >= 5 else ~ellipse
    around = around if around.any() else np.ones_like(box)
    outside = _log_density(samples, around, _SURROUNDING_PARTS, rng)
    prior = np.clip(_PRIOR_SLOPE * (1 - radius), *_PRIOR_LIMITS)
    likeness = prior
    for _ in range(_ROUNDS):
        ratio = np.clip(_log_density(samples, current, _OBJECT_PARTS, rng) - outside, -_RATIO, _RATIO)
        likeness = ndimage.gaussian_filter(ratio + prior, _SMOOTHING)
        found = _main_part((likeness > 0) & box, ellipse)
        if found is None:
            break
        current = found
    return likeness, current


def _main_part(mask: np.ndarray, ellipse: np.ndarray) -> np.ndarray | None:
    """The connected part that covers most of the ellipse; None where there is hardly any."""
    parts, count = ndimage.label(mask)
    covered = np.bincount(parts[ellipse], minlength=count + 1)
    covered[0] = 0
    if covered.max() < 5:
        return None
    return parts == covered.argmax()


def _log_density(samples: np.ndarray, chosen: np.ndarray, parts: int, rng: np.random.Generator) -> np.ndarray:
    """log-density of every sample under a mixture of ``parts`` round normal distributions learned from the chosen."""
    values = samples[chosen]
    values = values[rng.permutation(len(values))[:_MOST_SAMPLES]]
    parts = min(parts, max(1, len(values) // 12))
    centres = values[:parts]
    for _ in range(6):
        nearest = ((values[:, None] - centres) ** 2).sum(2).argmin(1)
        centres = np.stack([values[nearest == n].mean(0) if (nearest == n).any() else c for n, c in enumerate(centres)])
    own = [values[nearest == n] for n in range(parts)]
    deviations = np.array([max(v.std(0).mean(), _SMALLEST_DEVIATION) if len(v) > 2 else 0.4 for v in own])
    shares = np.array([max(len(v) / len(values), 1e-3) for v in own])
    squared = ((samples[:, :, None] - centres) ** 2).sum(3)
    density = (shares * np.exp(-squared / (2 * deviations**2)) / deviations ** samples.shape[2]).sum(2)
    return np.log(density + 1e-4)
