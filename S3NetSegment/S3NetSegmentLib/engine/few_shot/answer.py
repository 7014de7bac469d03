"""The answer of Few-shot, and what is to be expected of it, slice by slice: one estimate for the expected Dice, for the slices to draw
next, and for where segments end; and what is said about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from ..common.arrays import two
from ..images import AXES
from ..images.array_order import ArrayOrder
from ..images.volume import slices_first
from .drawings.overlaps import Pairs, flattened, separated

if TYPE_CHECKING:
    from .drawings.drawing import Drawing  # imports torch

# On thick slices a segment ends between two of them without a sign: log-odds of presence beyond the outermost drawn slice
# lose this times the log of the anisotropy. Fitted on hearts and tumours (few_shot_cases.py, development).
_THICK = 0.9
_ONE_PLANE_TRUST = 0.9  # factor of the expected Dice where one plane does not show how far a segment reaches
# Log-odds that a tenth or more of what was found lies past an end that no drawn slice shows: share found beyond the drawn
# slices, share of what runs to the last slice of the answer without a break, log anisotropy, constant; and the probability
# from which on it is said. Log-odds of the expected Dice: those of the vote, and the share found beyond the drawn slices.
# Both fitted on development cases (few_shot_cases.py) and further organs of their CT, with 1, 3 and 5 drawn slices.
_PAST_BEYOND, _PAST_BORDER, _PAST_THICK, _PAST_CONSTANT, _RUNS_PAST = 1.2, 0.8, 1.3, -2.9, 0.35
_DICE_VOTE, _DICE_BEYOND, _DICE_CONSTANT = 1.2, -0.4, 0.25
_MAIN = 0.25  # share of the expected wrong voxels of a slice, from which on a segment is a reason to draw it
_PROBABLY_ENDS, _MAY_END = 0.5, 0.9  # probability of presence below which a segment does so
_WAY_OUT = "draw the last slice there, or say of the one after it that it holds nothing"
PART = "prototypes"  # the name of the encoder as a voter
NO_PART = "took no part"


@dataclass(frozen=True, eq=False)
class FewShotAnswer:
    """The segments of the volume.

    :param layers: uint8 ``[K, J, I]`` each, the label values that were drawn; 0 outside the slices asked for. One, unless
        segments that overlap are drawn; each value is in one of them.
    :param confidence: float32 ``[K, J, I]``, probability of each voxel's label, 0 to 1; of several layers the least one.
    :param outlook: label value -> what is to be expected of that segment.
    :param axis: the axis across the slices.
    :param mix: share of each part in the vote; mean over the layers.
    :param notes: what the user should know.
    """

    layers: list[np.ndarray]
    confidence: np.ndarray
    outlook: dict[int, SegmentOutlook]
    axis: str
    mix: dict[str, float]
    notes: list[str] = field(default_factory=list)

    def in_order(self, order: ArrayOrder) -> FewShotAnswer:
        """The same in another order of the volume's axes."""
        arrays = [np.ascontiguousarray(order.array(a)) for a in (*self.layers, self.confidence)]
        outlook = {value: one.renumbered(lambda z: order.slice(self.axis, z)[1]) for value, one in self.outlook.items()}
        return FewShotAnswer(arrays[:-1], arrays[-1], outlook, order.axis(self.axis), self.mix, self.notes)

    @property
    def expected_dice(self) -> dict[int, float]:
        """Label value -> expected Dice over the undrawn slices asked for."""
        return {value: outlook.dice for value, outlook in self.outlook.items()}

    @property
    def next_slices(self) -> list[tuple[int, float]]:
        """(Number along ``axis``, expected wrong voxels), the most useful slice to draw next first; none in a picture, of which
        the only slice is the answer."""
        one = self.layers[0].shape[2 - AXES.index(self.axis)] == 1
        return [] if one else next_slices(self.outlook)

    @property
    def labels(self) -> np.ndarray:
        """All layers as one label map; where segments overlap, it shows that of the later layer."""
        return flattened(self.layers)


