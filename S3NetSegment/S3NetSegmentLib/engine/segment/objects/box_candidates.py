"""The object in a box: all candidates vote, each the more, the better it fits the box and what a network makes of it, and the network
votes with them. Candidates are parts of regions at several points of the box, a split by colours, the ellipse and the network's
answer; clipped not to the box as it is drawn, but where a hand that missed the object's sides would still have meant them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ...common.errors import InputError
from .box_network import BoxAnswer
from .box_part import MOST_ROOM, SIDE_ERROR, BoxPart, Point
from .candidates import EIGHT, Distinct, small_parts, without_holes
from .colour_split import colour_split
from .ranked import CLEARLY_DIFFERENT, NEARLY_EQUAL, Opinions, RankedCandidates, best_first, dice_matrix, rank_ladder
from .slice_features import SliceStatistics, contrast_inside

# Chosen on development slices: a candidate of one point more is e times as likely.
WEIGHTS = {"sides": 0.5, "leak": -3.0, "log_fill": 0.75, "contrast_inside": 0.5, "network": 4.0}
NETWORK_SHARE = 0.45  # of the vote
CROSSING = 8.0  # of the Dice with what slices that cross this one show; 3 to 8 were compared on development volumes
_USUAL_ROOM = 0.07  # that a hand leaves around an object on average, as a share of the box's sides
_LEAST_ERROR = 0.8  # samples by which a side is missed at least
_FARTHEST = 12.0  # squared errors; a side that is farther away counts as this
CERTAINTY = 1.0
ISLAND = 0.1  # of the largest part: smaller ones are left out
_LEAST_STEP = 0.02  # of an object's size
_VOTE_AHEAD = 1.0  # how much better than the best candidate the mask counts that they all vote for
MADE_SOURCES = ("colours", "ellipse", "network")  # beside the label maps
NAMES = tuple(WEIGHTS)
_LEAST_SAMPLES = 4
_SMALL_HOLES = 0.05  # share of the object


def scores_of(candidates: BoxCandidates) -> np.ndarray:
    """Like log-probabilities up to a constant, ``[n]``."""
    return np.sum([weight * candidates.column(name) for name, weight in WEIGHTS.items()], 0)


def vote(candidates: BoxCandidates, scores: np.ndarray) -> np.ndarray:
    """The probability that each sample belongs to the object, ``[h, w]``."""
    shares = np.exp(CERTAINTY * (scores - scores.max()))
    of_candidates = np.tensordot(shares / shares.sum(), candidates.masks.astype(np.float32), 1)
    return (1 - NETWORK_SHARE) * of_candidates + NETWORK_SHARE * candidates.network


def _agreement(masks: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Dice ``[n]`` of ``masks`` ``[n, h, w]`` with what is known of the samples ``inside`` and ``outside`` ``[2, m]`` the object."""
    hit, wrong = (masks[:, rows, columns].sum(1) for rows, columns in (inside, outside))
    return 2 * hit / np.maximum(hit + wrong + inside.shape[1], 1)


def without_islands(soft: np.ndarray) -> np.ndarray:
    """``soft`` with 0 in parts that are far smaller than the largest one: a vote of many candidates leaves such crumbs where a
    few of them agree."""
    small = small_parts(soft > 0.5, ISLAND)
    return np.where(small, 0, soft) if small.any() else soft


def ranked_in_box(
    maps: dict[str, list[np.ndarray]],
    statistics: SliceStatistics,
    network: BoxAnswer,
    edges: Sequence[float],
    *,
    excluded: np.ndarray | None = None,
    shown: Sequence[Sequence[Point]] | None = None,
) -> RankedCandidates:
    """The candidates for the object in a box of the slice, and as the best one what they vote for.

    :param network: what the network says of the box.
    :param edges: top, bottom, left and right in pixels, counted from the outer corner of the slice.
    :param excluded: bool ``[h, w]``, what it must not hold.
    :param shown: samples of the slice in and outside the object, as slices that cross this one show it.
    """
    shape = statistics.shape
    part = BoxPart.around(shape, edges, excluded)
    if not part.box.any():
        raise InputError(
            "all of the box belongs to other segments, which the object must not touch; draw it elsewhere, or allow overlap"
        )
    candidates = box_candidates(maps, statistics, part, network.at(part.rows, part.columns))
    scores = scores_of(candidates)
    if shown is not None:
        scores = scores + CROSSING * _agreement(candidates.masks, *map(part.samples, shown))
    soft = without_islands(vote(candidates, scores) * part.reach)
    near = candidates.masks & part.reach
    voted = soft > 0.5 if (soft > 0.5).any() else near[scores.argmax()]
    masks = np.concatenate((near, voted[None]))
    scores = np.append(scores, scores.max() + _VOTE_AHEAD)
    overlap = dice_matrix(masks)
    sizes = masks.sum((1, 2))
    order = _steps(best_first(scores, overlap, CERTAINTY), len(masks) - 1, overlap, sizes)
    last = order[0]
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
    sureness = _expected_of_itself(candidates.network * part.room)
    return dataclasses.replace(ranked, opinions=opinions, point=point, sureness=sureness)


def _expected_of_itself(likely: np.ndarray) -> float:
    """The Dice that ``likely``, the probability of each sample, promises to what is likelier than not; 0 where nothing is."""
    own = likely > 0.5
    return float(2 * likely[own].sum() / max(likely.sum() + np.count_nonzero(own), 1e-6))


