"""What commands say: progress (a bar on a terminal, a line now and then in a log, always on stderr), and how they end."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from .. import __version__

# Numbers of the signals that were to stop the program (Ctrl-C, SIGTERM), see ``main._note_interrupts``.
interrupts: list[int] = []


class ProgressDisplay:
    """Shows the steps of one long work. Call it with each ``Step``; use it as a context so that its line is ended.

    A step that comes after Ctrl-C raises KeyboardInterrupt: Python drops the one of the signal where it meets a destructor or a
    callback of an import.

    :param quiet: show nothing.
    :param clock: seconds, monotonic; for tests.
    """

    REDRAW_SECONDS = 0.1
    LOG_SECONDS = 5.0
    BAR_WIDTH = 24

    def __init__(self, quiet: bool = False, stream=None, clock=time.monotonic):
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._clock = clock
        self._terminal = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._started: float | None = None  # the first step: loading packages before it says nothing about the work
        self._shown: float | None = None
        self._open = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.clear()

    def __call__(self, step) -> None:
        if interrupts:
            raise KeyboardInterrupt
        now = self._clock()
        self._started = now if self._started is None else self._started
        pause = self.REDRAW_SECONDS if self._terminal else self.LOG_SECONDS
        if self._quiet or (self._shown is not None and now - self._shown < pause):
            return
        self._shown = now
        fraction = min(max(step.fraction, 0.0), 1.0)
        left = self._time_left(fraction, now)
        if not self._terminal:
            print(f"s3net: {fraction:4.0%} {step.message}{left}", file=self._stream, flush=True)
            return
        done = round(self.BAR_WIDTH * fraction)
        bar = "#" * done + "-" * (self.BAR_WIDTH - done)
        width = shutil.get_terminal_size().columns - 1
        self._stream.write("\r" + f"[{bar}] {fraction:4.0%} {step.message}{left}"[:width].ljust(width))
        self._stream.flush()
        self._open = True

    def note(self, text: str) -> None:
        """A line that the user should read, above the bar, also where it is quiet."""
        self.clear()
        print(f"s3net: {text}", file=self._stream, flush=True)

    def clear(self) -> None:
        if self._open:
            width = shutil.get_terminal_size().columns - 1
            self._stream.write("\r" + " " * width + "\r")
            self._stream.flush()
            self._open = False

    def _time_left(self, fraction: float, now: float) -> str:
        elapsed = now - self._started
        if elapsed < 1.0 or not 0.03 < fraction < 1.0:
            return ""  # too early to tell
        seconds = elapsed * (1 - fraction) / fraction
        return f", {seconds:.0f} s left" if seconds < 90 else f", {seconds / 60:.0f} min left"


@contextlib.contextmanager
def on_stop(handler: Callable[[int], object]) -> Iterator[None]:
    """Calls ``handler`` with the number of each Ctrl-C and polite kill (SIGTERM) inside. What is ignored, as by nohup and
    background jobs, stays ignored."""
    numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) not in (signal.SIG_IGN, None)]
    before = {n: signal.signal(n, lambda number, _: handler(number)) for n in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def about(arguments: argparse.Namespace, **further) -> dict:
    """How the JSON of every command begins."""
    return {"command": arguments.command, "version": __version__, **further}


def report(arguments: argparse.Namespace, facts, show: Callable[[], object], notes: Iterable[str] = ()) -> int:
    """How every command ends: ``facts`` as JSON, else ``show()`` prints for people, with --quiet neither; and the notes.

    :returns: exit code 0.
    """
    if arguments.json:
        print(json.dumps(facts, indent=2))
    elif not arguments.quiet:
        show()
    tell_notes(notes)
    return 0


def seconds_of(marks: Mapping[str, float]) -> dict[str, float]:
    """Seconds of each part of the work and in all. ``marks``: moments in seconds, each named after the work that it ends."""
    times = list(marks.items())
    parts = {name: round(at - times[n][1], 3) for n, (name, at) in enumerate(times[1:])}
    return {**parts, "total": round(times[-1][1] - times[0][1], 3)}


def tell_notes(notes: Iterable[str]) -> None:
    """What the user should know of a result, on stderr: also with --quiet and --json, and where stdout goes to a file."""
    for note in notes:
        print(f"s3net: note: {note}", file=sys.stderr, flush=True)


def print_written(outputs: Mapping[str, str]) -> None:
    """Says which files were written: what ("output", "overlay", ...) -> path."""
    for what, path in outputs.items():
        black = what == "output" and path.lower().endswith(".png") and "overlay" not in outputs
        hint = " (label values, nearly black in a viewer; --overlay draws a picture)" if black else ""
        print(f"wrote {shown_path(path)}{hint}")


def shown_path(path: str | os.PathLike) -> str:
    """``path`` as briefly as it can be copied: relative to the current folder if it lies inside, and no option."""
    try:
        relative = os.path.relpath(path)
    except ValueError:  # another drive of Windows
        relative = os.pardir
    if relative.startswith(os.pardir):
        return os.path.abspath(path)
    return os.path.join(os.curdir, relative) if relative.startswith("-") else relative
