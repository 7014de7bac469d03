"""Between an image's own grid and a smaller (or larger) working grid of the same field of view.

Both grids cover the same box edge to edge (``align_corners=False``); axes are independent, so each is one small matrix
product. Shrinking averages over the covered area, enlarging interpolates linearly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..common.arrays import bounding_box
from ..common.progress import Step, Steps
from .intensity import IntensityScale


def axis_weights(size: int, new_size: int, first: int = 0, last: int | None = None) -> np.ndarray:
    """Weights ``[last - first, size]`` (float32, rows sum to 1) that carry ``size`` samples to samples ``first`` to
    ``last`` (excluded) of ``new_size`` on the same length."""
    last = new_size if last is None else last
    ratio = size / new_size
    index = np.arange(first, last)[:, None]
    cells = np.arange(size)[None, :]
    if ratio > 1:
        covered = np.minimum((index + 1) * ratio, cells + 1) - np.maximum(index * ratio, cells)
        weights = np.clip(covered, 0, None) / ratio
    else:
        position = np.clip((index + 0.5) * ratio - 0.5, 0, size - 1)
        weights = np.clip(1 - np.abs(position - cells), 0, None)
    return weights.astype(np.float32)


def resized(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """``array`` [s1, ..., sn, ...] with its first ``len(shape)`` axes resized to ``shape``; float32."""
    out = np.asarray(array, dtype=np.float32)
    for axis, new_size in enumerate(shape):
        out = _along(out, axis, axis_weights(out.shape[axis], new_size))
    return out


def shrunk_features(array: np.ndarray, scale: IntensityScale, shape: Sequence[int]) -> Steps[np.ndarray]:
    """Features of a volume on a working grid, slice by slice, without a float copy of the whole volume.

    :param array: voxels ``[K, J, I]`` or ``[K, J, I, 3]``.
    :param shape: working grid (k, j, i).
    :returns: float32 ``[k, j, i, C]``, the scaled intensities of ``scale.apply``.
    """
    depth, rows, columns = shape
    count = array.shape[0]
    out = np.zeros((depth, rows, columns, scale.channels), np.float32)
    across = axis_weights(count, depth)
    batch = max(1, int(1e6 / max(1, array[0].size)))
    for first in range(0, count, batch):
        yield Step(first / count, "Reading intensities")
        planes = scale.apply(array[first : first + batch])
        for axis, size in ((1, rows), (2, columns)):
            yield Step((first + axis / 3 * len(planes)) / count, "Reading intensities")
            planes = _along(planes, axis, axis_weights(planes.shape[axis], size))
        weights = across[:, first : first + len(planes)]
        used = np.flatnonzero(weights.any(1))
        if used.size:
            part = slice(used[0], used[-1] + 1)
            out[part] += np.tensordot(weights[part], planes, 1)
    return out


def mask_to_grid(mask: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """``mask`` (bool, any number of axes) on another grid of the same field of view: linear, then half; bool."""
    out = np.zeros(tuple(shape), bool)
    if mask.shape == out.shape:
        return mask.copy()
    box = bounding_box(mask)
    if box is None:
        return out
    weights, target = [], []
    for axis, (part, size, new_size) in enumerate(zip(box, mask.shape, shape, strict=True)):
        ratio = new_size / size
        first = max(0, int(np.floor((part.start - 1) * ratio)))
        last = min(new_size, int(np.ceil((part.stop + 1) * ratio)))
        weights.append(axis_weights(size, new_size, first, last)[:, mask_slice(part, mask.shape[axis])])
        target.append(slice(first, last))
    small = mask[tuple(mask_slice(p, n) for p, n in zip(box, mask.shape, strict=True))].astype(np.float32)
    for axis in range(1, mask.ndim):
        small = _along(small, axis, weights[axis])
    # The first axis last and in batches, so that the float copy of a large volume stays small.
    lead = weights[0]
    view = out[tuple(target)]
    batch = max(1, int(16e6 / max(1, small[0].size)))
    for first in range(0, len(lead), batch):
        view[first : first + batch] = np.tensordot(lead[first : first + batch], small, 1) > 0.5
    return out


def labels_to_grid(labels: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """``labels`` (small whole numbers) on another grid: at each voxel the label with the largest linear weight."""
    if labels.shape == tuple(shape):
        return labels.copy()
    values = np.unique(labels)
    out = np.empty(tuple(shape), labels.dtype)
    lead = axis_weights(labels.shape[0], shape[0])
    inner = [axis_weights(n, m) for n, m in zip(labels.shape[1:], shape[1:], strict=True)]
    for row in range(shape[0]):
        sources = np.flatnonzero(lead[row])
        near = labels[sources]
        best = np.full(tuple(shape[1:]), -1.0, np.float32)
        for value in values:
            share = np.tensordot(lead[row, sources], (near == value).astype(np.float32), 1)
            for axis, weights in enumerate(inner):
                share = _along(share, axis, weights)
            larger = share > best + 1e-6
            best[larger] = share[larger]
            out[row][larger] = value
    return out


def mask_slice(part: slice, size: int) -> slice:
    """``part`` with a margin of two samples inside 0..size: what interpolation at its border can reach."""
    return slice(max(0, part.start - 2), min(size, part.stop + 2))


def _along(array: np.ndarray, axis: int, weights: np.ndarray) -> np.ndarray:
    if weights.shape[0] == weights.shape[1]:
        return array  # same size: the weights are the identity
    return np.moveaxis(np.tensordot(weights, array, (1, axis)), 0, axis)
