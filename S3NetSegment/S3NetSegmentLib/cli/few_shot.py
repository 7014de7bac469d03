"""``s3net few-shot``: a drawing on one or a few slices becomes the segments of the whole volume."""

from __future__ import annotations

import argparse
import json
import time

from .arguments import (
    add_common,
    add_computing,
    add_pictures,
    add_slice_axis,
    add_which_image,
    check_file_names,
    slice_numbers,
    slice_range,
)
from .terminal import ProgressDisplay

DESCRIPTION = """\
Carries what you have drawn on one or a few slices to all slices of the volume, several segments at once.

Draw in 3D Slicer or any other tool, one slice in the middle of what you want and one near each end, and save the drawing.
Its slices that hold labels are the drawn ones; everything there without a label is background (--partial: only what lies
near the drawing). Segments that overlap, such as an organ and a lesion inside it, stay whole (.seg.nrrd and DICOM SEG).

Correct a slice of the answer and run it again with the answer as the drawing and --drawn for the slices that are right: it
gets better. Where a segment runs past its end, name an empty slice there in --drawn.

IMAGE: NIfTI, NRRD, MetaImage or a folder of DICOM slices. LABELS: .seg.nrrd or a label map, also on another grid. OUT: a
.seg.nrrd with the names and colours of LABELS, or a label map with its values, on the grid of IMAGE."""
EXAMPLES = """\
examples:
  s3net few-shot ct.nii.gz --support drawn.seg.nrrd -o organs.seg.nrrd --overlay organs.png
  s3net few-shot ct.nii.gz --support organs.seg.nrrd --drawn 12,30,36,44 -o better.seg.nrrd       36 has been corrected
  s3net few-shot ct.nii.gz --support drawn.seg.nrrd --segments liver,spleen -o out.seg.nrrd --confidence sure.nii.gz
  s3net few-shot next_patient.nii.gz --support organs.seg.nrrd --support-image ct.nii.gz --drawn all -o next.seg.nrrd"""


