"""Pictures of Few-shot: an answer with the outline of what it should be."""

from __future__ import annotations

import numpy as np

from ..engine import Segment, Segmentation, Volume
from ..engine.images.overlay import draw_overlay

WHITE = (1.0, 1.0, 1.0)


def draw_with_truth(volume: Volume, answer: Segmentation, truth: np.ndarray, axis: str, index: int, size: int):
    """One slice with the areas of ``answer`` and, in white, the outlines of the labels ``truth`` ``[K, J, I]``; uint8
    ``[H, W, 3]``."""
    values = [int(v) for v in np.unique(truth) if v]
    outlines = Segmentation([truth], [Segment(f"drawn {v}", WHITE, v) for v in values], volume.ijk_to_ras)
    place = {"axis": axis, "index": index, "size": size}
    image, lines = (draw_overlay(volume, s, **place, fill=0.0, outline=1) for s in (None, outlines))
    areas = draw_overlay(volume, answer, **place, fill=0.45, outline=0)
    return np.where((lines != image).any(-1, keepdims=True), lines, areas)
