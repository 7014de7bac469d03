"""In which way the grid of a drawing differs from that of its image, in words and millimetres."""

from __future__ import annotations

import numpy as np

from ...images import Volume
from .label_grid import along_axes

_SAME = 0.01  # voxels by which grids may differ without a word


def grid_difference(shape: tuple[int, int, int], ijk_to_ras: np.ndarray, image: Volume) -> str:
    """What is different about the grid of labels of ``shape`` ``[K, J, I]``; "" where each of its voxels is one of ``image``.

    The axes may be in another order or reversed, and the grid may be a part of the image's. One of the same size in another
    place is no part of it: one of the two was read, or saved, with another matrix.
    """
    size, matrix = np.array(shape[::-1]), np.asarray(ijk_to_ras, float)
    to_image = np.linalg.solve(image.ijk_to_ras, matrix)
    order, skew = along_axes(to_image, size.tolist(), image.size)
    found = []
    own = np.linalg.norm(matrix[:3, :3], axis=0)[order]
    if (np.abs(own / image.spacing - 1) * size[order] >= _SAME).any():
        found.append(f"its voxels are {_millimetres(own)} mm, those of the image {_millimetres(image.spacing)} mm")
    if skew >= _SAME:
        found.append(f"it is turned by {_angle(matrix, image.ijk_to_ras, order):.2g} degrees")
    if found:
        return ", and ".join(found)
    steps = np.array([to_image[b, a] for b, a in enumerate(order)])
    first = to_image[:3, 3] + sum(to_image[:3, a] * (size[a] - 1) for b, a in enumerate(order) if steps[b] < 0)
    beyond = first + size[order] - image.size  # voxels on the far side
    between = first - np.rint(first)
    if tuple(size[order]) == image.size and np.abs(first).max() >= _SAME:
        return f"it lies {_shift(image, first)} beside it, though it has the same size"
    if np.abs(between).max() >= _SAME:
        return f"its voxels lie {_shift(image, between)} beside those of the image"
    if (first < -0.5).any() or (beyond > 0.5).any():
        return f"it has {_voxels(size[order])} voxels and reaches beyond the image with {_voxels(image.size)}"
    return ""


def _shift(image: Volume, voxels: np.ndarray) -> str:
    """A shift of ``voxels`` (i, j, k) in words, e.g. "7.8 mm (R 6, A -4, S 3)"."""
    ras = image.ijk_to_ras[:3, :3] @ voxels
    parts = ", ".join(f"{name} {value:.3g}" for name, value in zip("RAS", np.round(ras, 3) + 0.0, strict=True))
    return f"{np.linalg.norm(ras):.3g} mm ({parts})"


def _angle(one: np.ndarray, other: np.ndarray, order: list[int]) -> float:
    """The largest angle in degrees between an axis of ``other`` and the axis of ``one`` that runs along it."""
    a, b = one[:3, :3][:, order], other[:3, :3]
    cosine = np.abs((a * b).sum(0)) / np.linalg.norm(a, axis=0) / np.linalg.norm(b, axis=0)
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1)).max()))


def _millimetres(values) -> str:
    return " x ".join(f"{value:.4g}" for value in values)


def _voxels(values) -> str:
    return " x ".join(str(int(value)) for value in values)