def register(commands) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser(
        "few-shot", help="a drawing on a few slices becomes the segments of the volume", description=DESCRIPTION,
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("image", metavar="IMAGE", help="the image, or a folder with a DICOM series")
    parser.add_argument("-o", "--output", metavar="OUT", required=True, help="the segmentation; replaced if it exists")
    _add_drawing(parser.add_argument_group("what is drawn (repeat --support for several drawings)"))
    group = parser.add_argument_group("which part of the image, and further results")
    group.add_argument("--slices", type=slice_range, metavar="A:B", help="only slices A to B, both included")
    add_which_image(group)
    add_pictures(group)
    _add_method(parser.add_argument_group("how"))
    add_computing(parser, example="target=scattered", presets=False)
    add_common(parser)
    parser.set_defaults(run=run, check=lambda arguments: check(arguments, parser))


def _add_drawing(group) -> None:
    group.add_argument("--support", action=_OfDrawing, metavar="LABELS", help="the drawing; required")
    group.add_argument(
        "--support-image",
        action=_OfDrawing,
        metavar="OTHER",
        help="the drawing before it belongs to this image, not IMAGE",
    )
    group.add_argument(
        "--drawn", action=_OfDrawing, type=slice_numbers, metavar="K,K,...|all",
        help="the drawn slices, counted from 0, also ranges A-B; also those on which you say that there is nothing",
    )  # fmt: skip
    group.add_argument(
        "--segments", action="append", metavar="NAME,...", default=[], help="only these segments of the drawing"
    )
    group.add_argument(
        "--partial", action="store_true", help="only what lies near the drawing is background on a drawn slice"
    )
    add_slice_axis(group, "auto (the default) takes the one along which the fewest hold labels")


def _add_method(group) -> None:
    group.add_argument(
        "--method", choices=("default", "alpnet"),
        help="default: drawn masks are carried, corrected and voted on; alpnet: prototypes of an encoder alone",
    )  # fmt: skip
    group.add_argument(
        "--encoder", metavar="NAME|FILE", default="auto",
        help="pretrained features: auto (the default) takes DINOv2 weights if 's3net weights' has put some here, default takes "
        "none, else dinov2-... or a file",
    )  # fmt: skip


class _OfDrawing(argparse.Action):
    """Keeps --support, --support-image and --drawn in the order in which they are written."""

    def __call__(self, parser, arguments, value, option=None):
        arguments.drawings = [*(getattr(arguments, "drawings", None) or []), (option, value)]


def check(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuses arguments that contradict each other, before anything is read. Exits with code 2."""
    arguments.support = _drawings(getattr(arguments, "drawings", []), parser)
    inputs = {"the input image": arguments.image}
    for drawing in arguments.support:
        for path in (drawing["labels"], drawing["image"]):
            if path and not path.strip():
                parser.error("--support and --support-image need the name of a file")
        inputs |= {f"the drawing {drawing['labels']!r}": drawing["labels"]}
        inputs |= {f"the image {drawing['image']!r}": drawing["image"]} if drawing["image"] else {}
    for text in arguments.segments:
        if not text.strip(" ,"):
            parser.error(f"--segments {text!r} names no segment; write names as in the drawing, e.g. liver,spleen")
    if arguments.method == "alpnet" and arguments.encoder == "default":
        parser.error("--method alpnet needs an encoder; name one, e.g. --encoder dinov2-vits14-reg4")
    check_file_names(arguments, parser, inputs)


def _drawings(given: list[tuple], parser: argparse.ArgumentParser) -> list[dict]:
    """One entry (labels, image, drawn) for each --support. The others belong to the --support before them, or to the only one."""
    drawings = [{"labels": value, "image": None, "drawn": None} for option, value in given if option == "--support"]
    if not drawings:
        parser.error("--support LABELS is missing: the file with what you have drawn")
    at = -1
    for option, value in given:
        if option == "--support":
            at += 1
            continue
        key = "drawn" if option == "--drawn" else "image"
        if at < 0 and len(drawings) > 1:
            parser.error(f"{option} must follow the --support that it belongs to")
        drawing = drawings[max(at, 0)]
        if drawing[key] is not None:
            parser.error(f"{option} is given twice for --support {drawing['labels']!r}")
        drawing[key] = value
    return drawings


def run(arguments: argparse.Namespace) -> int:
    """Reads, propagates, writes and reports. Returns the exit code; errors pass through."""
    from ..engine import drain
    from ..engine.images.image_warnings import collected_image_warnings
    from ..engine.images.reading import read_image
    from ..engine.methods.few_shot_task import carry_drawings, read_drawings
    from .few_shot_results import print_summary, summary_of, write_answer
    from .writing import check_outputs

    clock = time.perf_counter
    marks = {"start": clock()}
    with ProgressDisplay(arguments.quiet) as progress, collected_image_warnings() as warned:
        task = task_of(arguments)
        task.settings()  # wrong ones are refused before the image is read
        check_outputs(arguments)
        volume = read_image(arguments.image, arguments.frame, arguments.series)
        check_outputs(arguments, volume)
        support = read_drawings(volume, task)
        marks["reading"] = clock()
        outcome = drain(carry_drawings(volume, task, support, arguments.device), progress)
        marks["propagating"] = clock()
        told = write_answer(arguments, outcome)
        marks["writing"] = clock()
    notes = list(dict.fromkeys([*warned, *outcome.notes, *told]))
    if outcome.encoder is None and arguments.device not in ("auto", "cpu"):
        notes.append(f"without an encoder few-shot computes on the CPU; --device {arguments.device} was not needed")
    summary = summary_of(arguments, outcome, notes, marks)
    if arguments.json:
        print(json.dumps(summary, indent=2))
    elif not arguments.quiet:
        print_summary(summary)
    return 0


def task_of(arguments: argparse.Namespace):
    """The FewShotTask that the arguments ask for."""
    from ..engine.few_shot.support_files import SupportFile
    from ..engine.methods.few_shot_task import FewShotTask

    return FewShotTask(
        tuple(SupportFile(**drawing) for drawing in arguments.support), arguments.axis, tuple(arguments.segments),
        arguments.partial, arguments.slices, arguments.encoder, arguments.method, tuple(arguments.assignments), arguments.seed,
    )  # fmt: skip
