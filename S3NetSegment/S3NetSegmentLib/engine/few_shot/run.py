"""Few-shot as one task from an image and files of drawings to a segmentation, and what comes of it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..common.progress import Steps
from ..common.provenance import FEW_SHOT, OutcomeFacts, TaskFacts, mix_text, provenance, support_text
from ..images import AXES, Segmentation, Volume
from ..images.overlay import best_slice, draw_overlay
from ..images.reading import read_image
from ..images.volume import slices_first
from ..tasks.few_shot import FewShotTask
from .answer import encoder_record, is_empty, reason
from .answer import notes as outlook_notes
from .drawings.support_files import Support, read_support
from .settings import FewShotSettings

if TYPE_CHECKING:
    from .method import FewShotAnswer, FewShotEncoder

SUGGESTED = 3  # slices to draw next
_APART = 0.05  # of all slices: suggested ones are at least so far from each other


@dataclass(frozen=True, eq=False)
class FewShotOutcome:
    """What came of a task: the answer and all that it was made of.

    :param segmentation: with the names, colours and label values of the drawing.
    :param notes: what the user should know.
    """

    volume: Volume
    support: Support
    answer: FewShotAnswer
    settings: FewShotSettings
    encoder: FewShotEncoder | None
    segmentation: Segmentation
    notes: list[str] = field(default_factory=list)

    @property
    def device(self) -> str:
        return _device_name(self.encoder)

    @property
    def confidence(self) -> Volume:
        """Probability of each voxel's label."""
        return Volume(self.answer.confidence, self.volume.ijk_to_ras, "confidence")

    def expected_dice(self) -> float | None:
        """Mean expected Dice of the segments on the slices that were not drawn; None if nothing is known."""
        known = [value for value in self.expected_by_segment() if value is not None and np.isfinite(value)]
        return float(np.mean(known)) if known else None

    def expected_by_segment(self) -> list[float | None]:
        """Expected Dice of each segment; None where nothing of it was found beyond the drawn slices. The method takes what is
        drawn for right; of what was found in boxes only so much is expected as of the slices themselves."""
        undrawn, expected, boxed = self._undrawn(), dict(self.answer.expected_dice), self.support.expected
        for number, name in self.support.names.items():
            if number in expected:
                expected[number] *= boxed.get(name, 1.0)
        found = [bool(undrawn.mask(segment).any()) for segment in undrawn.segments]
        return [expected.get(number) if there else None for number, there in enumerate(found, 1)]

    def label_map(self) -> tuple[Segmentation, list[str]]:
        """The segmentation in one layer for formats that hold no more, with a value for each segment, and what the user
        should know about that. Where segments overlap the smaller one is shown."""
        whole = self.segmentation
        if len(whole.layers) == 1:
            return whole, []
        out, taken, segments = np.zeros(whole.layers[0].shape, np.uint16), set(), []
        for segment in whole.segments:
            free = segment.value if segment.value not in taken else next(v for v in range(1, 65536) if v not in taken)
            taken.add(free)
            segments.append(dataclasses.replace(segment, value=free, layer=0))
        masks = [whole.mask(segment) for segment in whole.segments]
        sizes = [np.count_nonzero(mask) for mask in masks]
        for n in sorted(range(len(masks)), key=lambda n: -sizes[n]):
            out[masks[n]] = segments[n].value
        left = [np.count_nonzero(out == segment.value) for segment in segments]
        less = [f"{s.name!r} {size - now:,}" for s, size, now in zip(segments, sizes, left, strict=True) if now < size]
        new = [f"{s.value} for {s.name!r}" for s, o in zip(segments, whole.segments, strict=True) if s.value != o.value]
        notes = []
        if less:
            notes.append(
                "a label map cannot hold segments that overlap; where they do it has the smaller one, and these lose voxels: "
                f"{', '.join(less)}; write .seg.nrrd or a DICOM SEG to keep them whole"
            )
        if new:
            notes.append(f"segments share a label value in the drawing; in the label map it is {', '.join(new)}")
        out = out.astype(np.uint8) if max(taken) < 256 else out
        return Segmentation([out], segments, whole.ijk_to_ras), notes

    def picture(self, size: int) -> np.ndarray:
        """The slice with most of the answer that was not drawn, uint8 ``[H, W, 3]``, ``size`` pixels long."""
        axis = self.answer.axis
        index = best_slice(self.volume, self._undrawn(), axis)
        return draw_overlay(self.volume, self.segmentation, axis=axis, index=index, size=size)

    def _undrawn(self) -> Segmentation:
        """The segmentation without what is on the drawn slices."""
        layers = [layer.copy() for layer in self.segmentation.layers]
        drawn = self.support.drawn_here(self.answer.axis)
        for layer in layers:
            slices_first(layer, self.answer.axis)[drawn] = 0
        return Segmentation(layers, self.segmentation.segments, self.volume.ijk_to_ras)

    def next_slices(self) -> list[dict]:
        """The most useful slices to draw next, the best first, no two of them neighbours: number, expected wrong voxels, why,
        and whether it is expected to show none of the segments."""
        slices = self.volume.size[AXES.index(self.answer.axis)]
        apart, outlook = max(2, round(_APART * slices)), self.answer.outlook
        chosen: list[dict] = []
        for number, wrong in self.answer.next_slices:
            if len(chosen) < SUGGESTED and all(abs(number - c["slice"]) >= apart for c in chosen):
                facts = {"slice": number, "expected_wrong_voxels": round(wrong, 1)}
                why = reason(outlook, number, self.support.names)
                chosen.append({**facts, "reason": why, "expected_empty": is_empty(outlook, number)})
        return chosen


