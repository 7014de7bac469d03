"""Where a segment ends: how likely it is that a slice beyond the outermost drawn ones still holds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from ..frame import Frame
from ..registration.neighbours import carried

# Log-odds of presence: agreement of carried and grown masks (Dice), log distance from the drawn slice in radii of what is
# drawn there, change of the carried image in standard deviations of the segment's own intensities, share of a radius that
# the drawn slices span (who draws several slices draws them over most of the segment), that share times the log distance
# in gaps between drawn slices, constant. Fitted on the development cases of few_shot_cases.py and further organs of their
# CT, along all axes, with 1, 3 and 5 drawn slices, and judged on sets that were left out; one drawn slice may be a tip, so the
# constant is 1 higher than fitted: what is cut wrongly costs more Dice than what is left.
AGREEMENT, DISTANCE, CHANGE, SPAN, GAPS, CONSTANT = 2.6, -1.0, -1.5, -1.3, -0.44, 2.7


def presence(
    frame: Frame,
    start: torch.Tensor,
    first: int,
    beyond: Sequence[int],
    carried_masks: torch.Tensor,
    grown: torch.Tensor,
    drawn: Mapping[int, torch.Tensor] | None = None,
) -> torch.Tensor:
    """Probability ``[n, C]`` that each class is present on slices ``beyond``, which lie on one side of slice ``first``, the
    nearest one first. It never rises with the distance.

    :param start: ``[C, h, w]``, what is drawn on slice ``first``, the outermost drawn one. Background and classes that
        are not drawn there have probability 1: nothing is known about their end.
    :param carried_masks, grown: ``[n, C, h, w]`` on these slices, by registration and by GrowCut.
    :param drawn: all drawn slices -> what is drawn there; None: only ``first``.
    """
    step = 1 if beyond[0] > first else -1
    area = start.sum((1, 2))
    known = (area > 0) & (torch.arange(len(start)) > 0)
    pixel = frame.work_spacing[1] * frame.work_spacing[2]
    radius = (area * pixel / torch.pi).sqrt().clamp(min=1e-3)
    share, gap = _spanned(frame, {first: start, **(drawn or {})}, first)
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
        total = masks.sum((1, 2))
        both = 2 * torch.minimum(masks, others).sum((1, 2)) / (total + others.sum((1, 2)) + 1e-6)
        change = (masks * (moved[0, 0] - frame.work[z]).abs()).sum((1, 2)) / (total + 1e-6) / (spread + 0.02)
        away = abs(z - first)
        odds = (
            AGREEMENT * both
            + DISTANCE * torch.log(away * frame.spacing[0] / radius + 0.05)
            + CHANGE * change.clamp(max=4)
            + share * (SPAN + GAPS * torch.log(away / gap + 0.05))
            + CONSTANT
        )
        out[n] = torch.where(known, torch.sigmoid(odds), torch.ones(()))
    return out.cummin(0).values


def _spanned(frame: Frame, drawn: Mapping[int, torch.Tensor], first: int) -> tuple[torch.Tensor, torch.Tensor]:
    """For each class ``[C]``: the distance between the outermost slices that show it in radii of the largest drawn section, at
    most 1; and the slices from ``first`` to the next that shows it, 1 where there is none."""
    areas = {z: masks.sum((1, 2)) for z, masks in drawn.items()}
    numbers = torch.tensor(sorted(areas), dtype=torch.float32)
    area = torch.stack([areas[z] for z in sorted(areas)])
    shown = area > 0
    inf = torch.full_like(area, torch.inf)
    places = numbers[:, None].expand_as(area)
    low = torch.where(shown, places, inf).amin(0)
    high = torch.where(shown, places, -inf).amax(0)
    gap = torch.where(shown & (places != first), (places - first).abs(), inf).amin(0)
    pixel = frame.work_spacing[1] * frame.work_spacing[2]
    radius = (area.amax(0) * pixel / torch.pi).sqrt().clamp(min=1e-3)
    several = torch.isfinite(gap)
    share = torch.where(several, (high - low) * frame.spacing[0] / radius, torch.zeros(())).clamp(0, 1)
    return share, torch.where(several, gap, torch.ones(()))
