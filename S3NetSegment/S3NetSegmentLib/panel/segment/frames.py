"""The object that was pointed at, in every frame of a sequence."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from slicer.i18n import tr as _

from ...engine import InputError, Segment, Segmentation, Volume
from ...engine.common.progress import Steps, as_part_of
from ...engine.results import embedded
from ...scene.sequences import frame_volumes
from .answer import SegmentAnswer, object_steps
from .request import SegmentRequest


def object_in_frames(
    request: SegmentRequest, find_regions: Callable | None = None, shown: SegmentAnswer | None = None
) -> Steps[list[Segmentation]]:
    """What ``request`` points at, asked anew in each frame of the sequence that its volume shows one of: a Segmentation of each, with
    one segment. Writes nothing.

    :param find_regions: the engine's; None: imported when it is needed.
    :param shown: the answer in the frame that is shown, which stays as it is.
    :raises InputError: nothing is pointed at, an oblique view, frames on another grid, or what a frame refuses.
    """
    if not request.has_prompts:
        raise InputError(_("regions of different frames do not belong together; point at an object first"))
    if request.valid is not None:
        raise InputError(_("an oblique view is answered in one frame at a time; take a slice, or the whole volume"))
    if find_regions is None:
        from ...engine.segment.find_regions import find_regions
    volumes, found = frame_volumes(request.volume_node), []
    for number, volume in enumerate(volumes):
        frame = _("Frame {number} of {count}: ").format(number=number + 1, count=len(volumes))
        if volume.size != request.volume.size or not np.allclose(volume.ijk_to_ras, request.volume.ijk_to_ras):
            raise InputError(frame + _("its voxels lie elsewhere; point at the object in it by itself"))
        start, middle, end = (share / len(volumes) for share in (number, number + 0.6, number + 1))
        answer = shown
        if shown is None or not _same_voxels(volume, request.volume):
            own = dataclasses.replace(request, volume=volume)
            try:
                search = find_regions(
                    volume, extent=own.extent, axis=own.axis, settings=own.settings, device=own.device
                )
                regions = yield from as_part_of(search, start, middle, frame)
                choice = yield from as_part_of(object_steps(regions, own), middle, end, frame)
            except InputError as error:
                raise InputError(f"{frame}{error}") from error
            answer = SegmentAnswer(own, regions, choice=choice)
        found.append(_segmentation(answer, volume, request))
    return found


def _same_voxels(one: Volume, other: Volume) -> bool:
    return one.array.dtype == other.array.dtype and np.array_equal(one.array, other.array)


def _segmentation(answer: SegmentAnswer, volume: Volume, request: SegmentRequest) -> Segmentation:
    labels = embedded(answer.object_mask().astype(np.uint8), volume, request.extent)
    segment: Segment = answer.object_segment()
    return Segmentation([labels], [segment], volume.ijk_to_ras)