def united(answers: Sequence[FewShotAnswer], homes: Mapping[int, int], overlap: Pairs) -> FewShotAnswer:
    """The ``answers`` to each layer of a drawing as one.

    :param homes: label value -> number of the answer that it is taken from.
    :param overlap: pairs of values that overlap where they are drawn; others do not overlap in the answer either.
    """
    if len(answers) == 1:
        return answers[0]
    layers = []
    for number, answer in enumerate(answers):
        own = np.zeros(256, np.uint8)
        values = [value for value, home in homes.items() if home == number]
        own[values] = values
        layers.append(own[answer.layers[0]])
    separated(layers, [answer.confidence for answer in answers], overlap)
    mix: dict[str, float] = {}
    for answer in answers:
        for part, share in answer.mix.items():
            mix[part] = mix.get(part, 0.0) + share / len(answers)
    return FewShotAnswer(
        layers,
        np.minimum.reduce([answer.confidence for answer in answers]),
        {v: answers[home].outlook[v] for v, home in sorted(homes.items()) if v in answers[home].outlook},
        answers[0].axis,
        mix,
        list(dict.fromkeys(note for answer in answers for note in answer.notes)),
    )


def drawn_answer(drawing: Drawing) -> FewShotAnswer:
    """The answer where every slice is drawn: the drawing."""
    labels = np.zeros(drawing.volume.array.shape[:3], np.uint8)
    for z, drawn in drawing.slices.items():
        slices_first(labels, drawing.axis)[z] = np.array(drawing.values, np.uint8)[drawn.classes]
    note = "every slice is drawn, so nothing is left to find; the answer is the drawing"
    return FewShotAnswer([labels], np.ones(labels.shape, np.float32), {}, drawing.axis, {}, [note])


@dataclass(frozen=True)
class SegmentOutlook:
    """What is to be expected of one segment.

    :param dice: expected Dice over the undrawn slices asked for.
    :param wrong: expected wrong voxels of each undrawn slice.
    :param present: probability that it is there on each undrawn slice beyond the outermost drawn ones that show it.
    :param shown: the outermost drawn slices that show it; None: no slice along the axis of the answer does.
    :param past: probability that a tenth or more of what was found lies past an end that no drawn slice shows.
    :param sides: of ``shown``, where the answer goes on and no drawn slice shows an end: some of "before" and "after".
    :param one_plane: mm from the drawing at which the answer was cut off, since that is on one plane oblique to the slices,
        which does not show how far the segment reaches; None: it is not.
    :param missing: the first drawn slice without it between two that show it; None: there is none.
    :param carried_on: whether the volume that it is drawn in ends within it, so that it was carried on from what was found here.
    """

    dice: float
    wrong: Mapping[int, float] = field(default_factory=dict)
    present: Mapping[int, float] = field(default_factory=dict)
    shown: tuple[int, int] | None = None
    past: float = 0.0
    sides: tuple[str, ...] = ()
    one_plane: float | None = None
    missing: int | None = None
    carried_on: bool = False

    @property
    def runs_past(self) -> bool:
        """Whether it is so likely that much lies past an end that no drawn slice shows that the user should know."""
        return self.past >= _RUNS_PAST

    def renumbered(self, number: Callable[[int], int]) -> SegmentOutlook:
        """The same for slices of other numbers, all in the same or all in the opposite direction."""
        turned = number(1) < number(0)
        sides = tuple({"before": "after", "after": "before"}[side] if turned else side for side in self.sides)
        wrong, present = ({number(z): value for z, value in of.items()} for of in (self.wrong, self.present))
        shown = None if self.shown is None else two(sorted(map(number, self.shown)))
        missing = None if self.missing is None else number(self.missing)
        return replace(self, wrong=wrong, present=present, shown=shown, sides=sides, missing=missing)


