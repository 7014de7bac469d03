"""What commands write: the segmentation, the confidence, the overlay and the explanation. Each file whole or not at all."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass

import numpy as np

from ..engine import Segmentation, Volume, run_to_end
from ..engine.common.errors import InputError
from ..engine.images.dicom.seg_writing import SUFFIX as DICOM_SEG
from ..engine.images.dicom.seg_writing import check_dicom_seg, write_dicom_seg
from ..engine.images.dicom.series import is_dicom
from ..engine.images.files import (
    IMAGE_FORMATS,
    SEGMENTATION_FORMATS,
    check_output_path,
    file_head,
    replace_text,
    suffix_of,
)
from ..engine.images.reading import checked_path
from ..engine.images.writing import write_image, write_png, write_segmentation
from .arguments import outputs_of, table_of

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


@dataclass(eq=False)
class Found:
    """What was found in one image.

    :param confidence: of each voxel, None if not asked for. :param picture: the overlay, likewise.
    """

    segmentation: Segmentation
    confidence: Volume | None
    picture: np.ndarray | None
    notes: list[str]
    device: str

    @classmethod
    def of(cls, outcome, arguments: argparse.Namespace, progress=None) -> Found:
        """Of a SegmentOutcome, with what is asked for; ``progress`` is called with the steps of the confidence."""
        sure = run_to_end(outcome.confidence_steps(), progress) if arguments.confidence else None
        picture = outcome.picture(LONG_SIDE) if arguments.overlay else None
        return cls(outcome.segmentation, sure, picture, list(outcome.notes), outcome.regions.device)


def write_found(arguments: argparse.Namespace, found: Found) -> list[str]:
    """Writes everything asked for. All of it was computed before the first file is written, so that an interrupt while computing
    leaves no file at all. Returns what the user should know."""
    segmentation, notes = found.segmentation, []
    if len(segmentation.layers) > 1 and suffix_of(arguments.output) not in (".seg.nrrd", DICOM_SEG):
        notes.append(
            f"a label map cannot hold overlapping segments: the object is painted over the regions as value "
            f"{len(segmentation.segments)}; write .seg.nrrd to keep both, or use --regions-only"
        )
    write_result(arguments, segmentation)
    write_pictures(arguments, found.confidence, found.picture)
    return notes


def write_pictures(arguments: argparse.Namespace, confidence: Volume | None, picture: np.ndarray | None) -> None:
    if confidence is not None:
        write_image(confidence, arguments.confidence)
    if picture is not None:
        write_png(picture, arguments.overlay)


def write_explanation(arguments: argparse.Namespace, outcome) -> list[str]:
    """Writes why the object was chosen, as pictures of the candidates and a table; returns lines for the terminal.

    :param outcome: a SegmentOutcome.
    :raises InputError: there is no object to explain.
    """
    from ..engine.segment.explanation import contact_sheet, explain

    if outcome.choice is None:
        raise InputError(
            "there is no object to explain: no point was given and no main object was found; point at one with --point or --pixel"
        )
    explanation = explain(outcome.choice)
    sheet = contact_sheet(outcome.choice, explanation, outcome.regions, outcome.shown_slice())
    write_png(run_to_end(sheet), arguments.explain)
    replace_text(table_of(arguments.explain), explanation.as_csv())
    return explanation.lines()


def image_facts(arguments: argparse.Namespace, volume: Volume) -> dict:
    """The image in ``--json``."""
    return {
        "path": os.path.abspath(arguments.image), "size": volume.size, "spacing_mm": [round(s, 6) for s in volume.spacing],
        "rgb": volume.is_rgb, "series": arguments.series, "frame": arguments.frame,
    }  # fmt: skip


def output_facts(arguments: argparse.Namespace) -> dict[str, str]:
    """The files that were written, in ``--json``."""
    return {option.lstrip("-"): os.path.abspath(path) for option, path in outputs_of(arguments).items()}