def _steps(order: Sequence[int], first: int, overlap: np.ndarray, sizes: np.ndarray) -> list[int]:
    """Of ``order`` (the best candidates first) those that make a step of size or another answer, after ``first``."""
    kept = [first]
    for n in order:
        alike = overlap[n, kept] > NEARLY_EQUAL
        alike |= (overlap[n, kept] > CLEARLY_DIFFERENT) & (np.abs(np.log(sizes[kept] / sizes[n])) < _LEAST_STEP)
        if not alike.any():
            kept.append(n)
    return kept


@dataclass(frozen=True)
class BoxCandidates:
    """Candidates in a box. ``masks`` bool ``[n, h, w]`` on the part, ``votes`` ``[n, sources]`` (the sources of the label maps, then
    :data:`MADE_SOURCES`), ``table`` ``[n, len(NAMES)]``, ``network`` float32 ``[h, w]``, how likely each sample belongs to the object
    by the network alone."""

    masks: np.ndarray
    votes: np.ndarray
    table: np.ndarray
    network: np.ndarray

    def column(self, name: str) -> np.ndarray:
        return self.table[:, NAMES.index(name)]


def box_candidates(
    maps: dict[str, list[np.ndarray]],
    statistics: SliceStatistics,
    part: BoxPart,
    network: np.ndarray,
) -> BoxCandidates:
    """All candidates in the box of ``part``.

    :param statistics: of the whole slice. ``network``: float32 ``[h, w]`` of the part, 0 to 1.
    """
    own = statistics.part(part.rows, part.columns)
    found = _Found(part, len(maps) + len(MADE_SOURCES))
    probes = part.probes()
    for source, of_source in enumerate(maps.values()):
        for labels in of_source:
            for region in _regions_at(part.of(labels), probes):
                found.add_region(region, source)
    _, split = colour_split(own.smooth, part.room, part.radius)
    for source, made in enumerate((split, part.radius <= 1, network > 0.5), len(maps)):
        found.add_made(made, source)
    masks, votes = found.arrays()
    sizes, likely = masks.sum((1, 2)), network * part.room
    columns = {
        "sides": sides(_edges(masks), part.edges),
        "leak": np.array([np.mean(leaks) for leaks in found.leaks]),
        "log_fill": np.log(sizes / np.count_nonzero(part.room)),
        "contrast_inside": contrast_inside(masks, own),
        "network": 2 * np.tensordot(masks.astype(np.float32), likely, 2) / (sizes + likely.sum()),
    }
    return BoxCandidates(masks, votes, np.stack([columns[name] for name in NAMES], 1), network)


class _Found(Distinct):
    """Candidates as they are found, clipped to the room of ``part``, and how much of each lay outside before."""

    def __init__(self, part: BoxPart, sources: int):
        super().__init__(sources)
        self._part = part
        self.leaks: list[list[float]] = []
        self._known: dict[bytes, list[np.ndarray]] = {}  # clipped region -> the masks made of it

    def add_region(self, region: np.ndarray, source: int) -> None:
        """A connected region, with its holes filled and, where they are large, without."""
        clipped = region & self._part.room
        inside = np.count_nonzero(clipped)
        if inside < _LEAST_SAMPLES:
            return
        key = np.packbits(clipped).tobytes()
        if key not in self._known:
            filled = without_holes(clipped) & self._part.room
            holed = np.count_nonzero(filled) > (1 + _SMALL_HOLES) * inside
            self._known[key] = [filled, clipped] if holed else [filled]
        for mask in self._known[key]:
            self._add(mask, 1 - inside / np.count_nonzero(region), source)

    def add_made(self, mask: np.ndarray, source: int) -> None:
        """A mask that was made for the box, as it is and with its holes filled; all of the room where an answer could have nothing
        of it."""
        room = self._part.room
        clipped = mask & room if (mask & self._part.reach).any() else room
        for own in (clipped, without_holes(clipped) & room):
            self._add(own, 0.0, source)

    def _add(self, mask: np.ndarray, leak: float, source: int) -> None:
        place = self.add(mask, source)
        if place == len(self.leaks):
            self.leaks.append([])
        self.leaks[place].append(leak)


def _regions_at(labels: np.ndarray, probes: list[Point]) -> Iterator[np.ndarray]:
    """The connected parts of ``labels`` at the probes."""
    seen = np.zeros(labels.shape, bool)
    for probe in probes:
        if not seen[probe]:
            parts, _ = ndimage.label(labels == labels[probe], EIGHT)
            region = parts == parts[probe]
            seen |= region
            yield region


def sides(edges: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """log-likelihood ``[n]`` of the ``drawn`` edges, were each of ``edges`` ``[n, 4]`` the true ones: a hand leaves some room on all
    sides, and misses each by a normal error."""
    lengths = np.repeat(drawn[1::2] - drawn[::2], 2)
    outward = (edges - drawn) * (1, -1, 1, -1)
    room = np.clip((outward / lengths).mean(1), 0, MOST_ROOM)
    error = (outward - room[:, None] * lengths) / np.hypot(SIDE_ERROR * lengths, _LEAST_ERROR)
    return -0.5 * np.minimum(error**2, _FARTHEST).sum(1) - room / _USUAL_ROOM


def _edges(masks: np.ndarray) -> np.ndarray:
    """Top, bottom, left and right of masks ``[n, h, w]``, none empty: ``[n, 4]``."""
    found = []
    for axis in (2, 1):
        filled = np.asarray(masks.any(axis))
        found += [filled.argmax(1), filled.shape[1] - filled[:, ::-1].argmax(1)]
    return np.stack(found, 1).astype(float)
