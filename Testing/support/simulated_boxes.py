"""Boxes as a hurried user drags them around a known object in a slice."""

from __future__ import annotations

import numpy as np

from S3NetSegmentLib.engine.images import AXES
from S3NetSegmentLib.engine.images.volume import slices_first
from S3NetSegmentLib.engine.segment.prompts import Box

BOX_ERROR = 0.07  # standard deviation of each side's error, as a share of its length
_LEAST = 20  # pixels of a label in a slice around which one draws a box


def flat_box(truth: np.ndarray, axis: str, index: int, rng: np.random.Generator) -> Box:
    """The box around the object in a slice, each side of it off by a normal error."""
    places = np.argwhere(slices_first(truth, axis)[index])
    size = np.array(slices_first(truth, axis).shape[1:])
    low, high = places.min(0), places.max(0)
    error = BOX_ERROR * (high - low + 1) * rng.normal(size=(2, 2))
    low = np.clip(np.rint(low + error[0]), 0, size - 2).astype(int)
    high = np.minimum(np.maximum(np.rint(high + error[1]), low + 1), size - 1).astype(int)
    corners = [list(map(int, corner)) for corner in (low, high)]
    for corner in corners:
        corner.insert(2 - AXES.index(axis), index)
    return Box(*(tuple(corner[::-1]) for corner in corners))


def boxes_of_slice(case, index: int, rng: np.random.Generator) -> dict[int, list[Box]]:
    """A box around each label of slice ``index`` of ``case`` (a ``FewShotCase``), by its value."""
    plane = slices_first(case.labels, case.axis)[index]
    values = [int(v) for v in np.unique(plane) if v and np.count_nonzero(plane == v) >= _LEAST]
    return {value: [flat_box(case.labels == value, case.axis, index, rng)] for value in values}
