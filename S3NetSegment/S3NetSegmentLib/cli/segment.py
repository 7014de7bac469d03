"""``s3net segment``: regions of an image, or the object at a point."""

from __future__ import annotations

import argparse
import os
import time

from ..engine.tasks import forms
from ..engine.tasks.segment import SEGMENT_PART, SEGMENT_RESULTS, SegmentTask
from .arguments import (
    add_device,
    add_pictures,
    add_task_options,
    add_which_image,
    check_file_names,
    finish,
    new_command,
    refuse_contradictions,
    task_from,
)
from .terminal import ProgressDisplay, about, print_written, report, seconds_of

DESCRIPTION = """\
Segments an image without any drawing.

With points: the object at the point, as one segment "Object". Further points add to it, --not-point takes away.
Without: the regions of the image, ordered from dark to bright, and the main object as a segment of its own where the
picture has one.

IMAGE: NIfTI, NRRD, MetaImage, a folder of DICOM slices, PNG, JPEG, BMP or TIFF. OUT: .seg.nrrd for Slicer (names, colours,
overlapping segments, how it was made), or a label map .nii.gz, .nrrd, .mha, .png, always on the image's own grid."""
EXAMPLES = """\
examples:
  s3net segment skin.jpg -o lesion.seg.nrrd --overlay lesion.png
  s3net segment skin.jpg -o lesion.png --pixel 120,80 --step 2
  s3net segment ct.nii.gz -o liver.seg.nrrd --pixel 82,36,44 --not-pixel 49,36,44           voxels i,j,k, counted from 0
  s3net segment ct.nii.gz -o liver.seg.nrrd --point 80,150,400 --not-point -20,150,400      the same in patient mm, R,A,S
  s3net segment ct.nii.gz -o slice.seg.nrrd --slice 40 --regions 6 --json
  s3net segment ct.nii.gz -o liver.seg.nrrd --pixel 82,36,44 --explain why.png
  s3net segment dicom_folder -o regions.nii.gz --slices 20:60 --device cuda
  s3net segment cine.nii.gz -o heart.nii.gz --pixel 60,52,4 --frame all                     every frame of a 4D image"""


def register(commands) -> None:
    parser = new_command(commands, "segment", "regions of an image, or the object at a point", DESCRIPTION, EXAMPLES)
    parser.add_argument("image", metavar="IMAGE", help="the image, or a folder with a DICOM series")
    parser.add_argument("-o", "--output", metavar="OUT", required=True, help="the segmentation; replaced if it exists")
    groups = add_task_options(parser, SegmentTask, {})
    add_which_image(groups[SEGMENT_PART], all_frames=True)
    add_pictures(groups[SEGMENT_RESULTS])
    groups[SEGMENT_RESULTS].add_argument(
        "--explain", metavar="FILE.png",
        help="also show why the object was chosen: pictures of the candidates there, and all that was measured of them in "
        "FILE.csv",
    )  # fmt: skip
    add_device(groups[forms.COMPUTING])
    finish(parser, run, check)


