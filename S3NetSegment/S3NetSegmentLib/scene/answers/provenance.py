"""How segments of the scene were made, from their tags, and whether they belong to the image."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from ...engine import InputError
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
    support_text,
    tag_names,
)
from ...engine.few_shot.answer import encoder_record
from ...engine.images import AXES
from ..drawings.support_set import SupportPlane, SupportSlice
from ..segmentation.labelmaps import LabelBox, reference_lattice, segment_tag
from ..volumes import volume_from_node, world_from_parent

METHOD_TAG = PREFIX + "Method"
CONTENT_TAG = PREFIX + "Content"  # names the voxels that a result had when it was written
_TOLERANCE = 1e-3  # voxels, over the whole volume


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


def foreign_text(segmentation_node, volume_node) -> str:
    """Why a segmentation is not one of ``volume_node``, for a message; "" if it is, or belongs to none."""
    reference = _reference_volume(segmentation_node)
    if reference is volume_node:
        return ""
    if reference is not None:
        own, other = volume_node.GetName(), reference.GetName()
        belongs = f"another volume named {other!r}" if own == other else f"{other!r}, not to {own!r}"
        return f"{segmentation_node.GetName()!r} belongs to {belongs}"
    return other_grid_text(segmentation_node, volume_node)


def other_grid_text(segmentation_node, volume_node) -> str:
    """That the grid of a segmentation is not that of ``volume_node``, for a message; "" if it fits or was chosen for it."""
    if _reference_volume(segmentation_node) is volume_node:
        return ""  # perhaps a finer one, which Slicer offers
    lattice = reference_lattice(segmentation_node)
    if lattice is None:
        return ""
    try:
        volume = volume_from_node(volume_node)
        moved = np.linalg.inv(volume.ijk_to_ras) @ world_from_parent(segmentation_node) @ lattice
    except InputError:
        return ""  # whoever segments it is told
    moved[:3, 3] -= np.round(moved[:3, 3])  # it may begin at another voxel
    if np.abs((moved - np.eye(4))[:3] @ (*volume.size, 1)).max() < _TOLERANCE:
        return ""
    return f"the grid of {segmentation_node.GetName()!r} is not that of {volume_node.GetName()!r}"


def _reference_volume(segmentation_node):
    return segmentation_node.GetNodeReference(segmentation_node.GetReferenceImageGeometryReferenceRole())
