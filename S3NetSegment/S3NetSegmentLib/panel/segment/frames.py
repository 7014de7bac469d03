"""The object that was pointed at, in every frame of a sequence."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from slicer.i18n import tr as _

from ...engine import InputError, Segmentation, Volume
from ...engine.common.progress import Steps, as_part_of
from ...engine.results import embedded, frame_steps
from ...scene.sequences import frame_of, frame_volumes
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
    shown_frame = None if shown is None else frame_of(request.volume_node)[0] - 1

    def search(frame: int, volume: Volume) -> Steps[Segmentation]:
        if volume.size != request.volume.size or not np.allclose(volume.ijk_to_ras, request.volume.ijk_to_ras):
            raise InputError(_("its voxels lie elsewhere; point at the object in it by itself"))
        answer = shown
        if frame != shown_frame:
            own = dataclasses.replace(request, volume=volume)
            regions = find_regions(volume, extent=own.extent, axis=own.axis, settings=own.settings, device=own.device)
            regions = yield from as_part_of(regions, 0.0, 0.6)
            choice = yield from as_part_of(object_steps(regions, own), 0.6, 1.0)
            answer = SegmentAnswer(own, regions, choice=choice)
        labels = embedded(answer.object_mask().astype(np.uint8), volume, request.extent)
        return Segmentation([labels], [answer.object_segment()], volume.ijk_to_ras)

    return (yield from frame_steps(frame_volumes(request.volume_node), search))
