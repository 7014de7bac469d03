"""What ``s3net segment`` writes: the segmentation, the confidence and the overlay. Each file whole or not at all."""

from __future__ import annotations

import argparse

from ..engine import Volume, drain
from ..engine.images.files import IMAGE_FORMATS, check_output_path, suffix_of
from ..engine.images.writing import write_image, write_png, write_segmentation

LONG_SIDE = 768  # pixels of an overlay


def check_outputs(arguments: argparse.Namespace, volume: Volume | None = None) -> None:
    """Raises InputError if a result cannot be written where it should go: before reading, and with ``volume`` again,
    since a flat picture cannot hold a 3D result."""
    check_output_path(arguments.output, volume=volume)
    if arguments.confidence:
        check_output_path(arguments.confidence, IMAGE_FORMATS, volume=volume)
    if arguments.overlay:
        check_output_path(arguments.overlay, (".png",))


def write_outputs(arguments, outcome, progress=None) -> list[str]:
    """Writes everything asked for; returns what the user should know.

    The confidence and the picture are computed before the first file is written, so that an interrupt while computing
    leaves no file at all.

    :param outcome: a SegmentOutcome.
    :param progress: called with the steps of the confidence, which can take long.
    """
    segmentation, notes = outcome.segmentation, list(outcome.notes)
    if len(segmentation.layers) > 1 and suffix_of(arguments.output) != ".seg.nrrd":
        notes.append(
            f"a label map cannot hold overlapping segments: the object is painted over the regions as value "
            f"{len(segmentation.segments)}; write .seg.nrrd to keep both, or use --regions-only"
        )
    if suffix_of(arguments.output) == ".png":
        notes.append(
            "a .png label map holds the values 0, 1, 2, ... and looks black in a viewer; --overlay draws a picture"
        )
    confidence = drain(outcome.confidence_steps(), progress) if arguments.confidence else None
    picture = outcome.picture(LONG_SIDE) if arguments.overlay else None
    write_segmentation(segmentation, arguments.output)
    if confidence is not None:
        write_image(confidence, arguments.confidence)
    if picture is not None:
        write_png(picture, arguments.overlay)
    return notes
