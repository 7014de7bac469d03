"""How far an answer may reach from a drawing on one plane that is askew to the slices: the plane says nothing about the
extent across it, and nothing is carried from slice to slice there."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

from ..frame import Frame

_FLAT = 2.0  # voxels across the plane that fits best, within which all that is drawn lies in that plane
# Distance in radii of the drawn section at which a segment is there or not, and how sharply. Compact organs are found within
# 1.5 (CT, development: liver .52 -> .84, spleen .54 -> .93), long ones reach further (stomach .82 -> .52); 2 lies between.
MIDDLE, _WIDTH = 2.0, 0.2
_MOST_VOXELS = 100_000  # of a drawn section that are measured


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
