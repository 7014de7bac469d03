"""Where a segment ends: how likely a slice beyond the outermost drawn ones still holds it, and how far it may reach from a plane
oblique to the slices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage

from ..frame import Frame
from ..registration.neighbours import carried

# Log-odds of presence: agreement of carried and grown masks (Dice), log distance from the drawn slice in radii of what is
# drawn there, log of the predicted area against the drawn one, change of the carried image in standard deviations of
# the segment's own intensities, constant.
AGREEMENT, DISTANCE, AREA, CHANGE, CONSTANT = 2.7, -0.6, 0.8, -1.4, 2.0
_NO_AREA = 0.3  # pixels, added to areas before their logarithm
_FLAT = 2.0  # voxels across the plane that fits best, within which all that is drawn lies in that plane
# Distance in radii of the drawn section at which a segment is there or not, and how sharply. Compact organs are found within
# 1.5 (CT, development: liver .52 -> .84, spleen .54 -> .93), long ones reach further (stomach .82 -> .52); 2 lies between.
MIDDLE, _WIDTH = 2.0, 0.2
_MOST_VOXELS = 100_000  # of a drawn section that are measured


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
