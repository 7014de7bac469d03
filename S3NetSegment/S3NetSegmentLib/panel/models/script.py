"""Trained models for scripts: a volume in, segments out; no widgets, nothing written before the end."""

from __future__ import annotations

import logging

from ...engine.common.progress import Steps
from ...scene.answers.model_answer import write_model_answer
from ..segment.script import warn_of_other_grid
from .controller import apply_model_steps, make_model_request, show_model_confidence


def model_steps(
    volume_node, path, segmentation_node=None, confidence: bool = False, device: str = "auto", flips: bool = False
) -> Steps:
    """See ``S3NetSegmentLogic.applyModel``. Returns the segmentation node."""
    request = make_model_request(path, volume_node, segmentation_node, confidence, device, flips)
    answer, segmentation = yield from apply_model_steps(request)
    for note in answer.notes:
        logging.info("S3NetSegment: %s", note)
    warn_of_other_grid(segmentation_node, volume_node)
    node, _ids = write_model_answer(segmentation, volume_node, segmentation_node)
    if confidence:
        show_model_confidence(request, answer)
    return node
