"""What belongs to other segments than the one that is worked on: an answer keeps out of it."""

from __future__ import annotations

import numpy as np

from ...engine import Volume
from ..answers.provenance import segment_fact
from .reading import segment_mask


def other_segments(segmentation_node, segment_id: str, geometry: Volume) -> np.ndarray | None:
    """The voxels of ``geometry`` (world RAS) that belong to visible segments other than ``segment_id``, bool ``[K, J, I]``;
    None where there are none.

    Regions that Segment found do not count while they have their names: together they fill the image.

    :raises InputError: a segmentation that cannot be read as labelmaps, or is under a non-linear transform.
    """
    if segmentation_node is None:
        return None
    found = None
    for other in other_segment_ids(segmentation_node, segment_id):
        mask = segment_mask(segmentation_node, other, geometry)
        found = mask if found is None else found | mask
    return found if found is not None and found.any() else None


def other_segment_ids(segmentation_node, segment_id: str) -> list[str]:
    """The visible segments other than ``segment_id`` that an answer keeps out of."""
    segmentation, display = segmentation_node.GetSegmentation(), segmentation_node.GetDisplayNode()
    return [
        other
        for other in segmentation.GetSegmentIDs()
        if other != segment_id
        and (display is None or display.GetSegmentVisibility(other))
        and not _is_region(segmentation_node, other)
    ]


def _is_region(segmentation_node, segment_id: str) -> bool:
    name = segmentation_node.GetSegmentation().GetSegment(segment_id).GetName()
    return segment_fact(segmentation_node, segment_id, "Role") == "region" and name.startswith("Region ")