def segment_outlook(
    sums: np.ndarray, first: int, drawn: Mapping[int, bool | None], anisotropy: float, one_plane: float | None = None
) -> SegmentOutlook:
    """The outlook of one segment.

    :param sums: ``[n, 4]`` on slices from ``first`` on: probability inside the segment, its voxels, probability anywhere,
        largest probability. 0 on completely drawn slices.
    :param drawn: drawn slices -> whether they show the segment; None: a partial drawing, which does not tell.
    :param anisotropy: of the working grid, 1 to 4.
    """
    inside, found, anywhere, peak = sums.astype(float).T
    showing = [z for z, shows in drawn.items() if shows]
    shown = (min(showing), max(showing)) if showing else None
    present, sides, beyond = {}, [], np.zeros(len(sums), bool)
    if shown is not None:
        without = [z for z, shows in drawn.items() if shows is False]
        open_ends = {"before": all(z > shown[0] for z in without), "after": all(z < shown[1] for z in without)}
        for n in range(len(sums)):
            z = first + n
            if z in drawn or shown[0] <= z <= shown[1]:
                continue
            side, beyond[n] = "before" if z < shown[0] else "after", True
            likely = float(np.clip(peak[n], 0, 1))
            if open_ends[side] and found[n] > 0:
                lower = likely / (likely + (1 - likely) * anisotropy**_THICK)
                inside[n] *= lower / likely
                anywhere[n] *= lower / likely
                likely = lower
                sides += [side] * (side not in sides)
            present[z] = likely
    wrong = found + anywhere - 2 * inside
    total, all_found = (found + anywhere).sum(), max(found.sum(), 1e-6)
    share = float(found[beyond].sum() / all_found)
    dice = 2 * inside.sum() / max(total, 1e-6)
    if shown is not None:  # what is drawn elsewhere says nothing of slices here
        dice = _expected(dice, share)
    dice *= 1.0 if one_plane is None else _ONE_PLANE_TRUST
    errors = {first + n: float(w) for n, w in enumerate(wrong) if w > 0 and first + n not in drawn}
    past, missing = 0.0, None
    if shown is not None:
        missing = min((z for z, shows in drawn.items() if shows is False and shown[0] < z < shown[1]), default=None)
    if sides:
        odds = _PAST_BEYOND * share + _PAST_BORDER * _to_the_border(found, beyond) / all_found
        past = float(_sigmoid(odds + _PAST_THICK * np.log(anisotropy) + _PAST_CONSTANT))
    return SegmentOutlook(float(dice), errors, present, shown, past, tuple(sides), one_plane, missing)


def _expected(vote: float, beyond: float) -> float:
    """The expected Dice, where the vote expects ``vote`` and a share ``beyond`` of what was found lies beyond the drawn slices."""
    if vote <= 0:
        return 0.0
    vote = np.clip(vote, 0.02, 0.98)
    return float(_sigmoid(_DICE_VOTE * np.log(vote / (1 - vote)) + _DICE_BEYOND * beyond + _DICE_CONSTANT))


def _to_the_border(found: np.ndarray, beyond: np.ndarray) -> float:
    """Voxels ``found`` on the slices ``beyond`` the drawn ones, on the sides where there are some on the last slice, too."""
    total = 0.0
    for side in (slice(None), slice(None, None, -1)):
        if beyond[side][0] and found[side][0] > 0:
            count = len(beyond) if beyond.all() else int(np.argmin(beyond[side]))
            total += found[side][:count].sum()
    return total


def _sigmoid(odds: float) -> float:
    return 1 / (1 + np.exp(-odds))


def next_slices(outlooks: Mapping[int, SegmentOutlook]) -> list[tuple[int, float]]:
    """(slice, expected wrong voxels of all segments), the most useful slice to draw first; of equals the one that ``outlooks``
    name first."""
    wrong: dict[int, float] = {}
    for outlook in outlooks.values():
        for z, count in outlook.wrong.items():
            wrong[z] = wrong.get(z, 0.0) + count
    return sorted(wrong.items(), key=lambda item: -item[1])


def is_empty(outlooks: Mapping[int, SegmentOutlook], number: int) -> bool:
    """Whether a slice is expected to show none of the segments."""
    known = [outlook.present.get(number) for outlook in outlooks.values()]
    return bool(known) and all(p is not None and p < _PROBABLY_ENDS for p in known)


