"""``s3net segment``: regions of an image, or the object at a point."""

from __future__ import annotations

import argparse
import json
import os
import time

from .. import __version__
from .arguments import (
    add_common,
    add_computing,
    add_pictures,
    add_slice_axis,
    add_which_image,
    check_file_names,
    millimetres,
    outputs_of,
    position,
    slice_range,
    voxel,
    whole,
)
from .terminal import ProgressDisplay, print_written, tell_notes

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
  s3net segment dicom_folder -o regions.nii.gz --slices 20:60 --device cuda"""


def register(commands) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser(
        "segment", help="regions of an image, or the object at a point", description=DESCRIPTION, epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("image", metavar="IMAGE", help="the image, or a folder with a DICOM series")
    parser.add_argument("-o", "--output", metavar="OUT", required=True, help="the segmentation; replaced if it exists")
    _add_points(parser.add_argument_group("which object (positions may be repeated, and several follow one option)"))
    _add_part(parser.add_argument_group("which part of the image"))
    group = parser.add_argument_group("regions and further results")
    group.add_argument(
        "--regions", type=whole(2, 16), metavar="N",
        help="number of regions without points, 2 to 16 (default 4)",
    )  # fmt: skip
    group.add_argument("--regions-only", action="store_true", help="leave the automatic object out")
    add_pictures(group)
    add_computing(parser)
    add_common(parser)
    parser.set_defaults(run=run, check=lambda arguments: check(arguments, parser))


def _add_points(group) -> None:
    several = {"action": "append", "default": []}
    group.add_argument(
        "--point",
        type=position,
        metavar="R,A,S",
        help="inside the object, patient mm (right, anterior, superior)",
        **several,
    )
    group.add_argument("--not-point", type=position, metavar="R,A,S", help="outside the object, patient mm", **several)
    group.add_argument("--pixel", type=voxel, metavar="i,j[,k]", help="inside, as a voxel counted from 0", **several)
    group.add_argument("--not-pixel", type=voxel, metavar="i,j[,k]", help="outside, as a voxel", **several)
    group.add_argument("--radius", type=millimetres, metavar="MM", help="rough radius of the object")
    either = group.add_mutually_exclusive_group()
    either.add_argument(
        "--step", type=whole(-1000, 1000), metavar="N", default=0,
        help="take the Nth larger candidate than the automatic choice; smaller with a minus",
    )  # fmt: skip
    either.add_argument(
        "--alternative", type=whole(1, 3), metavar="{1,2,3}", help="take one of the three best distinct answers"
    )


def _add_part(group) -> None:
    either = group.add_mutually_exclusive_group()
    either.add_argument("--slice", type=whole(0), metavar="K", help="only this slice, counted from 0")
    either.add_argument("--slices", type=slice_range, metavar="A:B", help="only slices A to B, both included")
    add_slice_axis(group, "auto (the default) takes the one with the largest spacing, else z")
    add_which_image(group)


def check(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuses arguments that contradict each other, before anything is read. Exits with code 2."""
    inside, outside = arguments.point or arguments.pixel, arguments.not_point or arguments.not_pixel
    if outside and not inside:
        parser.error(f"--not-point or --not-pixel {_shown(outside[0])} needs a --point or --pixel inside the object")
    if arguments.radius is not None and not inside:
        parser.error(f"--radius {arguments.radius:g} needs a --point or --pixel")
    if arguments.regions is not None and inside:
        parser.error(f"--regions {arguments.regions} has no meaning with points, which give one object; leave one out")
    if arguments.regions_only and (inside or arguments.step or arguments.alternative):
        parser.error("--regions-only leaves the object out; it cannot go with points, --step or --alternative")
    check_file_names(arguments, parser, {"the input image": arguments.image})


def _shown(values) -> str:
    return ",".join(f"{value:g}" for value in values)


