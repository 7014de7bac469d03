"""Segments of which the volume that they are drawn in shows only a part, since its field of view ends within them: what is found of
them in the query volume is carried on there, as if some of its slices were drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np

from ..images.volume import slices_first
from .answer import FewShotAnswer, SegmentOutlook
from .drawings.support import DrawnSlice
from .voters.voter import Voter

# Of what was found, as seen along the axis: inside enough to be right, far enough apart to show how the segments change.
_SHARES = (0.3, 0.7)

Cut = Mapping[int, frozenset[str]]  # label value -> some of "before" and "after"


def cut_off(voters: Iterable[Voter], axis: str) -> dict[int, frozenset[str]]:
    """The sides along ``axis`` on which nobody knows where a segment ends: label value -> some of "before" and "after"."""
    found: dict[int, frozenset[str]] = {}
    for voter in voters:
        for value, sides in voter.cut_off(axis).items():
            found[value] = found.get(value, sides) & sides
    return {value: sides for value, sides in found.items() if sides}


def slices_to_carry(answer: FewShotAnswer, cut: Cut) -> list[DrawnSlice]:
    """The slices of ``answer`` from which the segments ``cut`` are carried on; none where nothing was found of them."""
    planes = slices_first(answer.layers[0], answer.axis)
    chosen = _at_the_shares(np.isin(planes, list(cut)))
    for value in cut:
        if not any((planes[z] == value).any() for z in chosen):
            chosen |= _at_the_shares(planes == value)
    return [DrawnSlice(answer.axis, z, np.array(planes[z])) for z in sorted(chosen)]


def _at_the_shares(found: np.ndarray) -> set[int]:
    filled = np.flatnonzero(found.any((1, 2)))
    if not len(filled):
        return set()
    return {int(filled[round(share * (len(filled) - 1))]) for share in _SHARES}


def carried_on(answer: FewShotAnswer, again: FewShotAnswer, cut: Cut) -> FewShotAnswer:
    """``answer`` with the segments ``cut`` as in ``again``, the answer to :func:`slices_to_carry`, beyond those slices.

    No more is expected of a segment than of either answer.
    """
    labels, confidence = answer.layers[0].copy(), answer.confidence.copy()
    planes, other = (slices_first(a, answer.axis) for a in (labels, again.layers[0]))
    sure, other_sure = (slices_first(a, answer.axis) for a in (confidence, again.confidence))
    outlooks = dict(answer.outlook)
    for value, sides in cut.items():
        told = again.outlook.get(value)
        if told is None or told.shown is None:
            continue
        beyond = np.zeros(len(planes), bool)
        if "before" in sides:
            beyond[: told.shown[0] + 1] = True
        if "after" in sides:
            beyond[told.shown[1] :] = True
        for z in np.flatnonzero(beyond):
            changed = (planes[z] == value) != (other[z] == value)
            planes[z][planes[z] == value] = 0
            planes[z][(other[z] == value) & (planes[z] == 0)] = value
            sure[z][changed] = other_sure[z][changed]
        outlooks[value] = _outlook(outlooks.get(value, told), told, beyond)
    return dataclasses.replace(answer, layers=[labels], confidence=confidence, outlook=outlooks)


def _outlook(before: SegmentOutlook, told: SegmentOutlook, beyond: np.ndarray) -> SegmentOutlook:
    wrong = {z: n for z, n in before.wrong.items() if not beyond[z]} | {
        z: n for z, n in told.wrong.items() if beyond[z]
    }
    present = {z: p for z, p in told.present.items() if beyond[z]}
    return dataclasses.replace(
        before, dice=min(before.dice, told.dice), wrong=dict(sorted(wrong.items())), present=present, carried_on=True
    )


def limited(answer: FewShotAnswer, first: int, last: int) -> FewShotAnswer:
    """``answer`` on the slices from ``first`` to ``last`` alone."""
    layers = [layer.copy() for layer in answer.layers]
    for layer in layers:
        planes = slices_first(layer, answer.axis)
        planes[:first] = 0
        planes[last + 1 :] = 0
    outlook = {}
    for value, one in answer.outlook.items():
        wrong, present = ({z: n for z, n in of.items() if first <= z <= last} for of in (one.wrong, one.present))
        outlook[value] = dataclasses.replace(one, wrong=wrong, present=present)
    return dataclasses.replace(answer, layers=layers, outlook=outlook)
