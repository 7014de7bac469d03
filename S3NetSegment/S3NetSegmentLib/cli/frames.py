"""``--frame all``: every frame of a 4D image by itself, and the results in one 4D file or one file for each frame."""

from __future__ import annotations

import argparse
import copy
import os
import time
from collections.abc import Callable, Sequence

from .. import __version__
from ..engine import InputError, Volume
from ..engine.images.files import stem_of, suffix_of
from ..engine.images.image_warnings import collected_image_warnings
from ..engine.images.reading import count_frames, read_image
from ..engine.images.segmentation import shown_size
from ..engine.images.writing import FRAME_FORMATS, write_frames, write_image, write_png
from ..engine.results import described, frame_label_maps, frame_notes, frame_progress
from ..engine.tasks.forms import ALL_FRAMES
from .arguments import image_inputs, outputs_of, replaced_input
from .terminal import ProgressDisplay, print_written, report, shown_path
from .writing import Found, check_outputs, write_result


def several_frames(arguments: argparse.Namespace) -> int:
    """The number of frames if all of several are wanted, else 0. A single frame is an image like any other: ``arguments`` then
    ask for it."""
    if arguments.frame != ALL_FRAMES:
        return 0
    count = count_frames(arguments.image, arguments.series)
    if count > 1:
        return count
    arguments.frame = None
    return 0


def run_frames(
    arguments: argparse.Namespace,
    count: int,
    find: Callable[[tuple[Volume, ...], Callable], Found],
    facts: dict,
    channels: Sequence[str | os.PathLike] = (),
) -> int:
    """Segments each of ``count`` frames, writes and reports. Returns the exit code.

    :param find: ``find(volumes, progress)``, with one volume for each of ``channels`` (the image itself where there are none).
    :param facts: what the command says of itself in ``--json``.
    """
    channels = channels or (arguments.image,)
    for frame in range(count):
        of_frame = _of_frame(arguments, frame, count)
        if replaced := replaced_input(of_frame, image_inputs(channels), of=f" of frame {frame}"):
            raise InputError(replaced)
    began, found, warned_of = time.perf_counter(), [], []
    with ProgressDisplay(arguments.quiet) as progress:
        for frame in range(count):
            with collected_image_warnings() as warned:
                volumes = tuple(read_image(p, frame, arguments.series) for p in channels)
            volume = volumes[0]
            if frame == 0:
                check_outputs(_of_frame(arguments, 0, count), volume)
            one = find(volumes, frame_progress(progress, frame, count))
            found.append(one)
            warned_of.append([*warned, *one.notes])
        files = _written(arguments, found)
    notes = frame_notes(warned_of)
    frames = [{"frame": number, "segments": described(one.segmentation)} for number, one in enumerate(found)]
    facts = {
        **facts, "version": __version__,
        "image": {"path": os.path.abspath(arguments.image), "size": volume.size, "spacing_mm": volume.spacing, "frames": count},
        "outputs": {what: [os.path.abspath(p) for p in paths] for what, paths in files.items()}, "frames": frames,
        "device": found[-1].device, "seconds": round(time.perf_counter() - began, 3), "notes": notes,
    }  # fmt: skip
    return report(arguments, facts, lambda: _print(facts, files), notes)


def _print(facts: dict, files: dict[str, list[str]]) -> None:
    print(
        f"{os.path.basename(facts['image']['path'])}, {len(facts['frames'])} frames, {facts['seconds']:.1f} s on {facts['device']}"
    )
    width = len(str(len(facts["frames"]) - 1))
    for frame in facts["frames"]:
        sizes = ", ".join(f"{s['name']} {shown_size(s)}" for s in frame["segments"])
        print(f"  frame {frame['frame']:>{width}}: {sizes}")
    for what, paths in files.items():
        if len(paths) == 1:
            print_written({what: paths[0]})
        else:
            print(f"wrote {shown_path(paths[0])} to {os.path.basename(paths[-1])}")


def frame_path(path: str, frame: int, count: int) -> str:
    """Where the result of one of ``count`` frames goes: ``heart_frame07.seg.nrrd`` for ``heart.seg.nrrd``."""
    name = f"{stem_of(path)}_frame{frame:0{len(str(count - 1))}}{suffix_of(path)}"
    return os.path.join(os.path.dirname(path), name)


def _of_frame(arguments: argparse.Namespace, frame: int, count: int) -> argparse.Namespace:
    """``arguments`` as if that frame alone were wanted."""
    one = copy.copy(arguments)
    one.frame = frame
    for name in ("output", "confidence", "overlay"):
        if path := getattr(arguments, name):
            setattr(one, name, frame_path(path, frame, count))
    return one


def _written(arguments: argparse.Namespace, found: list[Found]) -> dict[str, list[str]]:
    """Writes everything; the files of each output."""
    count, files = len(found), {what.lstrip("-"): [] for what in outputs_of(arguments)}
    each = [_of_frame(arguments, frame, count) for frame in range(count)]
    if suffix_of(arguments.output) in FRAME_FORMATS:
        write_frames(frame_label_maps([one.segmentation for one in found]), arguments.output)
        files["output"].append(arguments.output)
    else:
        for one, where in zip(found, each, strict=True):
            write_result(where, one.segmentation)
            files["output"].append(where.output)
    if arguments.confidence and suffix_of(arguments.confidence) in FRAME_FORMATS:
        write_frames([one.confidence for one in found], arguments.confidence)
        files["confidence"].append(arguments.confidence)
    for one, where in zip(found, each, strict=True):
        if arguments.confidence and suffix_of(arguments.confidence) not in FRAME_FORMATS:
            write_image(one.confidence, where.confidence)
            files["confidence"].append(where.confidence)
        if arguments.overlay:
            write_png(one.picture, where.overlay)
            files["overlay"].append(where.overlay)
    return files
