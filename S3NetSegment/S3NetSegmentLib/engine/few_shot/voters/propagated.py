"""Drawn masks carried outwards slice by slice, and what they become between and beyond the drawn slices."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from ...common.device import one_threaded
from ...common.progress import Step, Steps, as_part_of
from ..drawings.drawing import SoftDrawing, SoftSlice
from ..frame import Frame
from ..registration.neighbours import blurred, carried
from ..settings import FewShotSettings
from .appearance import Appearance
from .voter import Voter

_GONE = 0.5  # pixels: less of a segment than this is not carried on
_SLICES_A_STEP = 4
_FLOOR = 1e-4  # probability below which no class falls, so that the appearance can bring it back


class Propagated(Voter):
    """Drawn masks carried from slice to slice by registration. As "carried" they are corrected by what looks alike at each slice,
    as "registered" they are not.

    :param appearance: who knows what looks alike; None: registration alone.
    """

    def __init__(self, settings: FewShotSettings, appearance: Appearance | None = None):
        self.name = "registered" if appearance is None else "carried"
        self._weight, self._appearance = settings.appearance_weight, appearance

    @one_threaded
    def masks(self, drawn: SoftDrawing, first: int, last: int, without: int | None = None) -> Steps[torch.Tensor]:
        """See :class:`Voter`."""
        evidence = None
        if self._appearance is not None:
            looking = self._appearance.evidence(drawn, first, last, without)
            _, evidence = yield from as_part_of(looking, 0.0, 0.5)
        slices = {z: d for z, d in drawn.slices.items() if z != without}
        shrink = drawn.frame.work_shape[0] / drawn.frame.box.shape[0]
        blur = float(np.clip((drawn.thickness * shrink - 1) / 2.5, 0, 1))
        work = carry(drawn.frame, slices, first, last, evidence, self._weight, blur)
        return (yield from as_part_of(work, 0.0 if evidence is None else 0.5, 1.0))


def carry(
    frame: Frame,
    drawn: Mapping[int, SoftSlice],
    first: int,
    last: int,
    evidence: torch.Tensor | None,
    weight: float,
    blur: float,
) -> Steps[torch.Tensor]:
    """Masks on slices ``first`` to ``last`` (included), ``[n, C, h, w]``.

    From every drawn slice outwards m(z + 1) = softmax(log(blur(warp(m(z)))) + weight * evidence(z + 1)); between two drawn
    slices the mean of both directions, weighted by 1 / distance.

    :param drawn: slice number -> what is drawn there; at least one, any of them may lie outside ``first`` to ``last``.
    :param evidence: ``[Z, C, h, w]``, log-likelihood ratios of the appearance; None: pure registration.
    :param blur: pixels, how far an uncertain edge spreads at each step.
    """
    order = sorted(drawn)
    like = drawn[order[0]].masks
    total = like.new_zeros(last - first + 1, *like.shape)
    weights = like.new_zeros(last - first + 1)
    for upwards in (True, False):
        yield Step(0.0, "Carrying the drawing")
        for item in _pass(frame, drawn, order, first, last, upwards, evidence, weight, blur):
            if isinstance(item, Step):
                yield item
                continue
            z, distance, masks = item
            if first <= z <= last:
                share = 1.0 / (distance + 1e-3)
                total[z - first] += share * masks
                weights[z - first] += share
    return total / weights.view(-1, 1, 1, 1)


def _pass(frame, drawn, order, first, last, upwards, evidence, weight, blur):
    """Yields steps of progress and (slice, distance to the last drawn slice, masks ``[C, h, w]``) in one direction."""
    whole = [z for z in order if drawn[z].complete]
    if upwards:
        path = range(max((z for z in whole if z <= first), default=order[0]), last + 1)
    else:
        path = range(min((z for z in whole if z >= last), default=order[-1]), first - 1, -1)
    current, distance, gone = None, 0, False
    for z in path:
        if current is not None and not gone:
            if frame.is_registered_onto(z, upwards):
                if z % _SLICES_A_STEP == 0:
                    yield Step(abs(z - path[0]) / len(path), "Carrying the drawing")
            else:
                yield from frame.register(*_ahead(frame, z, path), upwards)
            current = carried(current[None], frame.field_onto(z, upwards))
            if evidence is not None:
                current = torch.log(blurred(current, blur).clamp(min=_FLOOR)) + weight * evidence[z : z + 1]
                current = torch.softmax(current, 1)
            current = current[0]
        distance += 1
        if z in drawn:
            here = drawn[z]
            current = here.masks if current is None else here.known * here.masks + (1 - here.known) * current
            distance = 0
        if current is None:
            continue
        gone = bool(current[1:].sum() < _GONE)
        if gone and z not in drawn:
            current = torch.zeros_like(current)
            current[0] = 1
        yield z, distance, current


def _ahead(frame: Frame, z: int, path: range) -> tuple[int, int]:
    """The slices whose registration is worth one batch, from ``z`` on along ``path``: (lowest, highest)."""
    reach = frame.pairs_at_once
    if path.step > 0:
        return z - 1, min(z - 1 + reach, path[-1])
    return max(z + 1 - reach, path[-1]), z + 1
