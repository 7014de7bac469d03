"""The answer of Few-shot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..images import AXES
from ..images.array_order import ArrayOrder
from ..images.volume import slices_first
from .drawings.drawing import Drawing
from .drawings.overlaps import Pairs, flattened, separated
from .vote.outlook import SegmentOutlook, next_slices


@dataclass(frozen=True, eq=False)
class FewShotAnswer:
    """The segments of the volume.

    :param layers: uint8 ``[K, J, I]`` each, the label values that were drawn; 0 outside the slices asked for. One, unless
        segments that overlap are drawn; each value is in one of them.
    :param confidence: float32 ``[K, J, I]``, probability of each voxel's label, 0 to 1; of several layers the least one.
    :param outlook: label value -> what is to be expected of that segment.
    :param axis: the axis across the slices.
    :param mix: share of each part in the vote; mean over the layers.
    :param notes: what the user should know.
    """

    layers: list[np.ndarray]
    confidence: np.ndarray
    outlook: dict[int, SegmentOutlook]
    axis: str
    mix: dict[str, float]
    notes: list[str] = field(default_factory=list)

    def in_order(self, order: ArrayOrder) -> FewShotAnswer:
        """The same in another order of the volume's axes."""
        arrays = [np.ascontiguousarray(order.array(a)) for a in (*self.layers, self.confidence)]
        outlook = {value: one.renumbered(lambda z: order.slice(self.axis, z)[1]) for value, one in self.outlook.items()}
        return FewShotAnswer(arrays[:-1], arrays[-1], outlook, order.axis(self.axis), self.mix, self.notes)

    @property
    def expected_dice(self) -> dict[int, float]:
        """Label value -> expected Dice over the undrawn slices asked for."""
        return {value: outlook.dice for value, outlook in self.outlook.items()}

    @property
    def next_slices(self) -> list[tuple[int, float]]:
        """(Number along ``axis``, expected wrong voxels), the most useful slice to draw next first; none in a picture, of which
        the only slice is the answer."""
        one = self.layers[0].shape[2 - AXES.index(self.axis)] == 1
        return [] if one else next_slices(self.outlook)

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
    mix: dict[str, float] = {}
    for answer in answers:
        for part, share in answer.mix.items():
            mix[part] = mix.get(part, 0.0) + share / len(answers)
    return FewShotAnswer(
        layers,
        np.minimum.reduce([answer.confidence for answer in answers]),
        {v: answers[home].outlook[v] for v, home in sorted(homes.items()) if v in answers[home].outlook},
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
    return FewShotAnswer([labels], np.ones(labels.shape, np.float32), {}, drawing.axis, {}, [note])
