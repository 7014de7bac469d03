"""The answer of Few-shot."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .drawing import Drawing
from .frame import slices_first


@dataclass(frozen=True, eq=False)
class FewShotAnswer:
    """The segments of the volume.

    :param labels: uint8 ``[K, J, I]``, the label values that were drawn; 0 outside the slices asked for.
    :param confidence: float32 ``[K, J, I]``, probability of each voxel's label, 0 to 1.
    :param next_slices: (number along ``axis``, expected wrong voxels), the most useful slice to draw next first.
    :param expected_dice: label value -> expected Dice over the undrawn slices asked for.
    :param axis: the axis across the slices.
    :param mix: share of each part in the vote.
    :param notes: what the user should know.
    """

    labels: np.ndarray
    confidence: np.ndarray
    next_slices: list[tuple[int, float]]
    expected_dice: dict[int, float]
    axis: str
    mix: dict[str, float]
    notes: list[str] = field(default_factory=list)


def drawn_answer(drawing: Drawing) -> FewShotAnswer:
    """The answer where every slice is drawn: the drawing."""
    labels = np.zeros(drawing.volume.array.shape[:3], np.uint8)
    for z, drawn in drawing.slices.items():
        slices_first(labels, drawing.axis)[z] = np.array(drawing.values, np.uint8)[drawn.classes]
    note = "every slice is drawn, so nothing is left to find; the answer is the drawing"
    return FewShotAnswer(labels, np.ones(labels.shape, np.float32), [], {}, drawing.axis, {}, [note])
