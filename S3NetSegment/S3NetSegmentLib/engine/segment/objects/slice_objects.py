"""``SliceObjects``: from the regions of one slice to an object, by a point or by itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy.special import logsumexp

from ...common.arrays import LimitedCache
from ...common.progress import Step, Steps, as_part_of, run_to_end
from ..regions.maps import fine_graph_maps, standardised
from .box_candidates import ranked_in_box
from .box_network import default_box_network
from .candidates import Candidates, candidate_steps, central_steps, deepest_point
from .correction import corrected
from .ranked import Measured, Opinions, RankedCandidates, Ranker, default_ranker, dice_matrix, rank, united
from .slice_features import COLUMN, NAMES, PLAUSIBLE_AREA, SliceStatistics, hand_score, measure

# Chosen on development images: the weight of the hand-made score beside the ranker, which knows synthetic scenes only,
# and how much to trust their sum (see ``ranked.rank_ladder``).
HAND_WEIGHT = {"grey": 1.0, "colour": 1.0}
CERTAINTY = {"grey": 1.0, "colour": 4.0}
_MAIN_FRAME = 0.15  # share of the frame that the main object of a picture may touch
_REMEMBERED_POINTS = 8
_RADIUS_DEVIATION = 0.3  # relative standard deviation of a radius given by hand
PROBES = 5  # points of a stroke at which objects are searched
_HOLDING = 10.0  # how much less likely a candidate is that misses the stroke, or holds what was marked outside
_ENOUGH = 0.9  # share of the stroke that one of the candidates holds, or those of all points are joined


class SliceObjects:
    """Objects of one slice made of the regions in ``maps``; every question is answered without new regions.

    :param features: float32 ``[h, w, C]``, see ``IntensityScale.apply``.
    :param maps: label maps ``[h, w]`` by source, see ``slice_maps``.
    :param spacing: distance of rows and columns, mm.
    :param ranker: None: the one that ships with the engine.
    """

    def __init__(
        self,
        features: np.ndarray,
        maps: dict[str, list[np.ndarray]],
        spacing: tuple[float, float] = (1.0, 1.0),
        ranker: Ranker | None = None,
    ):
        self._maps = {source: list(labels) for source, labels in maps.items() if len(labels)}
        self._pixel_mm = float(np.sqrt(spacing[0] * spacing[1]))
        self._features = features
        standard = standardised(features)
        graph = self._maps.get("graph") or fine_graph_maps(standard)
        self._statistics = SliceStatistics(standard, graph[min(1, len(graph) - 1)])
        kind = "colour" if features.shape[2] == 3 else "grey"
        self._ranker = default_ranker(kind) if ranker is None else ranker
        self._hand_weight, self._certainty = HAND_WEIGHT[kind], CERTAINTY[kind]
        self._measured: LimitedCache[Measured[Candidates]] = LimitedCache(_REMEMBERED_POINTS)
        self._candidates: LimitedCache[Candidates] = LimitedCache(_REMEMBERED_POINTS)

    def ranked(
        self, inside: tuple[int, int], forbidden: Sequence[tuple[int, int]] = (), radius_mm: float | None = None
    ) -> RankedCandidates:
        """The candidates for the object at ``inside`` (row, column), ranked.

        :param forbidden: points outside the object; candidates that hold one are left out if any other is left.
        :param radius_mm: rough radius of the object.
        """
        measured = self.measured(inside)
        masks = measured.candidates.masks
        scores = self._scores(measured, radius_mm)
        allowed = ~np.any([masks[:, y, x] for y, x in forbidden], 0) if len(forbidden) else np.ones(len(masks), bool)
        if not allowed.any():
            allowed[:] = True
        overlap = measured.overlap[np.ix_(allowed, allowed)]
        ranked = rank(masks[allowed], scores[allowed], overlap=overlap, certainty=self._certainty)
        kept = np.flatnonzero(allowed)
        return dataclasses.replace(ranked, point=tuple(inside), numbers=tuple(int(kept[n]) for n in ranked.numbers))

    def ranked_in_steps(
        self,
        boxes: Sequence[Sequence[float]],
        excluded: np.ndarray | None = None,
        shown: Sequence[Sequence[tuple[int, int]]] | None = None,
    ) -> Steps[RankedCandidates]:
        """The candidates for the object that ``boxes`` hold, one part in each, as a generator of progress steps.

        :param boxes: top, bottom, left and right in pixels, counted from the outer corner of the slice.
        :param excluded: bool ``[h, w]``, what the object must not hold.
        :param shown: samples in and outside the object, as slices that cross this one show it.
        """
        answers = []
        for number, edges in enumerate(boxes):
            yield Step(number / len(boxes), "Searching objects")
            network = default_box_network().answer(self._features, edges)
            yield Step((number + 0.5) / len(boxes), "Searching objects")
            answers.append(ranked_in_box(self._maps, self._statistics, network, edges, excluded=excluded, shown=shown))
        return united(answers)

    def ranked_along(
        self, stroke: Sequence[tuple[int, int]], outside: Sequence[tuple[int, int]] = ()
    ) -> RankedCandidates:
        """The candidates for the object that ``stroke`` runs through: points (row, column), one after the other; those of
        ``outside`` do not belong to it."""
        rows: dict[bytes, list] = {}  # mask -> [mask, features, learned, hand, votes, score]
        best = []
        for point in spread_points(stroke):
            measured, told = self.measured(point), self.opinions(point)
            scores = told.learned + told.hand
            scores = scores - logsumexp(scores)
            best.append((measured.candidates.masks[scores.argmax()], scores.max()))
            columns = (measured.candidates.masks, told.table, told.learned, told.hand, told.votes, scores)
            for row in zip(*columns, strict=True):
                held = rows.setdefault(np.packbits(row[0]).tobytes(), list(row))
                if row[-1] > held[-1]:
                    held[:] = row
        if max(_share(row[0], stroke) for row in rows.values()) < _ENOUGH:
            joined = np.any([mask for mask, _ in best], 0)
            votes, score = np.zeros(len(told.sources), int), float(np.mean([s for _, s in best]))
            rows[b""] = [joined, np.zeros(len(told.names)), 0.0, 0.0, votes, score]
        masks, table, learned, _, votes, scores = (np.array(column) for column in zip(*rows.values(), strict=True))
        holds = np.array([_share(mask, stroke) - 1 for mask in masks]) - [_share(mask, outside) for mask in masks]
        scores = scores + _HOLDING * holds
        ranked = rank(masks, scores, certainty=told.certainty)
        opinions = Opinions(told.names, table, learned, scores - learned, told.sources, votes, told.certainty)
        return dataclasses.replace(ranked, opinions=opinions, point=stroke[len(stroke) // 2])

    def opinions(self, point: tuple[int, int]) -> Opinions:
        """What speaks for each candidate at ``point``."""
        measured = self.measured(point)
        learned, hand = self._ranker.score(measured.table), self._hand_weight * hand_score(measured.table)
        return Opinions(
            NAMES, measured.table, learned, hand, tuple(self._maps), measured.candidates.votes, self._certainty
        )

    def ranked_steps(self, inside, forbidden=(), radius_mm=None) -> Steps[RankedCandidates]:
        """:meth:`ranked` as a generator of progress steps."""
        yield from as_part_of(self._measured_steps(inside), 0.0, 0.9)
        yield Step(0.9, "Searching objects")
        return self.ranked(inside, forbidden, radius_mm)

    def main_steps(self) -> Steps[RankedCandidates | None]:
        """The main object of a picture that has one; None where no candidate is plausible.

        The best of the central components of all maps by contrast, compactness, size and agreement says where the object
        is; what it is, is then answered as after a click in its middle.
        """
        candidates = yield from as_part_of(central_steps(self._maps), 0.0, 0.7)
        if candidates is None:
            return None
        yield Step(0.7, "Searching the main object")
        table = measure(candidates, self._statistics, dice_matrix(candidates.masks), None, _MAIN_FRAME)
        area = np.exp(table[:, COLUMN["log_area"]])
        plausible = (area >= PLAUSIBLE_AREA[0]) & (area <= PLAUSIBLE_AREA[1])
        plausible &= table[:, COLUMN["frame_share"]] <= _MAIN_FRAME
        if not plausible.any():
            return None
        best = candidates.masks[np.where(plausible, hand_score(table), -np.inf).argmax()]
        return (yield from as_part_of(self.ranked_steps(deepest_point(best)), 0.8, 1.0))

    def edited(
        self,
        mask: np.ndarray,
        point: tuple[int, int],
        add: bool,
        protected: Sequence[tuple[int, int]] = (),
        answers: Sequence[np.ndarray] = (),
        size_known: bool = False,
    ) -> np.ndarray:
        """``mask`` with what ``point`` most likely stands for added or removed, see :func:`correction.corrected`."""
        if bool(mask[point]) == add:
            return mask.copy()
        regions = run_to_end(self._candidate_steps(point)).masks
        return corrected(mask, point, add, regions, protected, answers, size_known)

    def measured(self, point: tuple[int, int]) -> Measured[Candidates]:
        """The candidates at ``point`` and their features; the last few points are remembered."""
        return run_to_end(self._measured_steps(point))

    def _measured_steps(self, point: tuple[int, int]) -> Steps[Measured[Candidates]]:
        point = (int(point[0]), int(point[1]))
        if (known := self._measured.get(point)) is not None:
            return known
        candidates = yield from as_part_of(self._candidate_steps(point), 0.0, 0.6)
        yield Step(0.6, "Searching objects")
        overlap = dice_matrix(candidates.masks)
        yield Step(0.7, "Searching objects")
        measured = Measured(candidates, measure(candidates, self._statistics, overlap, point), overlap)
        return self._measured.add(point, measured)

    def _candidate_steps(self, point: tuple[int, int]) -> Steps[Candidates]:
        if (known := self._candidates.get(point)) is not None:
            return known
        return self._candidates.add(point, (yield from candidate_steps(self._maps, point)))

    def _scores(self, measured: Measured[Candidates], radius_mm: float | None) -> np.ndarray:
        scores = self._ranker.score(measured.table) + self._hand_weight * hand_score(measured.table)
        if radius_mm is not None:
            height, width = self._statistics.shape
            wanted = np.log(np.pi * (radius_mm / self._pixel_mm) ** 2 / (height * width))
            off = (measured.table[:, COLUMN["log_area"]] - wanted) / (2 * _RADIUS_DEVIATION)
            scores = scores - off**2
        return scores


Point = tuple[int, int]


def spread_points(points: Sequence[Point], most: int = PROBES) -> list[Point]:
    """At most ``most`` of the points, evenly spread over the stroke."""
    distinct = list(dict.fromkeys(points))
    if len(distinct) <= most:
        return distinct
    places = np.round((np.arange(most) + 0.5) * len(distinct) / most - 0.5).astype(int)
    return [distinct[n] for n in places]


def _share(mask: np.ndarray, points: Sequence[Point]) -> float:
    return float(np.mean([mask[p] for p in points])) if len(points) else 0.0
