"""Arguments that several commands share: points, voxels, slices, and how they are checked while parsing.

Standard library only. What needs the image (is the point inside it?) is checked later by the command.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
from typing import NoReturn

COORDINATE_OPTIONS = ("--point", "--not-point", "--pixel", "--not-pixel", "--slice", "--slices", "--step")
_COORDINATES = re.compile(r"[-+]?[\d.][-+\d.,eE:]*")


class Parser(argparse.ArgumentParser):
    """An argument parser that answers a bad argument with one line and exit code 2, and takes no abbreviations, which
    would change their meaning when options are added."""

    def __init__(self, *args, **options):
        super().__init__(*args, allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"s3net: error: {message} ('{self.prog} --help' explains)\n")


def join_coordinates(texts: list[str]) -> list[str]:
    """``--point -1,2,3 4,5,6`` as ``--point=-1,2,3 --point=4,5,6``.

    argparse would take a leading minus for an option, and several values for one option would swallow the image's name.
    The first text after such an option is always its value; further ones only if they are coordinates with a comma.
    """
    joined, option, rest = [], None, iter(texts)
    for text in rest:
        if option and "," in text and _COORDINATES.fullmatch(text):
            joined.append(f"{option}={text}")
            continue
        option = None
        value = next(rest, None) if text in COORDINATE_OPTIONS else None
        if value is None:
            joined.append(text)
        else:
            joined.append(f"{text}={value}")
            option = text if text.endswith(("point", "pixel")) else None
    return joined


def position(text: str) -> tuple[float, float, float]:
    """Type of ``--point``: R,A,S in mm."""
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) != 3 or not all(map(math.isfinite, values)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a position; write R,A,S in mm, e.g. -12.5,30,4")
    return values


def voxel(text: str) -> tuple[int, ...]:
    """Type of ``--pixel``: i,j or i,j,k, counted from 0."""
    try:
        values = tuple(int(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) not in (2, 3):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a pixel; write i,j or i,j,k, whole numbers from 0, e.g. 120,80"
        )
    if min(values) < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is outside the image; pixels are counted from 0")
    return values


def slice_numbers(text: str) -> tuple[int, ...] | str:
    """Type of ``--drawn``: K,K,... and ranges A-B, each counted from 0, in any order; or "all"."""
    from ..engine.few_shot.drawn_numbers import drawn_numbers

    try:
        return drawn_numbers(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def slice_range(text: str) -> tuple[int, int]:
    """Type of ``--slices``: A:B, both included."""
    found = re.fullmatch(r"(\d+):(\d+)", text.strip())
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not a range; write FIRST:LAST, counted from 0, e.g. 20:45")
    first, last = int(found[1]), int(found[2])
    if first > last:
        raise argparse.ArgumentTypeError(f"{text!r} ends before it begins; write FIRST:LAST")
    return first, last


def whole(low: int, high: int = sys.maxsize):
    """Type of a whole number from ``low`` to ``high``."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or not low <= value <= high:
            limits = f"from {low} to {high}" if high < sys.maxsize else f"of {low} or more"
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number {limits}")
        return value

    return parse


def millimetres(text: str) -> float:
    """Type of a length above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a length in mm above 0")
    return value


def device(text: str) -> str:
    """Type of ``--device``; whether that device exists is found out later."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a device; use auto, cpu, cuda, cuda:NUMBER or mps")
    return text


def add_common(parser: argparse.ArgumentParser) -> None:
    """Options that every command has."""
    group = parser.add_argument_group("output on the terminal")
    group.add_argument(
        "--quiet", "-q", action="store_true", help="no progress and no summary, only notes and errors (and --json)"
    )
    group.add_argument("--json", action="store_true", help="summary on standard output as JSON, for programs")
    group.add_argument("--debug", action="store_true", help="show where an error arose (also with S3NET_DEBUG=1)")


