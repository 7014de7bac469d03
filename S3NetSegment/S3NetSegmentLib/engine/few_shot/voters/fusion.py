"""How several support volumes are combined: local weights, and which of them to trust.

Joint label fusion: Wang et al., "Multi-atlas segmentation with joint label fusion", 2013. Volumes that are wrong in the same
place together count as one, so that five poor ones do not outvote a good one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

_RIDGE = 0.1  # of the mean product: keeps weights from following the noise
_LEAST = 1e-4  # product of differences that is as good as none


def fusion_weights(differences: np.ndarray, reliability: Sequence[float], patch: Sequence[float]) -> np.ndarray:
    """Weights ``[S, Z, H, W]`` of S support volumes, at least 0, with a sum of 1 at each voxel.

    :param differences: what each image differs by from the query image, ``[S, Z, H, W]``, 0 or more.
    :param reliability: of each volume as a whole, above 0; its expected error is the larger the less reliable it is.
    :param patch: standard deviation of the neighbourhood in which images are compared, in voxels (Z, H, W).
    """
    trusted = np.maximum(np.asarray(reliability, np.float32), 1e-3)
    errors = np.abs(differences).astype(np.float32) / trusted.reshape(-1, 1, 1, 1)
    count = len(errors)
    products = np.empty((*errors.shape[1:], count, count), np.float32)
    sigma = np.minimum(np.asarray(patch, float), 3.0)
    for a in range(count):
        for b in range(a, count):
            near = ndimage.gaussian_filter(errors[a] * errors[b], sigma, mode="nearest")
            products[..., a, b] = products[..., b, a] = near
    trace = np.trace(products, axis1=-2, axis2=-1) / count
    diagonal = np.arange(count)
    products[..., diagonal, diagonal] += (_RIDGE * trace + _LEAST)[..., None]
    weights = np.linalg.solve(products, np.ones((*products.shape[:-1], 1), np.float32))[..., 0]
    weights = np.clip(weights, 0, None)
    weights /= np.maximum(weights.sum(-1, keepdims=True), 1e-9)
    return np.moveaxis(weights, -1, 0)
