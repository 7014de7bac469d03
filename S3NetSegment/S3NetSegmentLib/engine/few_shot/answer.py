"""The answer of Few-shot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .drawing import Drawing
from .frame import slices_first
from .overlaps import Pairs, flattened, separated


@dataclass(frozen=True, eq=False)
class FewShotAnswer:
    """The segments of the volume.

    :param layers: uint8 ``[K, J, I]`` each, the label values that were drawn; 0 outside the slices asked for. One, unless
        segments that overlap are drawn; each value is in one of them.
    :param confidence: float32 ``[K, J, I]``, probability of each voxel's label, 0 to 1; of several layers the least one.
    :param next_slices: (number along ``axis``, expected wrong voxels), the most useful slice to draw next first.
    :param expected_dice: label value -> expected Dice over the undrawn slices asked for.
    :param axis: the axis across the slices.
    :param mix: share of each part in the vote; mean over the layers.
    :param notes: what the user should know.
    """

    layers: list[np.ndarray]
    confidence: np.ndarray
    next_slices: list[tuple[int, float]]
    expected_dice: dict[int, float]
    axis: str
    mix: dict[str, float]
    notes: list[str] = field(default_factory=list)

    @property
    def labels(self) -> np.ndarray:
        """All layers as one label map; where segments overlap, it shows that of the later layer."""
        return flattened(self.layers)


def united(answers: Sequence[FewShotAnswer], homes: Mapping[int, int], overlap: Pairs) -> FewShotAnswer:
    """The ``answers`` to each layer of a drawing as one.

    :param homes: label value -> number of the answer that it is taken from.
    :param overlap: pairs of values that overlap where they are drawn; others do not overlap in the answer either.
    """
    if len(answers) == 1:
        return answers[0]
    layers = []
    for number, answer in enumerate(answers):
        own = np.zeros(256, np.uint8)
        values = [value for value, home in homes.items() if home == number]
        own[values] = values
        layers.append(own[answer.layers[0]])
    separated(layers, [answer.confidence for answer in answers], overlap)
    wrong: dict[int, float] = {}
    mix: dict[str, float] = {}
    for answer in answers:
        for z, count in answer.next_slices:
            wrong[z] = wrong.get(z, 0.0) + count
        for part, share in answer.mix.items():
            mix[part] = mix.get(part, 0.0) + share / len(answers)
    return FewShotAnswer(
        layers,
        np.minimum.reduce([answer.confidence for answer in answers]),
        sorted(wrong.items(), key=lambda item: -item[1]),
        {v: answers[home].expected_dice[v] for v, home in homes.items() if v in answers[home].expected_dice},
        answers[0].axis,
        mix,
        list(dict.fromkeys(note for answer in answers for note in answer.notes)),
    )


def drawn_answer(drawing: Drawing) -> FewShotAnswer:
    """The answer where every slice is drawn: the drawing."""
    labels = np.zeros(drawing.volume.array.shape[:3], np.uint8)
    for z, drawn in drawing.slices.items():
        slices_first(labels, drawing.axis)[z] = np.array(drawing.values, np.uint8)[drawn.classes]
    note = "every slice is drawn, so nothing is left to find; the answer is the drawing"
    return FewShotAnswer([labels], np.ones(labels.shape, np.float32), [], {}, drawing.axis, {}, [note])
