"""Why a click is answered as it is: the candidates at the point, what speaks for each, and what decided."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

import numpy as np

from ..common.progress import Step, Steps
from ..images import Segment, Segmentation
from ..images.colors import label_colors
from ..images.overlay import draw_overlay, montage
from ..results import embedded
from .find_regions import Regions
from .object_choice import ObjectChoice

SHOWN = 24  # candidates on the contact sheet at most: the best ones
_COLUMNS = 6
_CHOSEN, _OFFERED, _OTHER = label_colors(3)


@dataclass(frozen=True)
class ExplainedCandidate:
    """One step of the object's ladder.

    :param step: counted from 1, from small to large.
    :param size: samples of the working grid.
    :param score: what the ranker and the hand-made score say together (a log-probability up to a constant), with a rough
        radius and, in a volume, what slices show; ``learned`` and ``hand`` are its first two parts.
    :param worth: what the choice goes by.
    :param offered: 1 for the automatic answer, 2 and 3 for the other answers that are offered, else 0.
    :param sources: which sources proposed exactly this candidate, and how often.
    :param features: what was measured of it, by name.
    """

    step: int
    size: int
    score: float
    learned: float
    hand: float
    worth: float
    offered: int
    sources: dict[str, int]
    features: dict[str, float]


@dataclass(frozen=True, eq=False)
class Explanation:
    """All candidates of an object, the best first, and the reason of the choice as a sentence."""

    candidates: list[ExplainedCandidate]
    reason: str

    def as_csv(self) -> str:
        """The table with all features, one row for each candidate."""
        file = io.StringIO()
        first = self.candidates[0]
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["step", "size", "score", "learned", "hand", "worth", "offered", "sources", *first.features])
        for c in self.candidates:
            numbers = (_rounded(value) for value in (c.score, c.learned, c.hand, c.worth))
            sources = " ".join(f"{name}:{votes}" for name, votes in c.sources.items())
            measured = map(_rounded, c.features.values())
            writer.writerow([c.step, c.size, *numbers, c.offered or "", sources, *measured])
        return file.getvalue()

    def lines(self, most: int = 10) -> list[str]:
        """The best candidates as a table for a terminal."""
        head = f"{'step':>5} {'samples':>9} {'score':>7} {'ranker':>7} {'hand':>7} {'worth':>7}  answer  proposed by"
        rows = [head]
        for c in self.candidates[:most]:
            offered = "chosen" if c.offered == 1 else f"no. {c.offered}" if c.offered else ""
            sources = ", ".join(f"{name} ({votes})" for name, votes in c.sources.items())
            rows.append(
                f"{c.step:>5} {c.size:>9,} {c.score:>7.2f} {_shown(c.learned)} {_shown(c.hand)} {c.worth:>7.2f}  {offered:<6}  {sources}"
            )
        if len(self.candidates) > most:
            rows.append(f"  ... and {len(self.candidates) - most} more")
        return [*rows, self.reason]


def _rounded(value: float) -> float | str:
    """For the table; "" for what was not measured, as of a carried object."""
    return "" if np.isnan(value) else round(value, 4)


def _shown(value: float) -> str:
    return f"{'-':>7}" if np.isnan(value) else f"{value:>7.2f}"


def explain(choice: ObjectChoice) -> Explanation:
    """What speaks for each candidate of ``choice``, of its first point and without corrections by further points."""
    ranked, opinions = choice.ranked, choice.opinions()
    automatic = ranked.best
    rows = []
    for place, number in enumerate(ranked.numbers):
        votes = zip(opinions.sources, opinions.votes[number], strict=True)
        rows.append(
            ExplainedCandidate(
                step=place + 1,
                size=int(np.count_nonzero(ranked.masks[place])),
                score=float(ranked.scores[place]),
                learned=float(opinions.learned[number]),
                hand=float(opinions.hand[number]),
                worth=ranked.worth[place],
                offered=ranked.alternatives.index(place) + 1 if place in ranked.alternatives else 0,
                sources={name: int(count) for name, count in votes if count},
                features=dict(zip(opinions.names, map(float, opinions.table[number]), strict=True)),
            )
        )
    best = rows[automatic]
    rows.sort(key=lambda c: (c.offered != 1, -c.worth))
    return Explanation(rows, _reason(best, rows, choice, opinions.certainty))


def contact_sheet(
    choice: ObjectChoice,
    explanation: Explanation,
    regions: Regions,
    index: int,
    shown: int = SHOWN,
    columns: int = _COLUMNS,
) -> Steps[np.ndarray]:
    """Pictures of the ``shown`` best candidates on slice ``index`` of the volume of ``regions``, the best first, as a generator of
    progress steps that returns uint8 ``[H, W, 3]``: the chosen one in the first colour, the other offered answers in the second,
    the rest in the third."""
    volume, pictures = regions.volume, []
    for number, c in enumerate(explanation.candidates[:shown]):
        yield Step(number / shown, "Drawing the candidates")
        whole = embedded(choice.step_mask(c.step - 1).astype(np.uint8), volume, regions.extent)
        colour = _CHOSEN if c.offered == 1 else _OFFERED if c.offered else _OTHER
        segmentation = Segmentation([whole], [Segment(f"step {c.step}", colour, 1)], volume.ijk_to_ras)
        pictures.append(draw_overlay(volume, segmentation, axis=regions.axis, index=index, size=176))
    return montage(pictures, columns)


def _reason(best: ExplainedCandidate, rows: list[ExplainedCandidate], choice: ObjectChoice, certainty) -> str:
    others = [c for c in rows if c.step != best.step]
    if certainty is None:
        text = f"Step {best.step} of {choice.steps} has the highest score ({best.score:.2f})"
    else:
        text = (
            f"Step {best.step} of {choice.steps} has the highest expected Dice ({best.worth:.2f}): it agrees best with all "
            "candidates, each weighted by its score"
        )
    if others:
        next_best = max(others, key=lambda c: c.worth)
        margin = best.worth - next_best.worth
        text += f"; the next is step {next_best.step} ({margin:.2f} less)"
    if choice.index + 1 != best.step:
        text += f". Step {choice.index + 1} was asked for"
    return text + "."
