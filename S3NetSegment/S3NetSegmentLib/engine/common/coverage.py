"""Drawn labels on the grid of the features: how much of each cell every class covers, by exact area."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch

from .errors import InputError


def area_average(maps: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
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


def area_coverage(
    labels: np.ndarray | torch.Tensor,
    classes: Sequence[int],
    shape: tuple[int, int],
    *,
    known: np.ndarray | torch.Tensor | None = None,
) -> torch.Tensor:
    """How much of each cell each class covers, 0 to 1: float32 ``[1 + len(classes), h, w]``, background first.

    :param labels: drawn label map ``[H, W]`` (whole numbers); all values but ``classes`` are background.
    :param known: bool ``[H, W]``, where background may be believed; None: everywhere (the slice is complete). Drawn pixels
        always count.
    """
    labels = torch.as_tensor(np.asarray(labels).astype(np.int64) if isinstance(labels, np.ndarray) else labels)
    if labels.ndim != 2 or 0 in labels.shape:
        raise InputError(f"a drawn slice must be a label map [H, W]; got {tuple(labels.shape)}")
    if len(set(classes)) != len(classes) or 0 in classes:
        raise InputError(f"classes are {list(classes)}; they must be different label values, and 0 is the background")
    drawn = (
        torch.stack([labels == value for value in classes]) if classes else labels.new_zeros((0, *labels.shape)).bool()
    )
    background = ~drawn.any(0)
    if known is not None:
        known = torch.as_tensor(known, dtype=torch.bool, device=labels.device)
        if known.shape != labels.shape:
            raise InputError(f"known is {tuple(known.shape)}, but the drawn slice is {tuple(labels.shape)}")
        background &= known
    return area_average(torch.cat((background[None], drawn)), shape)
