"""The answer of a trained model written into a segmentation, with the model's names, colours and terminology."""

from __future__ import annotations

from collections.abc import Callable

import slicer

from ...engine import Segmentation, Volume
from ...engine.common.provenance import MODEL
from ..segmentation.reading import given_or_new
from ..segmentation.segment_edit import segment_edit
from .provenance import PREFIX, made_by, segment_fact

_IMAGE_TAG = PREFIX + "Image"


def write_model_answer(
    segmentation: Segmentation,
    volume_node,
    segmentation_node=None,
    save_undo: Callable[[object], object] | None = None,
) -> tuple[slicer.vtkMRMLSegmentationNode, list[str]]:
    """Writes all segments of ``segmentation`` as one undoable action. Segments of another origin keep their voxels.

    A segment that a model found before in this volume, under the same name, is replaced, unless the user has set its status
    to completed. Any other segment of that name is the user's: the new one gets a number.

    :param segmentation: one layer, on the grid of the volume; its tags say that it is of method "Model".
    :param segmentation_node: where to; None makes a new one. It is removed again if writing fails.
    :param save_undo: called with the segmentation node before it is changed.
    :returns: the node and the segment ids in the order of ``segmentation.segments``.
    """
    labels, volume_name = segmentation.layers[0], volume_node.GetName()
    grid = Volume(labels, segmentation.ijk_to_ras)
    ids: dict[int, str] = {}
    new = []
    with (
        given_or_new(segmentation_node, volume_node) as node,
        segment_edit(node, volume_node, None if save_undo is None else lambda: save_undo(node)) as edit,
    ):
        for number, segment in enumerate(segmentation.segments):
            earlier = _earlier(node, segment.name, volume_name)
            if earlier is None:
                new.append(number)
                continue
            edit.replace(earlier, labels == segment.value, grid)
            edit.set_tags(earlier, {**segment.tags, _IMAGE_TAG: volume_name})
            ids[number] = earlier
        if new:
            added = edit.add_layer([segmentation.segments[n] for n in new], labels, grid)
            for number, segment_id in zip(new, added, strict=True):
                edit.set_tags(segment_id, {_IMAGE_TAG: volume_name})
                ids[number] = segment_id
    return node, [ids[n] for n in range(len(segmentation.segments))]


def _earlier(node, name: str, volume_name: str) -> str | None:
    """The segment that a model has found before under this name, if it may be replaced."""
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    segmentation = node.GetSegmentation()
    for segment_id in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segment_id)
        if (
            segment.GetName() == name
            and made_by(node, segment_id) == MODEL
            and segment_fact(node, segment_id, "Image") == volume_name
            and logic.GetSegmentStatus(segment) != logic.Completed
        ):
            return segment_id
    return None
