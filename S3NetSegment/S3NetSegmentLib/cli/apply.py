"""``s3net apply``: trained models on an image."""

from __future__ import annotations

import argparse
import os
import time

from ..engine.tasks.segment import ApplyTask
from .arguments import (
    add_device,
    add_pictures,
    add_task_options,
    add_which_image,
    check_file_names,
    finish,
    image_inputs,
    new_command,
    refuse_contradictions,
    replaced_input,
    task_from,
)
from .terminal import ProgressDisplay, about, print_written, report

DESCRIPTION = """\
Segments an image with a model that 's3net finetune' has trained, or with several, whose probabilities are averaged: name their
files, or the folder of a cross-validation ('s3net finetune --folds').

OUT: .seg.nrrd with the names, colours and terminology that the model learnt, or a label map .nii.gz, .nrrd, .mha, .png with
the label values that the model was trained with; always on the image's own grid."""
EXAMPLES = """\
examples:
  s3net apply runs/model/model.pt mr.nii.gz -o heart.seg.nrrd --overlay heart.png
  s3net apply runs/model/model.pt dicom_folder -o heart.nii.gz --confidence sure.nii.gz --device cpu
  s3net apply runs/model/model.pt cine.nii.gz -o heart.nii.gz --frame all                  every frame of a 4D image
  s3net apply runs/a/model.pt runs/b/model.pt runs/c/model.pt mr.nii.gz -o heart.seg.nrrd"""


def register(commands) -> None:
    parser = new_command(commands, "apply", "segment an image with trained models", DESCRIPTION, EXAMPLES)
    parser.add_argument(
        "model", metavar="MODEL", nargs="+",
        help="the model file, model.pt of a run; several files or the folder of a cross-validation: their mean answers",
    )  # fmt: skip
    parser.add_argument(
        "image",
        metavar="IMAGE",
        help="the image, or a folder with a DICOM series; of several channels CASE_0000, with CASE_0001 and so on beside it",
    )
    parser.add_argument("-o", "--output", metavar="OUT", required=True, help="the segmentation; replaced if it exists")
    add_which_image(parser, all_frames=True)
    add_pictures(parser)
    add_task_options(parser, ApplyTask, {"": parser})
    add_device(parser)
    finish(parser, run, check)


def check(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuses arguments that contradict each other, before anything is read. Exits with code 2."""
    refuse_contradictions(_task(arguments), parser)
    models = {"the model" if not number else f"model {number + 1}": m for number, m in enumerate(arguments.model)}
    check_file_names(arguments, parser, {"the input image": arguments.image, **models})


def _task(arguments: argparse.Namespace) -> ApplyTask:
    return task_from(ApplyTask, arguments, model=tuple(arguments.model))


def run(arguments: argparse.Namespace) -> int:
    """Reads, segments, writes, reports. Returns the exit code; errors pass through."""
    from ..engine import InputError, Volume, run_to_end
    from ..engine.apply import ModelSegmenter, as_segmentation, model_tags
    from ..engine.images.image_warnings import collected_image_warnings
    from ..engine.images.overlay import draw_overlay
    from ..engine.images.reading import read_image
    from ..engine.training.cohort.channels import channel_files
    from ..engine.training.model.ensemble import load_ensemble
    from .frames import run_frames, several_frames
    from .writing import LONG_SIDE, Found, check_outputs, write_found

    began = time.perf_counter()

    def find(volumes: tuple[Volume, ...], progress) -> Found:
        volume = volumes[0]
        answer = run_to_end(segmenter.segment(volumes, confidence=bool(arguments.confidence)), progress)
        tags = model_tags(models, answer.device, volume.name, flips=task.flips)
        segmentation = as_segmentation(models, answer.labels, volume, tags)
        sure = Volume(answer.confidence, volume.ijk_to_ras, "confidence") if arguments.confidence else None
        picture = draw_overlay(volume, segmentation, axis="auto", size=LONG_SIDE) if arguments.overlay else None
        return Found(segmentation, sure, picture, list(answer.notes), answer.device)

    with ProgressDisplay(arguments.quiet) as progress, collected_image_warnings() as warned:
        check_outputs(arguments)
        task = _task(arguments)
        models = load_ensemble(task.model)
        channels = channel_files(arguments.image, models.channels)
        if replaced := replaced_input(arguments, image_inputs(channels)):
            raise InputError(replaced)
        frames = several_frames(arguments)
        if not frames:
            volumes = tuple(read_image(path, arguments.frame, arguments.series) for path in channels)
            volume = volumes[0]
            check_outputs(arguments, volume)
        segmenter = ModelSegmenter(models, arguments.device, flips=task.flips)
        if frames:
            return run_frames(arguments, frames, find, {"command": "apply", "model": models.summary()}, channels)
        found = find(volumes, progress)
        write_found(arguments, found)
    notes = list(dict.fromkeys([*warned, *found.notes]))
    return _report(arguments, models, volume, found, notes, time.perf_counter() - began)


def _report(arguments, models, volume, found, notes: list[str], seconds: float) -> int:
    from ..engine.images.segmentation import size_table
    from ..engine.results import described
    from .writing import output_facts

    segments = described(found.segmentation)
    facts = {
        **about(arguments, model=models.summary()),
        "image": {"path": os.path.abspath(arguments.image), "size": volume.size, "spacing_mm": volume.spacing},
        "outputs": output_facts(arguments),
        "segments": segments, "device": found.device, "seconds": round(seconds, 3), "notes": notes,
    }  # fmt: skip

    def show() -> None:
        print(f"{os.path.basename(arguments.image)}, {seconds:.1f} s on {found.device}")
        print("\n".join(size_table(segments)))
        print_written(facts["outputs"])

    return report(arguments, facts, show, notes)
