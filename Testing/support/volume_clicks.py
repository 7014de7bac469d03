"""Where a user would click in a volume, made from the true object: for the benchmark and for training."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

Voxel = tuple[int, int, int]  # k, j, i


def innermost_voxel(mask: np.ndarray, spacing: tuple[float, float, float]) -> Voxel:
    """The voxel of ``mask`` (bool ``[k, j, i]``, not empty) that is farthest from its outside, in mm."""
    depth, first = _depth(mask, spacing)
    return _whole(first + np.unravel_index(int(depth.argmax()), depth.shape))


def random_voxel(mask: np.ndarray, spacing: tuple[float, float, float], rng: np.random.Generator) -> Voxel:
    """A voxel of ``mask`` that is not right at its border."""
    depth, first = _depth(mask, spacing)
    inner = np.argwhere(depth > min(2 * min(spacing), depth.max() / 2))
    return _whole(first + inner[rng.integers(len(inner))])


def corrective_voxel(answer: np.ndarray, truth: np.ndarray, spacing) -> tuple[Voxel, bool] | None:
    """The innermost voxel of the largest connected error of ``answer``, and whether it belongs to the object; None if
    there is no error."""
    best, best_size, inside = None, 0, True
    for wrong, is_missing in ((truth & ~answer, True), (answer & ~truth, False)):
        parts, count = ndimage.label(wrong)
        if count:
            sizes = np.bincount(parts.ravel())
            sizes[0] = 0
            if sizes.max() > best_size:
                best, best_size, inside = parts == sizes.argmax(), sizes.max(), is_missing
    return None if best is None else (innermost_voxel(best, spacing), inside)


def dice_with(objects, candidates, mask: np.ndarray) -> np.ndarray:
    """Dice coefficients ``[n]`` of ``candidates`` of the VolumeObjects ``objects`` with ``mask``, bool ``[k, j, i]``."""
    graph = objects.graph
    held = np.bincount(graph.labels[mask], minlength=graph.count) * float(np.prod(graph.spacing))
    return (2 * (candidates.sets @ held) / (candidates.volume + held.sum())).astype(np.float32)


def _depth(mask: np.ndarray, spacing) -> tuple[np.ndarray, np.ndarray]:
    """Distance to the outside in the box around ``mask``, and where the box begins."""
    spots = np.nonzero(mask)
    first = np.array([s.min() for s in spots])
    box = mask[tuple(slice(s.min(), s.max() + 1) for s in spots)]
    return ndimage.distance_transform_edt(np.pad(box, 1), sampling=spacing)[1:-1, 1:-1, 1:-1], first


def _whole(index) -> Voxel:
    return tuple(int(v) for v in index)
