"""How much each part of the answer counts: the prior mix, and what predicts a hidden drawn slice best."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

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
_PRIOR_BONUS = 0.01  # Dice by which another mix must be better than the prior one
_LEAST_SHARE = 0.01
_SIDE_FROM, _SIDE_TO = 0.38, 0.44  # how often appearance is with GrowCut before, and until, carried masks count no more
_FURTHER_SHARES = (0.15, 0.35, 0.6, 1.0)
_FURTHER_ALONE = 0.9  # of the Dice of the others that it must reach without them
_FURTHER_GAIN = 0.01  # Dice that a further part must gain on hidden slices


def prior_mix(scattered: bool, anisotropy: float) -> Mix:
    """The mix where nothing is known about how the parts do.

    :param anisotropy: 1 to 4; where neighbouring slices hardly overlap, GrowCut is poor and carrying counts more.
    """
    return {"grown": 2, "appearance": 1} if scattered else {"carried": anisotropy, "grown": 1}


def weighted_mix(
    prior: Mix, candidates: tuple[Mix, ...], hidden: list[tuple[dict, torch.Tensor]], softness: float
) -> Mix:
    """The average of all candidates and the prior, weighted by exp(softness * Dice on hidden drawn slices).

    :param hidden: for each hidden slice the parts ``name -> [C, h, w]`` and what is drawn there, classes ``[h, w]``.
    :returns: part -> share; shares sum to 1.
    """
    mixes = [*candidates, prior]
    scores = np.array([mean_dice(mix, hidden) for mix in mixes])
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
