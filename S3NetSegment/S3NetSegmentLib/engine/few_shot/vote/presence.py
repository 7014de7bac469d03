"""Where a segment ends: how likely a slice beyond the outermost drawn ones still holds it, and how far it may reach from a plane
oblique to the slices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from ...common.progress import Step, Steps
from ..frame import Frame
from ..registration.neighbours import carried

# Log-odds of presence: agreement of carried and grown masks (Dice), log distance from the drawn slice in radii of what is
# drawn there, log of the predicted area against the drawn one, change of the carried image in standard deviations of
# the segment's own intensities, constant.
AGREEMENT, DISTANCE, AREA, CHANGE, CONSTANT = 2.7, -0.6, 0.8, -1.4, 2.0
# What speaks against it besides, on thick slices above all: log strength of the edge along the carried outline against that
# along the drawn one, correlation of the carried image with the slice in and around the segment; how much of both together
# is enough (chosen by Dice). They only lower the odds. Fitted to what the terms above leave open on development cases
# (few_shot_cases.py), and on every third to twelfth slice of them along all axes, with whole sets left out.
EDGE, LIKENESS, ENOUGH = 1.5, 2.6, 1.25
_NO_AREA = 0.3  # pixels, added to areas before their logarithm
_NO_EDGE = 0.01  # added to edge strengths before their logarithm
_AROUND = 0.3  # radii of the largest drawn section around a segment, at least 2 pixels, where images are compared
_FLAT = 2.0  # voxels across the plane that fits best, within which all that is drawn lies in that plane
# Distance in radii of the drawn section at which a segment is there or not, and how sharply. Compact organs are found within
# 1.5 (CT, development: liver .52 -> .84, spleen .54 -> .93), long ones reach further (stomach .82 -> .52); 2 lies between.
MIDDLE, _WIDTH = 2.0, 0.2
FINDING_ENDS = "Finding the ends"
_MOST_VOXELS = 100_000  # of a drawn section that are measured


def presence(
    frame: Frame,
    start: torch.Tensor,
    first: int,
    beyond: Sequence[int],
    carried_masks: torch.Tensor,
    grown: torch.Tensor,
    share: float,
) -> Steps[torch.Tensor]:
    """Probability ``[n, C]`` that each class is present on slices ``beyond``, which lie on one side of slice ``first``, the
    nearest one first, as a generator of progress steps.

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
    around = max(2, round(_AROUND * float((area[1:].max().clamp(min=1) / torch.pi).sqrt())))
    drawn_edge = _edge(start, frame.channels(first)[1])
    image = frame.work[first]
    mean = (start * image).sum((1, 2)) / area.clamp(min=1e-6)
    spread = ((start * (image - mean.view(-1, 1, 1)) ** 2).sum((1, 2)) / area.clamp(min=1e-6)).sqrt()
    moved, out = image[None, None], torch.ones(len(beyond), len(start))
    for z in range(first + step, beyond[-1] + step, step):
        yield Step(abs(z - first) / abs(beyond[-1] - first), FINDING_ENDS)
        moved = carried(moved, frame.field_onto(z, step > 0))
        n = abs(z - beyond[0]) if z in beyond else None
        if n is None:
            continue
        masks, others = carried_masks[n], grown[n]
        predicted = (share * masks + (1 - share) * others > 0.5).sum((1, 2))
        total = masks.sum((1, 2))
        both = 2 * torch.minimum(masks, others).sum((1, 2)) / (total + others.sum((1, 2)) + 1e-6)
        change = (masks * (moved[0, 0] - frame.work[z]).abs()).sum((1, 2)) / (total + 1e-6) / (spread + 0.02)
        edge = torch.log((_edge(masks, frame.channels(z)[1]) + _NO_EDGE) / (drawn_edge + _NO_EDGE)).clamp(-2, 2)
        likeness = _correlation(moved[0, 0], frame.work[z], _surroundings(masks, around)).clamp(0, 1)
        odds = (
            AGREEMENT * both
            + DISTANCE * torch.log(abs(z - first) * frame.spacing[0] / radius + 0.05)
            + AREA * torch.log((predicted + _NO_AREA) / (area + _NO_AREA)).clamp(-4, 1.5)
            + CHANGE * change.clamp(max=4)
            + (EDGE * edge + LIKENESS * likeness - ENOUGH).clamp(max=0)
            + CONSTANT
        )
        out[n] = torch.where(known, torch.sigmoid(odds), torch.ones(()))
    return out


def _edge(masks: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """Mean of the edge ``strength`` ``[h, w]`` along the outline of each of ``masks`` ``[C, h, w]``."""
    down, across = masks.diff(dim=1), masks.diff(dim=2)
    outline = torch.hypot(F.pad(down, (0, 0, 0, 1)), F.pad(across, (0, 1)))
    return (outline * strength).sum((1, 2)) / (outline.sum((1, 2)) + 1e-6)


def _surroundings(masks: torch.Tensor, pixels: int) -> torch.Tensor:
    """``masks`` ``[C, h, w]``, each with what lies at most so many pixels around it."""
    size = 2 * pixels + 1
    return torch.from_numpy(ndimage.maximum_filter(masks.numpy(), (1, size, size)))


def _correlation(one: torch.Tensor, other: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Of two images ``[h, w]`` under each of ``weights`` ``[C, h, w]``: ``[C]``, -1 to 1."""
    weights = weights / (weights.sum((1, 2), keepdim=True) + 1e-6)
    a, b = (image - (weights * image).sum((1, 2), keepdim=True) for image in (one, other))
    product, own, others = ((weights * x).sum((1, 2)) for x in (a * b, a * a, b * b))
    return product / (own * others + 1e-8).sqrt()


def flat_classes(known: np.ndarray, spacing: tuple[float, float, float], classes: int) -> dict[int, float]:
    """The classes that are drawn in one plane only -> radius in mm of the disc of the same size.

    :param known: see :mod:`drawing`, ``[Z, H, W]``; ``spacing`` in the same order.
    """
    found = {}
    for c in range(1, classes):
        place = np.argwhere(known == c + 1)
        if len(place) < 3:
            continue
        place = place[:: 1 + len(place) // _MOST_VOXELS] * np.array(spacing)
        values, vectors = np.linalg.eigh(np.cov(place.T))
        normal = vectors[:, 0]
        if np.ptp(place @ normal) <= _FLAT * (np.abs(normal) * spacing).sum() and values[1] > 0:
            found[c] = float(2 * (values[1] * values[2]) ** 0.25)  # semi-axes of an ellipse are 2 standard deviations
    return found


def reach(frame: Frame, known: np.ndarray, classes: int, flat: dict[int, float], first: int, last: int) -> torch.Tensor:
    """Factor of each class on slices ``first`` to ``last`` of the working grid, ``[n, C, h, w]``, 0 to 1: how likely a segment
    still is there, so far from what is drawn of it. 1 for all classes but the ``flat`` ones."""
    factors = torch.ones(last - first + 1, classes, *frame.work_shape)
    rows, columns = (n / m for n, m in zip(frame.box.shape, frame.work_shape, strict=True))
    for c, radius in flat.items():
        drawn = np.ones((frame.depth, *frame.work_shape), bool)
        z, y, x = np.nonzero(known == c + 1)
        drawn[z, (y / rows).astype(int), (x / columns).astype(int)] = False
        away = ndimage.distance_transform_edt(drawn, sampling=frame.work_spacing)[first : last + 1] / max(radius, 1e-6)
        factors[:, c] = torch.sigmoid((MIDDLE - torch.from_numpy(away.astype(np.float32))) / _WIDTH)
    return factors
