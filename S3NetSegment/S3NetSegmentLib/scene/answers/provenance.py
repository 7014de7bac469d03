"""Provenance of the segments of a node: the facts of the engine's vocabulary, read from and written as segment tags."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from ...engine.common.provenance import (
    FEW_SHOT,
    MODEL,
    PREFIX,
    SEGMENT,
    OutcomeFacts,
    TaskFacts,
    method_of,
    mix_text,
    provenance,
    provenance_tags,
    support_text,
    tag_names,
)
from ...engine.few_shot.answer import encoder_record
from ...engine.images import AXES
from ..drawings.drawn_planes import SupportPlane
from ..drawings.lattices import LabelBox
from ..drawings.support_set import SupportSlice
from ..segmentation.labelmaps import segment_tag

__all__ = ["PREFIX", "content_name", "few_shot_tags", "is_found", "made_by", "provenance_tags", "segment_fact"]

METHOD_TAG = PREFIX + "Method"
CONTENT_TAG = PREFIX + "Content"  # names the voxels that a result had when it was written


def segment_fact(segmentation_node, segment_id: str, fact: str) -> str | None:
    """The text of a fact, e.g. "Image", in the tags of a segment, also as earlier versions wrote it; None without it."""
    found = (segment_tag(segmentation_node, segment_id, name) for name in tag_names(fact))
    return next((text for text in found if text is not None), None)


def made_by(segmentation_node, segment_id: str) -> str:
    """The method that wrote a segment, "Segment", "Few-shot" or "Model"; "" for one that nobody but the user has made."""
    return method_of(segment_fact(segmentation_node, segment_id, "Method"))


def is_found(segmentation_node, segment_id: str) -> bool:
    """Whether Segment or a model has found the segment, without a drawing: it says nothing of what is drawn where."""
    return made_by(segmentation_node, segment_id) in (SEGMENT, MODEL)


def content_name(box: LabelBox) -> str:
    """A short name of the voxels of a segment, the same wherever its grid begins."""
    part = box.trimmed().array
    return blake2b(repr(part.shape).encode() + np.packbits(part).tobytes(), digest_size=8).hexdigest()


def few_shot_tags(
    settings,
    volume_name: str,
    support: Sequence[SupportSlice | SupportPlane],
    answer,
    encoder=None,
    drawing: str = "",
    drawn_on: str = "",
) -> dict[str, str]:
    """Segment tags of an answer of Few-shot.

    :param settings: the engine's FewShotSettings.
    :param support: the drawn slices; empty: every slice.
    :param answer: the engine's FewShotAnswer.
    :param encoder: the FewShotEncoder that was used, or None.
    :param drawing: name of the segmentation that was drawn.
    :param drawn_on: name of the volume that was drawn on, if it is another one.
    """
    planes = sum(isinstance(s, SupportPlane) for s in support)
    slices = [s for s in support if isinstance(s, SupportSlice)]
    drawn = {a: sorted(s.index for s in slices if s.axis == a) for a in AXES[::-1]} if support else None
    task = TaskFacts(
        FEW_SHOT, image=volume_name, settings=settings, support=support_text(drawing, drawn, planes, drawn_on)
    )
    device = "cpu" if encoder is None else str(encoder.device)
    return provenance(
        task, OutcomeFacts(device, encoder=encoder_record(encoder, answer.mix) or None, mix=mix_text(answer.mix))
    )
