"""Small things that the tests of the Few-shot panel share."""

from __future__ import annotations

import numpy as np
import slicer


def square(top=10, left=12, size=8, shape=(36, 40)) -> np.ndarray:
    """A drawing on a slice of the test volume, bool [rows, columns]."""
    mask = np.zeros(shape, bool)
    mask[top : top + size, left : left + size] = True
    return mask


def preview_node():
    """The segmentation of the present preview, or None."""
    nodes = [n for n in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if "preview" in n.GetName()]
    return nodes[0] if nodes else None
