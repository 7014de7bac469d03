"""Segment for scripts: points in, segments out; no widgets, nothing written before the end."""

from __future__ import annotations

import logging

from ..engine.progress import Steps
from ..scene.belonging import other_grid_text
from .answer import SegmentAnswer
from .request import make_request
from .result import SegmentResult
from .settings_values import settings_from


def segment_steps(
    volume_node,
    points=None,
    not_points=None,
    radius: float | None = None,
    scope: str = "volume",
    slice_range: tuple[int, int] | None = None,
    axis: str = "auto",
    slice_node=None,
    roi_node=None,
    segmentation_node=None,
    segment_id: str = "",
    regions: int | None = None,
    granularity: int | None = None,
    settings: dict | None = None,
    preset: str = "default",
    seed: int | None = None,
    device: str = "auto",
    confidence: bool = False,
) -> Steps:
    """See ``S3NetSegmentLogic.segmentSteps``. Returns the segmentation node."""
    from ..engine.methods.segment import find_regions

    changes = dict(settings or {})
    if seed is not None:
        changes["seed"] = seed
    request = make_request(
        volume_node,
        scope,
        slice_node=slice_node,
        slice_range=slice_range,
        axis=axis,
        roi_node=roi_node,
        inside=points,
        outside=not_points,
        radius_mm=radius,
        settings=settings_from(preset, changes),
        preset=preset,
        device=device,
    )
    if regions is not None and "region_counts" not in changes and regions not in request.settings.region_counts:
        changes["region_counts"] = (*request.settings.region_counts, regions)
        request = request.with_settings(settings_from(preset, changes))
    found = yield from find_regions(
        request.volume, extent=request.extent, axis=request.axis, settings=request.settings, device=device
    )
    for note in found.notes:
        logging.info("S3NetSegment: %s", note)
    warn_of_other_grid(segmentation_node, volume_node)
    result = SegmentResult(SegmentAnswer(request, found, regions, granularity), segmentation_node, segment_id)
    if confidence:
        result.show_confidence()
    return result.node


def warn_of_other_grid(segmentation_node, volume_node) -> None:
    """A script says where its result goes; it is warned where that is made for another image."""
    text = other_grid_text(segmentation_node, volume_node) if segmentation_node is not None else ""
    if text:
        logging.warning("S3NetSegment: %s; each voxel of it took the nearest voxel of the result", text)
