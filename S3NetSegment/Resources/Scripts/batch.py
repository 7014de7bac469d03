"""Runs a batch in Slicer, without its window. Where Slicer is not needed, `s3net batch` does the same with several processes.

    Slicer --no-splash --no-main-window --python-script batch.py MANIFEST -o DIR [options]

MANIFEST is the one of `s3net batch` (`s3net batch --help` explains it): a .csv or .json file, or a folder of images. Images of
formats that only Slicer or one of its extensions knows are read by it; segmentations are written by Slicer itself. Ends with 0 if all went well, 1 if a case failed, 2 for wrong
arguments or a wrong manifest, 130 or 143 if it was stopped.
"""

import argparse
import signal
import sys
import traceback
from pathlib import Path

import slicer


def main(arguments):
    """Does the work; returns the exit code."""
    from S3NetSegment import S3NetSegmentLogic

    options = parsed(arguments)
    defaults = dict(text.split("=", 1) for text in options.defaults)
    stopped = StopSignals()
    try:
        return S3NetSegmentLogic().runBatch(
            options.manifest, options.output, resume=options.resume, keepGoing=options.keep_going, dryRun=options.dry_run,
            pattern=options.pattern, defaults=defaults, device=options.device, say=say,
        )  # fmt: skip
    except ValueError as error:  # the engine's InputError: input that cannot be used
        for problem in getattr(error, "problems", [str(error)]):
            print(f"error: {problem}", file=sys.stderr, flush=True)
        return 2
    except KeyboardInterrupt:
        say("stopped; what is finished is kept, --resume goes on")
        return stopped.code
    finally:
        stopped.restore()


def parsed(arguments):
    parser = argparse.ArgumentParser(prog="batch.py", description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("manifest", metavar="MANIFEST", help="a .csv or .json file, or a folder of images")
    parser.add_argument("-o", "--output", metavar="DIR", required=True, help="folder of the results")
    parser.add_argument("--resume", action="store_true", help="skip the cases that are finished")
    parser.add_argument("--keep-going", action="store_true", help="go on after a failed case")
    parser.add_argument("--dry-run", action="store_true", help="check everything, print the plan and end")
    parser.add_argument("--pattern", metavar="GLOB", help="for a folder: which files, e.g. '*.nrrd'")
    parser.add_argument(
        "--default", dest="defaults", metavar="COLUMN=VALUE", action="append", default=[], type=assignment
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    return parser.parse_args(arguments)


def assignment(text):
    if not text.partition("=")[2]:
        raise argparse.ArgumentTypeError(f"{text!r} is not understood; write COLUMN=VALUE, e.g. regions=6")
    return text


def say(text):
    print(text, flush=True)


class StopSignals:
    """Ctrl-C and a polite kill (SIGTERM) stop the batch between two steps; ``code`` is the exit code then."""

    def __init__(self):
        self.code = 130
        self._before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}

    def _stop(self, number, frame):
        self.code = 128 + number
        for other in self._before:
            signal.signal(other, signal.SIG_IGN)  # nothing disturbs the tidying up
        raise KeyboardInterrupt

    def restore(self):
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


if __name__ == "__main__":
    module = str(Path(__file__).resolve().parents[2])
    if module not in sys.path:
        sys.path.insert(0, module)  # also works where the extension is not installed
    try:
        code = main(sys.argv[1:])
    except SystemExit as stop:  # wrong arguments, or --help
        code = stop.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    slicer.util.exit(code)