def run(arguments: argparse.Namespace) -> int:
    """Reads, segments, writes and reports. Returns the exit code; errors pass through."""
    from ..engine import drain
    from ..engine.images.image_warnings import collected_image_warnings
    from ..engine.images.reading import read_image
    from .writing import check_outputs, write_outputs

    clock = time.perf_counter
    marks = {"start": clock()}
    with ProgressDisplay(arguments.quiet) as progress, collected_image_warnings() as warned:
        task = task_of(arguments)
        task.settings()  # wrong ones are refused before the image is read
        check_outputs(arguments)
        volume = read_image(arguments.image, arguments.frame, arguments.series)
        check_outputs(arguments, volume)
        marks["reading"] = clock()
        from ..engine.methods.segment_task import segment_image  # late: bad input is refused without loading everything

        outcome = drain(segment_image(volume, task, arguments.device), progress)
        marks["searching"] = clock()
        progress.clear()
        with ProgressDisplay(arguments.quiet) as later:
            notes = write_outputs(arguments, outcome, later)
        marks["writing"] = clock()
    notes = list(dict.fromkeys([*warned, *notes]))
    summary = _summary(arguments, outcome, notes, marks)
    if arguments.json:
        print(json.dumps(summary, indent=2))
    elif not arguments.quiet:
        _print(summary)
    tell_notes(notes)
    return 0


def task_of(arguments: argparse.Namespace):
    """The SegmentTask that the arguments ask for."""
    from ..engine.methods.segment_task import SegmentTask

    slices = arguments.slices or (None if arguments.slice is None else (arguments.slice, arguments.slice))
    return SegmentTask(
        arguments.axis, slices, tuple(arguments.point), tuple(arguments.not_point), tuple(arguments.pixel),
        tuple(arguments.not_pixel), arguments.radius, arguments.regions, arguments.regions_only, arguments.step,
        arguments.alternative, arguments.preset, tuple(arguments.assignments), arguments.seed,
    )  # fmt: skip


def _summary(arguments, outcome, notes, marks) -> dict:
    from ..engine.methods.results import described, ladder

    regions, choice = outcome.regions, outcome.choice
    volume = regions.volume
    times = list(marks.items())
    seconds = {name: round(at - times[n][1], 3) for n, (name, at) in enumerate(times[1:])}
    return {
        "command": "segment",
        "version": __version__,
        "image": {
            "path": os.path.abspath(arguments.image),
            "size": volume.size,
            "spacing_mm": [round(s, 6) for s in volume.spacing],
            "rgb": volume.is_rgb,
            "series": arguments.series,
            "frame": arguments.frame,
        },
        "part": {"axis": regions.axis, "first_voxel": regions.extent.start, "voxels": regions.extent.size},
        "points": {"inside": outcome.inside, "outside": outcome.outside, "radius_mm": arguments.radius},
        "regions_only": arguments.regions_only,
        "outputs": {option.lstrip("-"): os.path.abspath(path) for option, path in outputs_of(arguments).items()},
        "segments": described(outcome.segmentation),
        "object": None if choice is None else ladder(choice),
        "preset": arguments.preset,
        "settings": regions.settings.changed(),
        "seed": regions.settings.seed,
        "device": regions.device,
        "seconds": {**seconds, "total": round(times[-1][1] - times[0][1], 3)},
        "notes": notes,
    }


def _print(summary: dict) -> None:
    """The summary for people."""
    from ..engine.images.segment_size import size_table

    size = " x ".join(str(n) for n in summary["image"]["size"] if n > 1) or "1"
    print(
        f"{os.path.basename(summary['image']['path'])} ({size}), {summary['seconds']['total']:.1f} s on {summary['device']}"
    )
    print("\n".join(size_table(summary["segments"])))
    place = summary["object"]
    if place:
        others = [str(n) for n, step in enumerate(place["alternatives"], 1) if step != place["step"]]
        offer = f"; other answers: --alternative {' or '.join(others)}" if others else ""
        print(
            f"object: candidate {place['step']} of {place['steps']} by size (--step N for larger, -N for smaller){offer}"
        )
    elif not summary["points"]["inside"] and not summary["regions_only"]:
        print("no main object was singled out; point at one with --point R,A,S or --pixel i,j[,k]")
    print_written(summary["outputs"])
