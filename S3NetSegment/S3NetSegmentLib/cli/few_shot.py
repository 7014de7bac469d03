"""``s3net few-shot``: a drawing on one or a few slices becomes the segments of the whole volume."""

from __future__ import annotations

import argparse
import time

from ..engine.tasks.drawn_numbers import drawn_numbers
from ..engine.tasks.few_shot import DRAWING, FEW_SHOT_PART, FewShotTask
from ..engine.tasks.forms import COMPUTING
from .arguments import (
    add_device,
    add_pictures,
    add_task_options,
    add_which_image,
    argument_type,
    check_file_names,
    finish,
    new_command,
    refuse_contradictions,
    task_from,
)
from .terminal import ProgressDisplay, report

DESCRIPTION = """\
Carries what you have drawn on one or a few slices to all slices of the volume, several segments at once.

Draw in 3D Slicer or any other tool, one slice in the middle of what you want and one near each end, and save the drawing.
Its slices that hold labels are the drawn ones; everything there without a label is background (--partial: only what lies
near the drawing). Or give boxes: --box liver=i,j,k,i,j,k for every segment on a few slices. Segments that overlap, such as an organ and a lesion inside it, stay whole (.seg.nrrd and DICOM SEG).

Correct a slice of the answer and run it again with the answer as the drawing and --drawn for the slices that are right: it
gets better. Where a segment runs past its end, name an empty slice there in --drawn.

IMAGE: NIfTI, NRRD, MetaImage or a folder of DICOM slices. LABELS: .seg.nrrd or a label map, also on another grid. OUT: a
.seg.nrrd with the names and colours of LABELS, or a label map with its values, on the grid of IMAGE."""
EXAMPLES = """\
examples:
  s3net few-shot ct.nii.gz --support drawn.seg.nrrd -o organs.seg.nrrd --overlay organs.png
  s3net few-shot ct.nii.gz --support organs.seg.nrrd --drawn 12,30,36,44 -o better.seg.nrrd       36 has been corrected
  s3net few-shot ct.nii.gz --support drawn.seg.nrrd --segments liver,spleen -o out.seg.nrrd --confidence sure.nii.gz
  s3net few-shot ct.nii.gz --box right=69,20,24,89,44,24 --box left=18,20,24,37,40,24 -o kidneys.seg.nrrd
  s3net few-shot next_patient.nii.gz --support organs.seg.nrrd --support-image ct.nii.gz --drawn all -o next.seg.nrrd"""


def register(commands) -> None:
    parser = new_command(
        commands, "few-shot", "a drawing on a few slices becomes the segments of the volume", DESCRIPTION, EXAMPLES
    )
    parser.add_argument("image", metavar="IMAGE", help="the image, or a folder with a DICOM series")
    parser.add_argument("-o", "--output", metavar="OUT", required=True, help="the segmentation; replaced if it exists")
    groups = {DRAWING: parser.add_argument_group(DRAWING)}
    _add_drawing(groups[DRAWING])
    add_task_options(parser, FewShotTask, groups)
    add_which_image(groups[FEW_SHOT_PART])
    add_pictures(groups[FEW_SHOT_PART])
    add_device(groups[COMPUTING])
    finish(parser, run, check)


def _add_drawing(group) -> None:
    group.add_argument("--support", action=_OfDrawing, metavar="LABELS", help="the drawing")
    group.add_argument(
        "--support-image",
        action=_OfDrawing,
        metavar="OTHER",
        help="the drawing before it belongs to this image, not IMAGE",
    )
    group.add_argument(
        "--drawn", action=_OfDrawing, type=argument_type(drawn_numbers), metavar="K,K,...|all",
        help="the drawn slices, counted from 0, also ranges A-B; also those on which you say that there is nothing",
    )  # fmt: skip


_FIELDS = {"support": "labels", "support_image": "image", "drawn": "drawn"}


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
    given = {name: tuple(drawing[key] for drawing in arguments.support) for name, key in _FIELDS.items()}
    arguments.task = task_from(FewShotTask, arguments, **given)
    refuse_contradictions(arguments.task, parser)
    if arguments.task.labels:
        inputs[f"the names of labels {arguments.task.labels!r}"] = arguments.task.labels
    check_file_names(arguments, parser, inputs)


def _drawings(given: list[tuple], parser: argparse.ArgumentParser) -> list[dict]:
    """One entry (labels, image, drawn) for each --support. The others belong to the --support before them, or to the only one."""
    drawings = [{"labels": value, "image": None, "drawn": None} for option, value in given if option == "--support"]
    at = -1
    for option, value in given:
        if option == "--support":
            at += 1
            continue
        key = "drawn" if option == "--drawn" else "image"
        if not drawings:
            parser.error(f"{option} needs a drawing; name it with --support LABELS")
        if at < 0 and len(drawings) > 1:
            parser.error(f"{option} must follow the --support that it belongs to")
        drawing = drawings[max(at, 0)]
        if drawing[key] is not None:
            parser.error(f"{option} is given twice for --support {drawing['labels']!r}")
        drawing[key] = value
    return drawings


def run(arguments: argparse.Namespace) -> int:
    """Reads, propagates, writes and reports. Returns the exit code; errors pass through."""
    from ..engine import run_to_end
    from ..engine.few_shot.run import carry_drawings, read_drawings
    from ..engine.images.image_warnings import collected_image_warnings
    from ..engine.images.reading import read_image
    from .few_shot_results import print_summary, summary_of, write_answer
    from .writing import check_outputs

    clock = time.perf_counter
    marks = {"start": clock()}
    with ProgressDisplay(arguments.quiet) as progress, collected_image_warnings() as warned:
        task = arguments.task
        task.engine_settings()  # wrong ones are refused before the image is read
        check_outputs(arguments)
        volume = read_image(arguments.image, arguments.frame, arguments.series)
        check_outputs(arguments, volume)
        support = run_to_end(read_drawings(volume, task, device=arguments.device), progress)
        marks["reading"] = clock()
        outcome = run_to_end(carry_drawings(volume, task, support, arguments.device), progress)
        marks["propagating"] = clock()
        told = write_answer(arguments, outcome)
        marks["writing"] = clock()
    notes = list(dict.fromkeys([*warned, *outcome.notes, *told]))
    if outcome.encoder is None and arguments.device not in ("auto", "cpu"):
        notes.append(f"without an encoder few-shot computes on the CPU; --device {arguments.device} was not needed")
    summary = summary_of(arguments, outcome, notes, marks)
    return report(arguments, summary, lambda: print_summary(summary), notes)
