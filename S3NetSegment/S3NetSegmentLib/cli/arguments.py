"""Options that several commands share, those that a task declares, and which files may be written.

Standard library only."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence

from ..engine.tasks import forms
from ..engine.tasks.fields import asked_fields
from .parser import Parser

_DEST = "task_{}"  # so that no field clashes with an option of the command


def add_task_options(parser: argparse.ArgumentParser, task_class, groups: dict) -> dict:
    """Adds the options of ``task_class`` to ``groups`` (heading -> group), which are made where they are missing and returned."""
    for name, field in asked_fields(task_class).items():
        if not field.options:
            continue
        if field.group not in groups:
            groups[field.group] = parser.add_argument_group(field.group)
        group = groups[field.group]
        dest, form = _DEST.format(name), field.form
        if form.is_switch:
            group.add_argument(*field.options, dest=dest, action="store_true", help=field.option_help)
        else:
            repeats = form.one is not None
            group.add_argument(
                *field.options, dest=dest, type=argument_type(form.one or form.read), metavar=form.metavar or None,
                action=_Repeated if repeats else _Once, help=field.option_help,
            )  # fmt: skip
    return groups


def task_from(task_class, arguments: argparse.Namespace, **further):
    """The task that the arguments ask for; ``further``: fields that the command reads itself."""
    given = {name: getattr(arguments, _DEST.format(name), None) for name in asked_fields(task_class)}
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    return task_class(**{name: value for name, value in values.items() if value is not None}, **further)


def refuse_contradictions(task, parser: argparse.ArgumentParser) -> None:
    """Refuses arguments that contradict each other, before anything is read. Exits with code 2."""
    for text in task.contradictions(lambda name: called(type(task), name)):
        parser.error(text)


def called(task_class, name: str) -> str:
    """How the command line calls a field of the task."""
    options = asked_fields(task_class)[name].options
    return options[0] if options else "--" + name.replace("_", "-")


def argument_type(read):
    """``read`` (raises ValueError with a text for people) as a type of argparse."""

    def parse(text: str):
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse


class _Once(argparse.Action):
    """An option that may be given once: the last of several would win in silence."""

    def __call__(self, parser, namespace, value, option=None):
        if getattr(namespace, self.dest, None) is not None:
            names = " or ".join(self.option_strings)
            parser.error(f"{names} is given twice; leave one out")
        setattr(namespace, self.dest, value)


class _Repeated(argparse.Action):
    def __call__(self, parser, namespace, value, option=None):
        setattr(namespace, self.dest, [*(getattr(namespace, self.dest, None) or []), value])


def new_command(commands, name: str, summary: str, description: str, examples: str = "") -> Parser:
    """The parser of a command; :func:`finish` is called when its options are added."""
    return commands.add_parser(
        name, help=summary, description=description, epilog=examples or None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip


def finish(parser: Parser, run, check=None) -> None:
    """Adds the options that every command has, and what it does.

    :param run: ``run(arguments)`` -> exit code.
    :param check: ``check(arguments, parser)`` refuses arguments that contradict each other, before anything is read: exit code 2.
    """
    group = parser.add_argument_group("output on the terminal")
    group.add_argument(
        "--quiet", "-q", action="store_true", help="no progress and no summary, only notes and errors (and --json)"
    )
    group.add_argument("--json", action="store_true", help="summary on standard output as JSON, for programs")
    group.add_argument("--debug", action="store_true", help="show where an error arose (also with S3NET_DEBUG=1)")
    parser.set_defaults(run=run, check=lambda arguments: None if check is None else check(arguments, parser))


def whole(low: int, high: int = 2**31 - 1):
    """Type of a whole number from ``low`` to ``high``."""
    return argument_type(forms.whole(low, high))


def add_which_image(group, *, all_frames: bool = False) -> None:
    """Which series of a DICOM folder, and which frame of a 4D image (``all_frames``: or every one of them)."""
    group.add_argument(
        "--series", metavar="NUMBER|UID|TEXT",
        help="which series of a DICOM folder: its number, UID or description ('s3net series FOLDER' lists them)",
    )  # fmt: skip
    of_all = ""
    if all_frames:
        of_all = f"; {forms.ALL_FRAMES}: each by itself, as a 4D label map (.nii.gz, .nii, .nrrd) or as one file for each frame"
    group.add_argument(
        "--frame", type=argument_type(forms.frame) if all_frames else whole(0), metavar="T",
        help=f"which frame of a 4D image, counted from 0{of_all}",
    )  # fmt: skip


def add_label_names(group, of: str) -> None:
    """``--labels``: what the values of plain label maps mean; ``of`` says which label maps."""
    group.add_argument(
        "--labels", metavar="FILE",
        help=f"names of the values of {of}: lines VALUE,NAME[,R,G,B] (CSV), a .ctbl of Slicer, a label file of ITK-SNAP, or JSON",
    )  # fmt: skip


def add_pictures(group) -> None:
    group.add_argument(
        "--confidence", metavar="FILE",
        help="also write each voxel's confidence, 0 to 1, as an image (.nii.gz, .nrrd, .mha)",
    )  # fmt: skip
    group.add_argument("--overlay", metavar="FILE.png", help="also draw the result on the image")


def table_of(path: str) -> str:
    """The table that belongs to the pictures of ``--explain``."""
    return os.path.splitext(path)[0] + ".csv"


def outputs_of(arguments: argparse.Namespace) -> dict[str, str]:
    """The files that a command will write, by option."""
    named = {"--output": arguments.output, "--confidence": arguments.confidence, "--overlay": arguments.overlay}
    if explained := getattr(arguments, "explain", None):
        named |= {"--explain": explained, "--explain (table)": table_of(explained)}
    return {option: path for option, path in named.items() if path}


def check_file_names(arguments: argparse.Namespace, parser: argparse.ArgumentParser, inputs: dict[str, str]) -> None:
    """Refuses two outputs in one file, and an output in the place of one of ``inputs`` (what it is -> path)."""
    for option, path in (("--overlay", arguments.overlay), ("--explain", getattr(arguments, "explain", None))):
        if path and not path.lower().endswith(".png"):
            parser.error(f"{option} {path!r} must end in .png")
    seen = {}
    for option, path in outputs_of(arguments).items():
        other = seen.setdefault(os.path.realpath(path), option)
        if other != option:
            parser.error(f"{option} and {other} are the same file: {path}")
    if replaced := replaced_input(arguments, inputs):
        parser.error(replaced)


def replaced_input(arguments: argparse.Namespace, inputs: Mapping[str, str | os.PathLike], of: str = "") -> str:
    """A sentence if an output would take the place of one of ``inputs`` (what it is -> path), else "".

    :param of: what the outputs are those of, as " of frame 1".
    """
    kinds = {os.path.realpath(path): kind for kind, path in inputs.items()}
    for option, path in outputs_of(arguments).items():
        if kind := kinds.get(os.path.realpath(path)):
            return f"{option} {path!r}{of} is {kind}, which is never replaced; choose another name"
    return ""


def image_inputs(channels: Sequence[str | os.PathLike]) -> dict[str, str | os.PathLike]:
    """The files of an image, one for each channel, by what they are."""
    return {
        "the input image" if not n else f"a channel of the image ({n:04d})": path for n, path in enumerate(channels)
    }


def check_result_folder(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuses a folder of results among the images or labels of the cohort, where it would be taken for a case."""
    output = os.path.realpath(arguments.output)
    for name in ("images", "labels"):
        kept = os.path.realpath(os.path.join(arguments.cohort, name))
        if output == kept or output.startswith(kept + os.sep):
            parser.error(f"--output {arguments.output!r} lies among the {name} of the cohort; choose another folder")


def add_device(group) -> None:
    """Where it is computed; whether that device exists is found out later."""
    group.add_argument(
        "--device", type=argument_type(forms.DEVICE.read), default="auto", metavar=forms.DEVICE.metavar,
        help="auto (the default) takes CUDA if there is one, else the Apple GPU, else the CPU; also cuda:1 and the like",
    )  # fmt: skip