def read_drawings(
    volume: Volume, task: FewShotTask, read: Callable[[str], Volume] = read_image, device: str = "auto"
) -> Steps[Support]:
    """The drawings of ``task`` for ``volume``, and what its boxes hold, as a generator of progress steps.

    :param read: reads the images that drawings belong to. ``device``: where the boxes are searched.
    :raises InputError: drawings or boxes that cannot be used.
    """
    boxed = []
    if task.support_boxes:
        from .drawings.boxes import boxed_drawings  # late: Segment's engine is loaded for boxes alone

        seed = task.engine_settings().seed
        boxed = yield from boxed_drawings(volume, task.boxes_by_name(), seed=seed, device=device)
    chosen = list(task.segments)
    return read_support(list(task.files), volume, task.axis, chosen, not task.partial, read, boxed)


def carry_drawings(
    volume: Volume, task: FewShotTask, support: Support, device: str = "auto", load: Callable | None = None
) -> Steps[FewShotOutcome]:
    """Carries ``support`` through ``volume``, as a generator of progress steps.

    :param support: what :func:`read_drawings` gave.
    :param device: where an encoder computes, see :func:`~..common.device.choose_device`.
    :param load: (name, device) -> encoder or None, for callers that keep encoders; None: :func:`load_encoder`.
    :raises InputError: drawings or settings that cannot be used, an encoder that is not there.
    :raises ResourceError: the memory of the machine is not enough.
    """
    from .method import FewShot, load_encoder  # late: bad input is refused without torch

    settings = task.engine_settings()
    encoder = (load or load_encoder)(task.encoder, device)
    drawn_here = any(fact["image"] is None for fact in support.facts)  # else the axis is one of another image
    few_shot = FewShot(volume, settings, task.axis if drawn_here else "auto", encoder, device)
    few_shot.set_support(support.drawings)
    answer = yield from few_shot.propagate(task.slices)
    drawn = "; ".join(map(_support_text, support.facts))
    asked = TaskFacts(FEW_SHOT, volume.name, settings, support=drawn, preset=task.preset)
    found = OutcomeFacts(
        _device_name(encoder), encoder=encoder_record(encoder, answer.mix) or None, mix=mix_text(answer.mix)
    )
    tags = provenance(asked, found)
    segmentation = support.segmentation(answer.layers, volume.ijk_to_ras, tags)
    notes = list(dict.fromkeys([*support.notes, *answer.notes, *outlook_notes(answer.outlook, support.names)]))
    return FewShotOutcome(volume, support, answer, settings, encoder, segmentation, notes)


def _device_name(encoder: FewShotEncoder | None) -> str:
    return "cpu" if encoder is None else str(encoder.device)


def _support_text(fact: dict) -> str:
    drawn = {fact["axis"]: fact["drawn"]} if len(fact["drawn"]) < fact["slices"] else None
    image = os.path.basename(fact["image"]) if fact["image"] else ""
    return support_text(os.path.basename(fact["labels"]), drawn, fact["drawn_planes"], image)
