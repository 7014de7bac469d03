"""What ``s3net segment`` writes: the segmentation, the confidence and the overlay. Each file whole or not at all."""

from __future__ import annotations

import argparse

import numpy as np

from ..engine import Segmentation, Volume, drain
from ..engine.images.files import IMAGE_FORMATS, check_output_path, suffix_of
from ..engine.images.overlay import best_slice, draw_overlay
from ..engine.images.writing import write_image, write_png, write_segmentation
from .results import embedded, object_segmentation, provenance, region_segmentation

LONG_SIDE = 768  # pixels of an overlay


def check_outputs(arguments: argparse.Namespace, volume: Volume | None = None) -> None:
    """Raises InputError if a result cannot be written where it should go: before reading, and with ``volume`` again,
    since a flat picture cannot hold a 3D result."""
    check_output_path(arguments.output, volume=volume)
    if arguments.confidence:
        check_output_path(arguments.confidence, IMAGE_FORMATS, volume=volume)
    if arguments.overlay:
        check_output_path(arguments.overlay, (".png",))


def write_outputs(
    arguments, regions, choice, inside, outside, count: int, progress=None
) -> tuple[Segmentation, list[str]]:
    """Writes everything asked for; returns the segmentation and what the user should know about it.

    The confidence and the picture are computed before the first file is written, so that an interrupt while computing
    leaves no file at all.

    :param count: number of regions, 0 for the object alone.
    :param inside, outside: points as voxels (i, j, k).
    :param progress: called with the steps of the confidence, which can take long.
    """
    volume, notes = regions.volume, []
    marks = [[tuple(volume.ras_of(voxel)) for voxel in points] for points in (inside, outside)]
    method = "Segment, regions" if count else "Segment, object at points"
    tags = provenance(method, regions.settings, regions.device, *marks, image=volume.name, preset=arguments.preset)
    if count:
        segmentation = region_segmentation(regions, count, choice, tags)
    else:
        segmentation = object_segmentation(regions, choice, tags)
    if len(segmentation.layers) > 1 and suffix_of(arguments.output) != ".seg.nrrd":
        notes.append(
            f"a label map cannot hold overlapping segments: the object is painted over the regions as value "
            f"{len(segmentation.segments)}; write .seg.nrrd to keep both, or use --regions-only"
        )
    if suffix_of(arguments.output) == ".png":
        notes.append(
            "a .png label map holds the values 0, 1, 2, ... and looks black in a viewer; --overlay draws a picture"
        )
    if not count and not choice.mask.any():
        notes.append("the object is empty: the points outside took all of it away")
    confidence = picture = None
    if arguments.confidence:
        part = drain(regions.confidence_steps(None if count else choice, count or None), progress)
        confidence = Volume(embedded(part.astype(np.float32), volume, regions.extent), volume.ijk_to_ras, "confidence")
    if arguments.overlay:
        picture = _picture(regions, segmentation, choice, inside, marks)
    write_segmentation(segmentation, arguments.output)
    if confidence is not None:
        write_image(confidence, arguments.confidence)
    if picture is not None:
        write_png(picture, arguments.overlay)
    return segmentation, notes


def _picture(regions, segmentation: Segmentation, choice, inside, marks) -> np.ndarray:
    """The slice of the first point, else the one with most of the object, else the middle one of the chosen part."""
    volume, across = regions.volume, "xyz".index(regions.axis)
    if inside:
        index = inside[0][across]
    elif choice is not None and choice.mask.any():
        only = Segmentation([segmentation.layers[-1]], [], volume.ijk_to_ras)
        index = best_slice(volume, only, regions.axis)
    else:
        index = (regions.extent.start[across] + regions.extent.stop[across] - 1) // 2
    return draw_overlay(
        volume, segmentation, axis=regions.axis, index=index, size=LONG_SIDE, points=marks[0], not_points=marks[1]
    )