def check(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuses arguments that contradict each other, before anything is read. Exits with code 2."""
    arguments.task = task_from(SegmentTask, arguments)
    refuse_contradictions(arguments.task, parser)
    if arguments.frame == forms.ALL_FRAMES and arguments.explain:
        parser.error(f"--explain is for one frame; name it instead of --frame {forms.ALL_FRAMES}")
    check_file_names(arguments, parser, {"the input image": arguments.image})


def run(arguments: argparse.Namespace) -> int:
    """Reads, segments, writes and reports. Returns the exit code; errors pass through."""
    from ..engine import run_to_end
    from ..engine.images.image_warnings import collected_image_warnings
    from ..engine.images.reading import read_image
    from .frames import several_frames
    from .writing import Found, check_outputs, write_explanation, write_found

    clock = time.perf_counter
    marks = {"start": clock()}
    with ProgressDisplay(arguments.quiet) as progress, collected_image_warnings() as warned:
        task = arguments.task
        task.engine_settings()  # wrong ones are refused before the image is read
        check_outputs(arguments)
        if frames := several_frames(arguments):
            return _run_frames(arguments, frames)
        volume = read_image(arguments.image, arguments.frame, arguments.series)
        check_outputs(arguments, volume)
        marks["reading"] = clock()
        from ..engine.segment.run import segment_image  # late: bad input is refused without loading everything

        outcome = run_to_end(segment_image(volume, task, arguments.device), progress)
        marks["searching"] = clock()
        progress.clear()
        with ProgressDisplay(arguments.quiet) as later:
            found = Found.of(outcome, arguments, later)
            notes = [*found.notes, *write_found(arguments, found)]
            explained = write_explanation(arguments, outcome) if arguments.explain else []
        marks["writing"] = clock()
    notes = list(dict.fromkeys([*warned, *notes]))
    summary = _summary(arguments, outcome, notes, marks) | ({"explanation": explained} if explained else {})
    return report(arguments, summary, lambda: _print(summary), notes)


def _run_frames(arguments: argparse.Namespace, count: int) -> int:
    """Each of ``count`` frames by itself, with the same points, boxes and strokes."""
    from ..engine import run_to_end
    from ..engine.segment.run import segment_image
    from .frames import run_frames
    from .writing import Found

    def find(volumes, progress) -> Found:
        outcome = run_to_end(segment_image(volumes[0], arguments.task, arguments.device), progress)
        return Found.of(outcome, arguments, progress)

    task = arguments.task
    facts = {"command": "segment", "preset": task.preset, "settings": list(task.settings), "seed": task.seed}
    return run_frames(arguments, count, find, facts)


def _summary(arguments, outcome, notes, marks) -> dict:
    from ..engine.results import described, ladder
    from .writing import image_facts, output_facts

    regions, choice = outcome.regions, outcome.choice
    return {
        **about(arguments),
        "image": image_facts(arguments, regions.volume),
        "part": {"axis": regions.axis, "first_voxel": regions.extent.start, "voxels": regions.extent.size},
        "points": {
            "inside": list(outcome.prompts.inside),
            "outside": list(outcome.prompts.outside),
            "radius_mm": outcome.task.radius,
        },
        "boxes": [[*box.low, *box.high] for box in outcome.prompts.boxes],
        "strokes": list(outcome.prompts.strokes),
        "regions_only": outcome.task.regions_only,
        "outputs": output_facts(arguments),
        "segments": described(outcome.segmentation),
        "object": None if choice is None else ladder(choice),
        "preset": outcome.task.preset,
        "settings": regions.settings.changed(),
        "seed": regions.settings.seed,
        "device": regions.device,
        "seconds": seconds_of(marks),
        "notes": notes,
    }


def _print(summary: dict) -> None:
    from ..engine.images.segmentation import size_table

    size = " x ".join(str(n) for n in summary["image"]["size"] if n > 1) or "1"
    print(
        f"{os.path.basename(summary['image']['path'])} ({size}), {summary['seconds']['total']:.1f} s on {summary['device']}"
    )
    print("\n".join(size_table(summary["segments"])))
    place = summary["object"]
    if place:
        others = [str(n) for n, step in enumerate(place["alternatives"], 1) if step != place["step"]]
        listed = " or ".join([", ".join(others[:-1]), *others[-1:]] if len(others) > 1 else others)
        offer = f"; other answers: --alternative {listed}" if others else ""
        print(
            f"object: candidate {place['step']} of {place['steps']} by size (--step N for larger, -N for smaller){offer}"
        )
    elif not summary["points"]["inside"] and not summary["regions_only"]:
        print("no main object was singled out; point at one with --point R,A,S or --pixel i,j[,k]")
    for line in summary.get("explanation", ()):
        print(f"  {line}")
    print_written(summary["outputs"])
