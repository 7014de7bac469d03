"""The cleaning that was published with DINOv2 and ALPNet (CCA): of each segment one connected part of each slice stays."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

_CORNERS_TOUCH = np.ones((3, 3), bool)


def keep_one_part(classes: np.ndarray, sureness: np.ndarray, sums: torch.Tensor) -> None:
    """Makes background, in place, of all parts of a class in a slice but that with the largest sum of probabilities. Pixels whose
    corners touch belong together.

    :param classes: ``[n, H, W]``, 0 the background. :param sureness: ``[n, H, W]``, probability of that class; what becomes
        background keeps 1 minus it.
    :param sums: ``[n, 4, C]``, see :meth:`~..vote.ballot.Ballot.decisions`; the first two follow.
    """
    for n, plane in enumerate(classes):
        for c in np.unique(plane[plane > 0]).tolist():
            parts, count = ndimage.label(plane == c, _CORNERS_TOUCH)
            if count < 2:
                continue
            weights = ndimage.sum_labels(sureness[n], parts, np.arange(1, count + 1))
            lost = (parts > 0) & (parts != 1 + int(np.argmax(weights)))
            plane[lost] = 0
            sums[n, 0, c], sums[n, 1, c] = float(weights.max()), int(np.count_nonzero(plane == c))
            sureness[n][lost] = 1 - sureness[n][lost]