def add_slice_axis(group, explained: str) -> None:
    """``--axis`` for images and volumes; ``explained`` says what auto means."""
    group.add_argument(
        "--axis", choices=("auto", "x", "y", "z"), default="auto", help=f"the axis across the slices; {explained}"
    )


def add_which_image(group) -> None:
    """Which series of a DICOM folder, and which frame of a 4D image."""
    group.add_argument(
        "--series", metavar="NUMBER|UID|TEXT",
        help="which series of a DICOM folder: its number, UID or description ('s3net series FOLDER' lists them)",
    )  # fmt: skip
    group.add_argument("--frame", type=whole(0), metavar="T", help="which frame of a 4D image, counted from 0")


def add_label_names(group, of: str) -> None:
    """``--labels``: what the values of plain label maps mean; ``of`` says which label maps."""
    group.add_argument(
        "--labels", metavar="FILE",
        help=f"names of the values of {of}: lines VALUE,NAME[,R,G,B] (CSV), a .ctbl of Slicer, a label file of ITK-SNAP, or JSON",
    )  # fmt: skip


def add_pictures(group) -> None:
    """What a command can write besides the segmentation."""
    group.add_argument(
        "--confidence", metavar="FILE",
        help="also write each voxel's confidence, 0 to 1, as an image (.nii.gz, .nrrd, .mha)",
    )  # fmt: skip
    group.add_argument("--overlay", metavar="FILE.png", help="also draw the result on the image")


def outputs_of(arguments: argparse.Namespace) -> dict[str, str]:
    """The files that a command will write, by option."""
    named = {"--output": arguments.output, "--confidence": arguments.confidence, "--overlay": arguments.overlay}
    return {option: path for option, path in named.items() if path}


def check_file_names(arguments: argparse.Namespace, parser: argparse.ArgumentParser, inputs: dict[str, str]) -> None:
    """Refuses two outputs in one file, and an output in the place of one of ``inputs`` (what it is -> path)."""
    if arguments.overlay and not arguments.overlay.lower().endswith(".png"):
        parser.error(f"--overlay {arguments.overlay!r} must end in .png")
    seen = {}
    for option, path in outputs_of(arguments).items():
        other = seen.setdefault(os.path.realpath(path), option)
        if other != option:
            parser.error(f"{option} and {other} are the same file: {path}")
        for kind, name in inputs.items():
            if os.path.realpath(path) == os.path.realpath(name):
                parser.error(f"{option} {path!r} is {kind}, which is never replaced; choose another name")


def check_result_folder(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuses a folder of results among the images or labels of the cohort, where it would be taken for a case."""
    output = os.path.realpath(arguments.output)
    for name in ("images", "labels"):
        kept = os.path.realpath(os.path.join(arguments.cohort, name))
        if output == kept or output.startswith(kept + os.sep):
            parser.error(f"--output {arguments.output!r} lies among the {name} of the cohort; choose another folder")


def add_computing(parser: argparse.ArgumentParser, example: str = "sources=s3net", presets: bool = True) -> None:
    """Options of commands that compute: preset, settings (with an ``example``), seed, device."""
    group = parser.add_argument_group("computing")
    if presets:
        group.add_argument(
            "--preset", choices=("default", "paper"), default="default",
            help="default: the best measured recipe. paper: S3-Net as published, with its defects cured; slow",
        )  # fmt: skip
    group.add_argument(
        "--set", dest="assignments", metavar="NAME=VALUE", action="append", default=[],
        help=f"change a setting, e.g. --set {example}; may be repeated. 's3net settings' lists them all",
    )  # fmt: skip
    group.add_argument(
        "--seed", type=whole(0, 2**31 - 1), metavar="S", help="random seed; same image, seed and device: same result"
    )
    group.add_argument(
        "--device", type=device, default="auto", metavar="{auto,cpu,cuda,mps}",
        help="auto (the default) takes CUDA if there is one, else the Apple GPU, else the CPU; also cuda:1 and the like",
    )  # fmt: skip
