"""Where a segment ends: how likely it is that a slice beyond the outermost drawn ones still holds it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..frame import Frame
from ..registration.neighbours import carried

# Log-odds of presence: agreement of carried and grown masks (Dice), log distance from the drawn slice in radii of what is
# drawn there, log of the predicted area against the drawn one, change of the carried image in standard deviations of
# the segment's own intensities, constant.
AGREEMENT, DISTANCE, AREA, CHANGE, CONSTANT = 2.7, -0.6, 0.8, -1.4, 2.0
_NO_AREA = 0.3  # pixels, added to areas before their logarithm


def presence(
    frame: Frame,
    start: torch.Tensor,
    first: int,
    beyond: Sequence[int],
    carried_masks: torch.Tensor,
    grown: torch.Tensor,
    share: float,
) -> torch.Tensor:
    """Probability ``[n, C]`` that each class is present on slices ``beyond``, which lie on one side of slice ``first``, the
    nearest one first.

    :param start: ``[C, h, w]``, what is drawn on slice ``first``, the outermost drawn one. Background and classes that
        are not drawn there have probability 1: nothing is known about their end.
    :param carried_masks, grown: ``[n, C, h, w]`` on these slices, by registration and by GrowCut.
    :param share: weight of ``carried_masks`` in the vote of both, 0 to 1.
    """
    step = 1 if beyond[0] > first else -1
    area = start.sum((1, 2))
    known = (area > 0) & (torch.arange(len(start)) > 0)
    pixel = frame.work_spacing[1] * frame.work_spacing[2]
    radius = (area * pixel / torch.pi).sqrt().clamp(min=1e-3)
    image = frame.work[first]
    mean = (start * image).sum((1, 2)) / area.clamp(min=1e-6)
    spread = ((start * (image - mean.view(-1, 1, 1)) ** 2).sum((1, 2)) / area.clamp(min=1e-6)).sqrt()
    moved, out = image[None, None], torch.ones(len(beyond), len(start))
    for z in range(first + step, beyond[-1] + step, step):
        moved = carried(moved, frame.field_onto(z, step > 0))
        n = abs(z - beyond[0]) if z in beyond else None
        if n is None:
            continue
        masks, others = carried_masks[n], grown[n]
        predicted = (share * masks + (1 - share) * others > 0.5).sum((1, 2))
        total = masks.sum((1, 2))
        both = 2 * torch.minimum(masks, others).sum((1, 2)) / (total + others.sum((1, 2)) + 1e-6)
        change = (masks * (moved[0, 0] - frame.work[z]).abs()).sum((1, 2)) / (total + 1e-6) / (spread + 0.02)
        odds = (
            AGREEMENT * both
            + DISTANCE * torch.log(abs(z - first) * frame.spacing[0] / radius + 0.05)
            + AREA * torch.log((predicted + _NO_AREA) / (area + _NO_AREA)).clamp(-4, 1.5)
            + CHANGE * change.clamp(max=4)
            + CONSTANT
        )
        out[n] = torch.where(known, torch.sigmoid(odds), torch.ones(()))
    return out