def reason(outlooks: Mapping[int, SegmentOutlook], number: int, names: Mapping[int, str]) -> str:
    """Why a slice is the one to draw, e.g. "'liver' probably ends before it; draw it, or say that there is nothing".

    :param names: of the segments, by label value.
    """
    wrong = {value: outlook.wrong.get(number, 0.0) for value, outlook in outlooks.items() if value in names}
    main = sorted((v for v in wrong if wrong[v] >= _MAIN * sum(wrong.values())), key=lambda v: -wrong[v])[:2]
    parts: dict[str, list[str]] = {"probably": [], "may": [], "unsure": []}
    for value in main:
        present = outlooks[value].present.get(number, 1.0)
        kind = "probably" if present < _PROBABLY_ENDS else "may" if present < _MAY_END else "unsure"
        parts[kind].append(repr(names[value]))
    texts = []
    if parts["probably"]:
        texts.append(f"{_and(parts['probably'])} probably end{'s' * (len(parts['probably']) == 1)} before it")
    if parts["may"]:
        texts.append(f"{_and(parts['may'])} may end before it")
    if parts["unsure"]:
        texts.append(f"the answer for {_and(parts['unsure'])} is doubtful there")
    empty = "; draw it, or say that there is nothing" if parts["probably"] or parts["may"] else ""
    return ", and ".join(texts) + empty


def notes(outlooks: Mapping[int, SegmentOutlook], names: Mapping[int, str]) -> list[str]:
    """What the user should know of segments whose ends the drawing does not show."""
    known = {value: outlook for value, outlook in outlooks.items() if value in names}
    found = []
    cut = {value: outlook.one_plane for value, outlook in known.items() if outlook.one_plane is not None}
    if cut:
        several = len(cut) > 1
        found.append(
            f"{_and([repr(names[v]) for v in cut])} {'are' if several else 'is'} drawn on one plane oblique to the slices, which does "
            f"not show how far {'they reach' if several else 'it reaches'}: the answer was cut off about "
            f"{_and([f'{mm:.0f}' for mm in cut.values()])} mm from it; draw a second plane that crosses this one"
        )
    carried = [repr(names[value]) for value, outlook in known.items() if outlook.carried_on]
    if carried:
        several = len(carried) > 1
        found.append(
            f"the image in which {_and(carried)} {'are' if several else 'is'} drawn shows only a part of {'them' if several else 'it'}; "
            f"the rest was carried on from what was found here: check {'their ends' if several else 'its ends'}, or draw a slice there"
        )
    for value, outlook in known.items():
        if outlook.missing is not None:
            assert outlook.shown is not None  # a gap lies between shown slices
            first, last = outlook.shown
            found.append(
                f"{names[value]!r} is drawn on slices {first} and {last}, but not on slice {outlook.missing} between them; if it "
                "alternates with something along the axis, parts that meet no drawn slice are not found, and those that do may "
                "be carried on too far: draw on a plane along that axis, which shows all of them"
            )
    past: dict[str, list[str]] = {}
    for value, outlook in known.items():
        if outlook.runs_past:
            past.setdefault(_where(outlook), []).append(repr(names[value]))
    for where, own in past.items():
        ends = "their ends" if len(own) > 1 else "its end"
        found.append(f"{_and(own)} may run past {ends} {where}; {_WAY_OUT}")
    return found


def _where(outlook: SegmentOutlook) -> str:
    """Beyond which drawn slices, e.g. "before slice 5 and after slice 9"."""
    if outlook.shown is None:
        return ""
    first, last = outlook.shown
    if first == last and len(outlook.sides) == 2:
        return f"on both sides of slice {first}"
    where = {"before": f"before slice {first}", "after": f"after slice {last}"}
    return " and ".join(where[side] for side in ("before", "after") if side in outlook.sides)


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def encoder_share(mix: Mapping[str, float]) -> float:
    """Its share of the vote, 0 to 1."""
    return float(mix.get(PART, 0.0))


def encoder_record(encoder, mix: Mapping[str, float]) -> str:
    """Its name and digest for provenance, and that it took no part where the vote gave it nothing; "" without one."""
    if encoder is None:
        return ""
    return f"{encoder.name} sha256 {encoder.digest}" + ("" if encoder_share(mix) > 0 else f", {NO_PART}")


def encoder_text(name: str, share: float) -> str:
    """For the user, e.g. "dinov2-vits14-reg4, 15 % of the vote"."""
    if share > 0:
        return f"{name}, {100 * share:.0f} % of the vote"
    return f"{name} {NO_PART}, since drawn slices that were hidden from it were not predicted better with it"
