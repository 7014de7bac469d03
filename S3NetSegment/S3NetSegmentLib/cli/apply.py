"""``s3net apply``: a trained model on an image."""

from __future__ import annotations

import argparse
import json
import os
import time

from .. import __version__
from .arguments import add_common, add_device, add_pictures, add_which_image, check_file_names, outputs_of
from .terminal import ProgressDisplay, print_written, tell_notes

DESCRIPTION = """\
Segments an image with a model that 's3net finetune' has trained.

OUT: .seg.nrrd with the names, colours and terminology that the model learnt, or a label map .nii.gz, .nrrd, .mha, .png with
values 1, 2, ... in the model's order; always on the image's own grid."""
EXAMPLES = """\
examples:
  s3net apply runs/model/model.pt mr.nii.gz -o heart.seg.nrrd --overlay heart.png
  s3net apply runs/model/model.pt dicom_folder -o heart.nii.gz --confidence sure.nii.gz --device cpu"""


def register(commands) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser(
        "apply", help="segment an image with a trained model", description=DESCRIPTION, epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("model", metavar="MODEL", help="the model file, model.pt of a run")
    parser.add_argument("image", metavar="IMAGE", help="the image, or a folder with a DICOM series")
    parser.add_argument("-o", "--output", metavar="OUT", required=True, help="the segmentation; replaced if it exists")
    add_which_image(parser)
    add_pictures(parser)
    add_device(parser)
    add_common(parser)
    parser.set_defaults(
        run=run,
        check=lambda a: check_file_names(a, parser, {"the input image": a.image, "the model": a.model}),
    )


def run(arguments: argparse.Namespace) -> int:
    """Reads, segments, writes, reports. Returns the exit code; errors pass through."""
    from ..engine import Volume, drain
    from ..engine.apply import ModelSegmenter, as_segmentation, model_tags
    from ..engine.images.image_warnings import collected_image_warnings
    from ..engine.images.overlay import draw_overlay
    from ..engine.images.reading import read_image
    from ..engine.images.writing import write_image, write_png
    from ..engine.training.model_file import load_model
    from .writing import LONG_SIDE, check_outputs, write_result

    began = time.perf_counter()
    with ProgressDisplay(arguments.quiet) as progress, collected_image_warnings() as warned:
        check_outputs(arguments)
        model = load_model(arguments.model, "segmenter")
        volume = read_image(arguments.image, arguments.frame, arguments.series)
        check_outputs(arguments, volume)
        segmenter = ModelSegmenter(model, arguments.device)
        answer = drain(segmenter.segment(volume, confidence=bool(arguments.confidence)), progress)
        tags = model_tags(model, arguments.model, answer.device, volume.name)
        segmentation = as_segmentation(model, answer.labels, volume, tags)
        picture = None
        if arguments.overlay:
            picture = draw_overlay(volume, segmentation, axis="auto", size=LONG_SIDE)
        write_result(arguments, segmentation)
        if arguments.confidence:
            write_image(Volume(answer.confidence, volume.ijk_to_ras, "confidence"), arguments.confidence)
        if picture is not None:
            write_png(picture, arguments.overlay)
    notes = list(dict.fromkeys([*warned, *answer.notes]))
    _report(arguments, model, volume, segmentation, answer, notes, time.perf_counter() - began)
    tell_notes(notes)
    return 0


def _report(arguments, model, volume, segmentation, answer, notes: list[str], seconds: float) -> None:
    from ..engine.images.segment_size import size_table
    from ..engine.results import described

    segments = described(segmentation)
    facts = {
        "command": "apply", "version": __version__, "model": model.summary(),
        "image": {"path": os.path.abspath(arguments.image), "size": volume.size, "spacing_mm": volume.spacing},
        "outputs": {o.lstrip("-"): os.path.abspath(p) for o, p in outputs_of(arguments).items()},
        "segments": segments, "device": answer.device, "seconds": round(seconds, 3), "notes": notes,
    }  # fmt: skip
    if arguments.json:
        print(json.dumps(facts, indent=2))
    elif not arguments.quiet:
        print(f"{os.path.basename(arguments.image)}, {seconds:.1f} s on {answer.device}")
        print("\n".join(size_table(segments)))
        print_written(facts["outputs"])
