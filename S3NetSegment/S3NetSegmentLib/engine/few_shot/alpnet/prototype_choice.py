"""Which settings of the prototype head suit these drawn slices: each slice in turn is predicted from the others."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ...common.errors import InputError
from .prototypes import HeadSettings, PrototypeHead, SupportSlice

TEMPERATURES = (20.0, 60.0, 100.0)
WINDOWS = (1, 2, 4)
_WORTH = 0.005  # Dice that another setting must gain: less is noise of a few slices


@dataclass(frozen=True)
class HeadChoice:
    """The outcome of :func:`choose_settings`.

    :param settings: the chosen settings.
    :param dice: its mean Dice over the left-out slices and classes, 0 to 1, on the grid of the features; None with fewer
        than two slices.
    :param slice_dice: the same per left-out slice; None for a slice whose classes no other slice shows.
    :param tried: (window, temperature) -> mean Dice.
    """

    settings: HeadSettings
    dice: float | None
    slice_dice: tuple[float | None, ...]
    tried: dict[tuple[int, float], float]


def choose_settings(
    support: Sequence[SupportSlice],
    base: HeadSettings | None = None,
    *,
    temperatures: Sequence[float] = TEMPERATURES,
    windows: Sequence[int] = WINDOWS,
    distances_mm: torch.Tensor | None = None,
) -> HeadChoice:
    """Temperature and window by leave-one-support-slice-out, beginning from ``base``, which stays unless another setting
    is clearly better or there are fewer than two slices that share a class.

    :param distances_mm: ``[S, S]`` between the drawn slices, if the weighting of ``base`` needs it.
    :raises InputError: as :class:`PrototypeHead`.
    """
    base = base or HeadSettings()
    if not support:
        raise InputError("draw at least one slice")
    unknown = HeadChoice(base, None, (None,) * len(support), {})
    if len(support) < 2:
        return unknown
    smallest = min(min(s.features.shape[1:]) for s in support)
    sides = [base.window, *(w for w in windows if w != base.window and w <= smallest)]
    degrees = [base.temperature, *(t for t in temperatures if t != base.temperature)]
    results = {}
    for window in sides:
        whole = PrototypeHead(support, dataclasses.replace(base, window=window))
        for temperature in degrees:
            results[window, temperature] = _left_out(whole, temperature, distances_mm)
    tried = {key: mean for key, per_slice in results.items() if (mean := _mean(per_slice)) is not None}
    if not tried:
        return unknown
    first = (base.window, base.temperature)
    best = max(tried, key=lambda key: tried[key])
    best = best if tried[best] > tried[first] + _WORTH else first
    settings = dataclasses.replace(base, window=best[0], temperature=best[1])
    return HeadChoice(settings, tried[best], results[best], tried)


def _left_out(whole: PrototypeHead, temperature: float, distances_mm) -> tuple[float | None, ...]:
    """Mean Dice of each slice predicted from all others; classes that only this slice shows do not count."""
    found = []
    for i, left in enumerate(whole.support):
        others = [j for j in range(len(whole.support)) if j != i]
        head = whole.only(others, temperature=temperature)
        distances = None if distances_mm is None else distances_mm[i : i + 1, others]
        with torch.no_grad():
            answer = head.scores(left.features[None], distances)[0].argmax(0)
        coverage = left.coverage.to(answer.device, torch.float32)
        known = coverage.sum(0)  # what was not marked as known is not judged
        values = []
        for c in range(1, whole.classes):
            drawn = float(coverage[c].sum())
            is_elsewhere = any(float(whole.support[j].coverage[c].sum()) > 0 for j in others)
            if drawn > 0 and is_elsewhere:
                said = (answer == c).to(coverage) * known
                values.append(2 * float(torch.minimum(said, coverage[c]).sum()) / (float(said.sum()) + drawn))
        found.append(sum(values) / len(values) if values else None)
    return tuple(found)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None
