"""``s3net``: reads the arguments, runs one command, turns errors into exit codes.

Exit codes: 0 done, 1 failed (the machine, the disk, a defect), 2 bad arguments or bad input, 130 stopped with Ctrl-C, 143 by a
polite kill (SIGTERM).
Standard library only until a command runs.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback

from .. import __version__
from . import (
    apply,
    batch,
    check,
    cohort,
    compare,
    evaluate,
    few_shot,
    list_series,
    list_settings,
    segment,
    weights,
)
from .demo import command as demo
from .environment import enter
from .parser import Parser
from .terminal import interrupts
from .train import finetune, pretrain

COMMANDS = (
    demo,
    segment,
    few_shot,
    cohort,
    batch,
    pretrain,
    finetune,
    apply,
    evaluate,
    compare,
    check,
    list_series,
    list_settings,
    weights,
)  # register(commands) adds the parser and sets its functions: check (arguments), run (returns code)

DESCRIPTION = """\
Segmentation of medical images. Without any drawing: S3-Net and classical clustering find the regions of an image, and a
point, or the automatic choice, makes an object of them. Few-shot: a drawing on a few slices becomes the segments of the whole
volume. Runs on this computer; no data are sent anywhere."""
EXAMPLES = """\
examples:
  s3net demo                                    try it on the samples that come with it
  s3net segment skin.jpg -o lesion.seg.nrrd --overlay lesion.png
  s3net segment ct.nii.gz -o liver.seg.nrrd --pixel 82,36,44    the organ at a voxel i,j,k
  s3net segment ct.nii.gz -o liver.seg.nrrd --point 80,150,400  the same in patient mm: right, anterior, superior
  s3net few-shot ct.nii.gz --support drawn.seg.nrrd -o organs.seg.nrrd

's3net COMMAND --help' explains a command. Exit codes: 0 ok, 1 failed, 2 bad arguments or input, 130 stopped with Ctrl-C
(143 by SIGTERM)."""


def main() -> int:
    """The program ``s3net`` of the installed package, whose packages pip has seen to; returns the exit code."""
    return launch(None, sys.argv[1:])


def launch(script: str | None, texts: list[str]) -> int:
    """Runs the command line ``texts`` (without the program's name), in an environment made for it if need be.

    :param script: the file to start again inside that environment; None to run in the present one.
    :returns: the exit code.
    """
    code = _code_of_launch(script, texts)
    processes = sys.modules.get("S3NetSegmentLib.engine.training.trainer.processes")
    if processes is not None:
        processes.end_at_once_if_joined(code)
    return code


def _code_of_launch(script: str, texts: list[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a file name that the terminal cannot show is not a reason to fail
    interrupted = _note_interrupts()
    debug = bool(os.environ.get("S3NET_DEBUG"))
    try:
        # Bad arguments are refused before anything is downloaded; help and version need no environment.
        arguments = build_parser().parse_args(texts)
        arguments.check(arguments)
        debug = debug or arguments.debug
        if script is not None:
            enter(script, texts, quiet=arguments.quiet)
        return run(arguments)
    except SystemExit as stop:  # argparse: 0 after help, 2 after a bad argument
        return stop.code if isinstance(stop.code, int) else 1
    except KeyboardInterrupt:
        return _stopped(interrupted())
    except BrokenPipeError:
        # Who read our output has gone; what is still buffered must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if interrupted():  # an interrupt inside an import can surface as another error
            return _stopped(interrupted())
        return _failed(_text_of(error), _code_of(error), debug, expected=_is_expected(error))


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="s3net", description=DESCRIPTION, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"s3net {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    for command in COMMANDS:
        command.register(commands)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Runs the parsed command; returns the exit code. Errors pass through."""
    code = arguments.run(arguments)
    sys.stdout.flush()
    return code


def _note_interrupts():
    """Notes Ctrl-C besides raising KeyboardInterrupt, and treats a polite kill (SIGTERM) alike; returns a function
    that gives the number of the first signal that came, 0 if none did. A process started with SIGINT ignored (nohup, a background job) goes on ignoring it."""
    interrupts.clear()

    def handler(number, frame):
        interrupts.append(number)
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, handler)
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, handler)
    return lambda: interrupts[0] if interrupts else 0


def _is_memory(error: Exception) -> bool:
    """Whether the memory was not enough; torch says that with errors of other kinds, and where Python cannot even make the
    exception that a function in C asks for, it raises SystemError."""
    signs = {
        MemoryError: ("",),
        RuntimeError: ("could not create a primitive", "allocate memory"),
        SystemError: ("without exception set", "without setting an exception"),
    }
    return any(isinstance(error, kind) and any(sign in str(error) for sign in said) for kind, said in signs.items())


def _is_expected(error: Exception) -> bool:
    """Whether the error's text was written for the user, or is replaced by one that was."""
    if _is_memory(error):
        return True
    if isinstance(error, ImportError):
        return not (error.name or "").startswith("S3NetSegmentLib")
    if isinstance(error, OSError):
        return True
    return type(error).__module__.startswith("S3NetSegmentLib.")


def _code_of(error: Exception) -> int:
    # By name: the engine may not be importable where this runs.
    is_input = any(kind.__name__ == "InputError" for kind in type(error).__mro__)
    return 2 if is_input and _is_expected(error) else 1


def _text_of(error: Exception) -> str:
    if _is_memory(error) and not type(error).__module__.startswith("S3NetSegmentLib."):
        return "the memory of this machine is full; use fewer slices (--slices A:B) or smaller work sizes ('s3net settings')"
    if isinstance(error, ImportError) and _is_expected(error):
        return (
            f"a package does not load: {error}; delete the environment ({sys.prefix}) if s3net made it, else repair it "
            "with pip, and start again"
        )
    return " ".join(str(error).split()) or type(error).__name__


def _failed(text: str, code: int, debug: bool, expected: bool = True) -> int:
    if debug:
        traceback.print_exc()
    hint = "" if expected or debug else " (a defect; please report it with the output of the same command and --debug)"
    print(f"s3net: error: {text}{hint}", file=sys.stderr, flush=True)
    return code


def _stopped(number: int) -> int:
    # A second Ctrl-C while leaving would print a traceback.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print("\ns3net: stopped; no file was left half-written", file=sys.stderr, flush=True)
    return 128 + (number or signal.SIGINT)
