"""Images whose NIfTI header tells two places that disagree (qform and sform): readers choose differently, so that what was drawn
with another one lies elsewhere, though its voxels are those of the image."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from ...common.errors import ImageWarning
from ..segmentation import Segmentation
from ..volume import Volume

_APART = 0.01  # mm between two matrices, or a tenth of a voxel if that is less
_ROUNDING = (
    1e-4  # parts of the image's diagonal: axes may be that far from right angles, which a quaternion cannot tell
)
_ALIKE = 0.01  # parts of the smallest voxel


def farthest(one: np.ndarray, other: np.ndarray, shape: Sequence[int]) -> float:
    """Largest distance in mm between the places of a voxel of an image of ``shape`` (K, J, I) by two matrices (4, 4)."""
    corners = np.array([[i, j, k, 1] for k in (0, shape[0] - 1) for j in (0, shape[1] - 1) for i in (0, shape[2] - 1)])
    return float(np.linalg.norm((corners @ (one - other).T)[:, :3], axis=1).max())


def are_apart(distance: float, matrix: np.ndarray, shape: Sequence[int]) -> bool:
    """Whether a ``distance`` in mm between two matrices of an image of ``shape`` (K, J, I), one of them ``matrix``, is more than
    the rounding of a header."""
    diagonal = float(np.linalg.norm(matrix[:3, :3] @ (np.array(shape[::-1], float) - 1)))
    return distance > max(min(_APART, 0.1 * _smallest(matrix)), _ROUNDING * diagonal)


def on_voxels_of(segmentation: Segmentation, image: Volume | Segmentation) -> Segmentation:
    """``segmentation``, put voxel for voxel onto ``image`` where it has its size and lies just where the other matrix of the
    image's NIfTI file, or of its own, puts the image; which is told (ImageWarning). Otherwise as it is."""
    shape = (image.array if isinstance(image, Volume) else image.layers[0]).shape[:3]
    if segmentation.layers[0].shape != shape:
        return segmentation
    smallest = _smallest(image.ijk_to_ras)
    apart = farthest(segmentation.ijk_to_ras, image.ijk_to_ras, shape)
    if apart <= 0.1 * smallest:
        return segmentation
    own = (segmentation.ijk_to_ras, *segmentation.other_matrices)
    its = (image.ijk_to_ras, *image.other_matrices)
    if not any(farthest(a, b, shape) <= _ALIKE * smallest for a in own for b in its):
        return segmentation
    warnings.warn(
        f"the labels lie {apart:.3g} mm from their image, just where the other matrix of a NIfTI header with two (qform, sform) "
        "puts them: they were made by a program that goes by that one; they are taken voxel for voxel",
        ImageWarning,
        3,
    )
    return Segmentation(segmentation.layers, segmentation.segments, np.array(image.ijk_to_ras))


def _smallest(matrix: np.ndarray) -> float:
    return float(np.linalg.norm(matrix[:3, :3], axis=0).min())
