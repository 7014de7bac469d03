"""Progress on a terminal, in a log, and none at all."""

import io
import signal
import subprocess
import sys

import pytest
from paths import MODULE

from S3NetSegmentLib.cli.terminal import ProgressDisplay
from S3NetSegmentLib.engine import Step


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def ordinary_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")


def shown(stream, seconds, **options):
    """What is on ``stream`` after 101 steps that take ``seconds`` together."""
    clock = Clock()
    with ProgressDisplay(stream=stream, clock=clock, **options) as progress:
        for percent in range(101):
            progress(Step(percent / 100, "Searching regions"))
            clock.now += seconds / 100
    return stream.getvalue()


def test_a_log_gets_a_line_every_five_seconds_at_most():
    lines = shown(io.StringIO(), 30.0).splitlines()
    assert 5 <= len(lines) <= 7
    assert lines[0] == "s3net:   0% Searching regions"
    assert lines[3].endswith("% Searching regions, 15 s left")


def test_quick_work_leaves_one_line_in_a_log():
    assert shown(io.StringIO(), 0.5).count("\n") == 1


def test_a_terminal_gets_one_bar_that_is_taken_away_at_the_end():
    text = shown(Terminal(), 30.0)
    assert "\n" not in text
    assert "[############------------]  50% Searching regions, 15 s left" in text
    frames = text.split("\r")
    assert max(map(len, frames)) < 80 and frames[-1] == "" and not frames[-2].strip()


def test_long_waits_are_told_in_minutes():
    assert ", 10 min left" in shown(io.StringIO(), 1200.0)


def test_a_dumb_terminal_is_treated_like_a_log(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    assert "\r" not in shown(Terminal(), 30.0)


def test_quiet_shows_nothing():
    for stream in (io.StringIO(), Terminal()):
        assert shown(stream, 30.0, quiet=True) == ""


SWALLOWED = """
import os, signal
from S3NetSegmentLib.cli import main, terminal
from S3NetSegmentLib.engine.common.progress import Step
main._note_interrupts()
class Interrupted:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):  # Python raises KeyboardInterrupt in here, and drops it
            pass
Interrupted()
print("went on")
try:
    terminal.ProgressDisplay()(Step(0.5, "half"))
except KeyboardInterrupt:
    print("stopped")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill sends no Ctrl-C on Windows")
def test_a_ctrl_c_that_python_drops_in_a_destructor_is_heeded_at_the_next_step():
    done = subprocess.run(
        [sys.executable, "-c", SWALLOWED], cwd=MODULE, capture_output=True, text=True, preexec_fn=_default_interrupt
    )
    assert done.stdout.split("\n")[:2] == ["went on", "stopped"] and "Exception ignored" in done.stderr


def _default_interrupt():
    signal.signal(signal.SIGINT, signal.default_int_handler)
