"""Sums and area means of tensors."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from functools import lru_cache, reduce

import numpy as np
import torch


def summed(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
    """The sum of at least one tensor, one after the other."""
    return reduce(operator.add, tensors)


def area_average(maps: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """``maps`` ``[..., H, W]`` as means over the cells of a grid ``[..., h, w]`` of the same extent.

    Exact: a pixel that lies across several cells counts in each by its share. Nothing vanishes, however small it is,
    unlike with nearest or bilinear resizing. (With h > H a cell holds part of one or two pixels.)
    """
    down, along = (
        _overlaps(n, cells).to(maps.device, torch.float32) for n, cells in zip(maps.shape[-2:], shape, strict=True)
    )
    return down @ maps.to(torch.float32) @ along.T


@lru_cache(maxsize=32)
def _overlaps(count: int, cells: int) -> torch.Tensor:
    """Share of each of ``count`` pixels in each of ``cells`` cells, ``[cells, count]``, rows sum to 1."""
    edges = np.arange(cells + 1) * (count / cells)
    pixels = np.arange(count)
    shares = np.minimum(pixels + 1, edges[1:, None]) - np.maximum(pixels, edges[:-1, None])
    return torch.from_numpy(np.maximum(shares, 0) * (cells / count))
