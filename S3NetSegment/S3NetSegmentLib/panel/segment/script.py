"""Segment for scripts: points in, segments out; no widgets, nothing written before the end."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from ...engine import InputError
from ...engine.common.progress import Steps
from ...engine.tasks.fields import camel_case, from_script
from ...engine.tasks.segment import SegmentTask
from ...scene.answers.belonging import other_grid_text
from ...scene.points import points_from_markups
from ...scene.volumes import volume_from_node
from .answer import SegmentAnswer
from .request import make_request
from .result import SegmentResult


@dataclass(frozen=True)
class Where:
    """What a script says of the scene: which part of the volume, and where the answer goes. See
    ``S3NetSegmentLogic.segmentSteps``."""

    scope: str = "volume"
    sliceNode: Any = None
    roiNode: Any = None
    segmentationNode: Any = None
    segmentId: str = ""
    granularity: int | None = None
    device: str = "auto"
    confidence: bool = False


def segment_steps(volume_node, options: dict) -> Steps:
    """What ``S3NetSegmentLogic.segmentSteps`` does: steps that return the segmentation node.

    :param options: fields of :class:`Where`; the others are those of :class:`SegmentTask`.
    :raises TypeError: an option that there is not. :raises InputError: a value that cannot be used.
    """
    where = Where(**{name: options.pop(name) for name in list(options) if name in Where.__dataclass_fields__})
    for name in ("points", "notPoints"):
        if hasattr(options.get(name), "GetNumberOfControlPoints"):
            options[name] = points_from_markups(options[name])
        if name in options and options[name] is not None and not len(options[name]):
            options[name] = None
    if "sliceRange" in options:
        options["slices"] = options.pop("sliceRange")
    task = from_script(SegmentTask, options)
    for text in task.contradictions(camel_case):
        raise InputError(text)
    return _steps(volume_node, where, task)


def _steps(volume_node, where: Where, task: SegmentTask) -> Steps:
    from ...engine.segment.find_regions import find_regions
    from ...engine.segment.run import asked_voxels, at_asked_step, clipped_notes

    volume = volume_from_node(volume_node)
    inside, outside = (
        [*positions, *map(volume.ras_of, asked_voxels((), pixels, volume, None, task.axis, task.slices))]
        for positions, pixels in ((task.points, task.pixels), (task.not_points, task.not_pixels))
    )
    request = make_request(
        volume_node,
        where.scope,
        slice_node=where.sliceNode,
        slice_range=task.slices,
        axis=task.axis,
        roi_node=where.roiNode,
        inside=inside,
        outside=outside,
        radius_mm=task.radius,
        settings=task.settings_with(task.regions),  # without a number the middle one of those prepared is shown
        preset=task.preset,
        device=where.device,
    )
    found = yield from find_regions(
        request.volume, extent=request.extent, axis=request.axis, settings=request.settings, device=where.device
    )
    answer = SegmentAnswer(request, found, task.regions, where.granularity)
    if task.regions_only:
        answer.choice = None
    elif task.step or task.alternative:
        answer.choice = at_asked_step(answer.choice, task)
    for note in [*found.notes, *clipped_notes(answer.choice, task)]:
        logging.info("S3NetSegment: %s", note)
    warn_of_other_grid(where.segmentationNode, volume_node)
    result = SegmentResult(answer, where.segmentationNode, where.segmentId)
    if where.confidence:
        result.show_confidence()
    return result.node


def warn_of_other_grid(segmentation_node, volume_node) -> None:
    """A script says where its result goes; it is warned where that is made for another image."""
    text = other_grid_text(segmentation_node, volume_node) if segmentation_node is not None else ""
    if text:
        logging.warning("S3NetSegment: %s; each voxel of it took the nearest voxel of the result", text)
