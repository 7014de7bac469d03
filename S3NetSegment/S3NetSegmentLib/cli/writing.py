"""What commands write: the segmentation, the confidence and the overlay. Each file whole or not at all."""

from __future__ import annotations

import argparse

from ..engine import Segmentation, Volume, run_to_end
from ..engine.common.errors import InputError
from ..engine.images.dicom.seg_writing import SUFFIX as DICOM_SEG
from ..engine.images.dicom.seg_writing import check_dicom_seg, write_dicom_seg
from ..engine.images.dicom.series import is_dicom
from ..engine.images.files import IMAGE_FORMATS, SEGMENTATION_FORMATS, check_output_path, file_head, suffix_of
from ..engine.images.reading import checked_path
from ..engine.images.writing import write_image, write_png, write_segmentation
from .explaining import table_of

LONG_SIDE = 768  # pixels of an overlay


def check_outputs(arguments: argparse.Namespace, volume: Volume | None = None) -> None:
    """Raises InputError if a result cannot be written where it should go: before reading, and with ``volume`` again,
    since a flat picture cannot hold a 3D result."""
    check_output_path(arguments.output, (*SEGMENTATION_FORMATS, DICOM_SEG), volume=volume)
    if suffix_of(arguments.output) == DICOM_SEG and volume is None:
        check_dicom_seg()
        image = checked_path(arguments.image)
        if not image.is_dir() and not is_dicom(image, file_head(image)):
            raise InputError(
                f"output {arguments.output!r} is a DICOM SEG, which refers to DICOM slices, but {arguments.image!r} is no DICOM; "
                "choose .seg.nrrd"
            )
    if arguments.confidence:
        check_output_path(arguments.confidence, IMAGE_FORMATS, volume=volume)
    if arguments.overlay:
        check_output_path(arguments.overlay, (".png",))
    if explained := getattr(arguments, "explain", None):
        check_output_path(explained, (".png",))
        check_output_path(table_of(explained), (".csv",))


def write_result(arguments: argparse.Namespace, segmentation: Segmentation) -> None:
    """Writes the segmentation, as what ``--output`` ends with."""
    if suffix_of(arguments.output) == DICOM_SEG:
        write_dicom_seg(segmentation, arguments.image, arguments.output, frame=arguments.frame, series=arguments.series)
    else:
        write_segmentation(segmentation, arguments.output)


def write_outputs(arguments, outcome, progress=None) -> list[str]:
    """Writes everything asked for; returns what the user should know.

    The confidence and the picture are computed before the first file is written, so that an interrupt while computing
    leaves no file at all.

    :param outcome: a SegmentOutcome.
    :param progress: called with the steps of the confidence, which can take long.
    """
    segmentation, notes = outcome.segmentation, list(outcome.notes)
    if len(segmentation.layers) > 1 and suffix_of(arguments.output) not in (".seg.nrrd", DICOM_SEG):
        notes.append(
            f"a label map cannot hold overlapping segments: the object is painted over the regions as value "
            f"{len(segmentation.segments)}; write .seg.nrrd to keep both, or use --regions-only"
        )
    confidence = run_to_end(outcome.confidence_steps(), progress) if arguments.confidence else None
    picture = outcome.picture(LONG_SIDE) if arguments.overlay else None
    write_result(arguments, segmentation)
    if confidence is not None:
        write_image(confidence, arguments.confidence)
    if picture is not None:
        write_png(picture, arguments.overlay)
    return notes
