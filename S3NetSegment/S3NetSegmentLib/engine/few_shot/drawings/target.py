"""What kind of target a drawing shows: compact, which reaches from slice to slice, or scattered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

_SLENDER = 0.13  # thickness over the root of the area, below which a target is scattered; a disc has 0.35
_SMALL, _PARTS = 1.5, 1.5  # thickness in pixels and parts in a slice, below and above which it is, too


@dataclass(frozen=True)
class DrawnSizes:
    """Sizes of what is drawn, in pixels: mean thickness of the thinnest segment (2 area / perimeter), the square root of
    the smallest drawn area, and whether the segments are many small parts or winding like tissue."""

    thickness: float
    side: float
    scattered: bool

    @classmethod
    def of(cls, slices: list[np.ndarray]) -> DrawnSizes:
        """Of label images ``[H, W]``; slices without labels do not count."""
        found: dict[int, list[tuple[float, float, int]]] = {}
        for labels in slices:
            for value in np.unique(labels[labels > 0]):
                found.setdefault(int(value), []).append(_measured(labels == value))
        if not found:
            return cls(np.inf, np.inf, False)
        means = np.array([np.mean(sizes, 0) for sizes in found.values()])  # thickness, side, parts of each segment
        slender = np.mean([np.mean([t / s for t, s, _ in sizes]) for sizes in found.values()])
        thickness, _, parts = means.mean(0)
        return cls(
            float(means[:, 0].min()),
            min(side for sizes in found.values() for _, side, _ in sizes),
            bool(slender < _SLENDER or (thickness < _SMALL and parts > _PARTS)),
        )


def _measured(mask: np.ndarray) -> tuple[float, float, int]:
    """Thickness, root of the area, and number of parts of one mask."""
    edge = int(np.count_nonzero(mask[1:] != mask[:-1]) + np.count_nonzero(mask[:, 1:] != mask[:, :-1]))
    area = int(np.count_nonzero(mask))
    return 2 * area / max(1, edge), area**0.5, ndimage.label(mask, np.ones((3, 3)))[1]
