"""Processes of the command line that the panel starts, with Slicer's own Python, the trial of how long a training
would take, and the log of a training run while it grows: learning curve, time left, last lines."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from ...engine import InputError
from ...engine.tasks.train import TrainTask
from ..messages import sentence

_SCRIPT = Path(__file__).parents[3] / "s3net"
_LAST_WORDS = 4000  # characters at the end of what a process has said
_MOST_POINTS = 2000  # of a curve; a longer one is thinned out
_MOST_LINES = 200
SIZE = (320, 130)  # pixels; the panel is 380 wide
_OF_THE_COMMAND_LINE = (
    (r"go on with --resume", _("resume it to go on")),  # no translation
    (r"Begin anew without --resume, or in another folder", _("Begin anew in another folder")),  # no translation
    (r"[;,] or leave such (cases|files) out with --skip-bad", ""),  # no translation
    (r" \('s3net [^']*' explains\)", ""),  # no translation
    (r"--output '", _("the folder for the run, ") + "'"),  # no translation
    (r", or run s3net pretrain, [^.]*", _(", or train a start for it")),  # no translation
)
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 30, 8, 18
_LOSS, _SCORE = (66, 133, 200), (225, 120, 40)


def slicer_python() -> str:
    """Slicer's own Python. Raises InputError if it is not found."""
    found = shutil.which("PythonSlicer")
    if found is None:
        name = "PythonSlicer.exe" if os.name == "nt" else "PythonSlicer"
        beside = os.path.join(getattr(slicer.app, "slicerHome", ""), "bin", name)
        found = beside if os.path.isfile(beside) else None
    if found is None and Path(sys.executable).name.lower().startswith("python"):
        found = sys.executable
    if found is None:
        raise InputError(
            _("PythonSlicer, which belongs to Slicer, is not found; train with the command line s3net instead")
        )
    return found


def refuse_what_cannot_be_trained(task: TrainTask) -> None:
    """Raises InputError for what can be seen before a process is started."""
    if not task.cohort:
        raise InputError(_("no training folder is chosen; choose the one to train on"))
    if not (Path(task.cohort) / "images").is_dir():
        raise InputError(
            _("{cohort!r} is not a training folder: it has no folder 'images'; add cases to it first").format(
                cohort=task.cohort
            )
        )


def start_s3net(
    python: str, arguments: Sequence[str], output: Path, errors: Path | None = None, temporary: Path | None = None
) -> subprocess.Popen:
    """Starts ``s3net`` with ``arguments``; what it says goes to the file ``output``, or its errors to another one.

    :param temporary: folder for its temporary files; it may be killed before it removes them.
    """
    places = {name: str(temporary) for name in ("TMPDIR", "TEMP", "TMP")} if temporary else {}
    with open(output, "wb") as said, open(errors or os.devnull, "wb") as wrong:
        return subprocess.Popen(
            [python, str(_SCRIPT), *arguments],
            stdin=subprocess.DEVNULL, stdout=said, stderr=wrong if errors else said,
            env={**os.environ, **places}, **_detached(),
        )  # fmt: skip


def kill_process(pid: int) -> None:
    """Ends the process ``pid`` of this machine, if it is still there."""
    with contextlib.suppress(OSError):
        os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))  # on Windows every signal ends a process at once


def kill_with_children(process: subprocess.Popen) -> None:
    """Ends a process of :func:`start_s3net`; PythonSlicer is only the launcher of the real one."""
    if os.name == "nt":
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True, check=False)
    else:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def last_words(path: Path) -> str:
    """The error at the end of what a process said into the file ``path``, else its last line; "" without any."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")[-_LAST_WORDS:]
    except OSError:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.removeprefix("s3net: error: ") for line in lines if line.startswith("s3net: error: ")]
    return as_in_panel((errors or lines or [""])[-1])


def as_in_panel(text: str) -> str:
    """What the command line says, ``text``, without options that the panel does not have."""
    for said, shown in _OF_THE_COMMAND_LINE:
        text = re.sub(said, shown, text)
    return text


def _detached() -> dict:
    """Options of Popen: the process goes on without us."""
    if os.name == "nt":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW, "close_fds": True}
    return {"start_new_session": True, "close_fds": True}


class TrainingTrial:
    """One trial at a time. Call :meth:`refresh` now and then.

    Attributes: ``text``, what it found, or why it failed; "" before.
    """

    def __init__(self):
        self.text = ""
        self._process: subprocess.Popen | None = None
        self._place: tempfile.TemporaryDirectory | None = None

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def start(self, task: TrainTask) -> None:
        """Raises InputError for what can be seen to be wrong at once."""
        self.stop()
        refuse_what_cannot_be_trained(task)
        arguments = [*task.arguments(), "--dry-run", "--json", "--quiet"]
        self._place = tempfile.TemporaryDirectory(prefix="s3net")
        folder = Path(self._place.name)
        self._process = start_s3net(slicer_python(), arguments, folder / "facts.json", folder / "errors.txt", folder)

    def refresh(self) -> bool:
        """Whether it has ended since the last look."""
        if self._process is None or self._process.poll() is None:
            return False
        folder = Path(self._place.name)
        try:
            self.text = _sentence(json.loads((folder / "facts.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError):
            said = last_words(folder / "errors.txt") or _("the trial ended with code {returncode}").format(
                returncode=self._process.returncode
            )
            self.text = _("It cannot be trained: {said}.").format(said=said)
        self._end()
        return True

    def stop(self) -> None:
        if self._process is not None:
            kill_with_children(self._process)
            self._end()
        self.text = ""

    def _end(self) -> None:
        self._process = None
        try:
            self._place.cleanup()
        except OSError:  # Windows may still hold a file
            pass


def _sentence(facts: dict) -> str:
    device = {"cpu": "CPU", "mps": _("Apple GPU")}.get(facts["device"], f"GPU ({facts['device']})")
    text = _("All {steps} steps would take about {duration} on the {device}").format(
        steps=facts["steps"], duration=facts["duration"], device=device
    )
    if "steps_in_time" in facts and facts["steps_in_time"] < facts["steps"]:
        text += _("; in the chosen time about {steps} fit").format(steps=facts["steps_in_time"])
    notes = "".join(f" {sentence(note)}" for note in facts["notes"])
    return f"{text}.{notes}"


class TrainingLog:
    """Reads ``log.jsonl`` of a run folder, each time only what is new.

    Attributes: ``losses`` and ``scores`` (lists of (step, value)), ``joined`` (the first step with unlabelled slices, None before),
    ``steps`` (planned, 0 while that is not known), ``progress`` (0 to 1), ``lines`` (texts
    for people).
    """

    def __init__(self, path: Path):
        self._path = path
        self._forget()

    @property
    def seconds_left(self) -> float | None:
        """How long it will still take, by what it took so far; None while that cannot be said."""
        if not 0.01 < self.progress <= 1 or self._seconds <= 0:
            return None
        return self._seconds * (1 - self.progress) / self.progress

    def read(self) -> bool:
        """Reads what is new; returns whether anything was."""
        try:
            facts = self._path.stat()
        except OSError:
            changed = self._offset > 0
            self._forget()
            return changed
        key = facts.st_ino
        if facts.st_size < self._offset or key != self._key:  # a resumed run takes out what it does again
            self._forget()
        self._key = key
        if facts.st_size == self._offset:
            return False
        try:
            with open(self._path, "rb") as file:
                file.seek(self._offset)
                new = file.read()
        except OSError:  # a folder, or forbidden
            return False
        end = new.rfind(b"\n") + 1  # the last line may be half written
        self._offset += end
        for line in new[:end].decode("utf-8", "replace").splitlines():
            with contextlib.suppress(ValueError, TypeError):  # what another program wrote there
                entry = json.loads(line)
                if isinstance(entry, dict) and isinstance(entry.get("step", 0), int):
                    self._take(entry)
        return end > 0

    def _forget(self) -> None:
        self._offset, self._key = 0, None
        self.losses: list[tuple[int, float]] = []
        self.scores: list[tuple[int, float]] = []
        self.lines: list[str] = []
        self.joined: int | None = None
        self.steps, self.progress, self._seconds = 0, 0.0, 0.0

    def _take(self, entry: dict) -> None:
        event, step = entry.get("event"), entry.get("step", 0)
        if event is None and isinstance(entry.get("loss"), (int, float)):
            self.losses.append((step, float(entry["loss"])))
            self.steps = entry.get("steps", self.steps)
            if self.joined is None and entry.get("unlabelled") is not None:
                self.joined = step
            self.progress, self._seconds = float(entry.get("progress", 0)), float(entry.get("seconds", 0))
            planned = f" of {self.steps}" if self.steps else ""
            self.lines.append(f"step {step}{planned}: loss {entry['loss']:.4g}")
        elif event == "validation" and isinstance(entry.get("score"), (int, float)):
            self.scores.append((step, float(entry["score"])))
            self.lines.append(_("step {step}: validation score {score:.3f}").format(step=step, score=entry["score"]))
        elif event == "note":
            self.lines.append(str(entry.get("text", "")))
        elif event == "end":
            self.lines.append(_("step {step}: end ({reason})").format(step=step, reason=entry.get("reason", "")))
        elif event == "failed":
            text = _("step {step}: failed ({broken} is NaN)")
            self.lines.append(text.format(step=step, broken=entry.get("broken", "")))
        del self.lines[:-_MOST_LINES]
        if len(self.losses) > _MOST_POINTS:
            self.losses = self.losses[::2]


def learning_curve(
    losses: Sequence[tuple[int, float]],
    scores: Sequence[tuple[int, float]],
    steps: int,
    palette,
    joined: int | None = None,
) -> qt.QPixmap:
    """A picture of :data:`SIZE`.

    :param losses, scores: (step, value), in order; the last of them is the right end of the picture.
    :param steps: planned; 0 while that is not known.
    :param joined: the first step with unlabelled slices, from which on the loss has one part more; None: none yet.
    :param palette: of the widget that shows it, for background and text.
    """
    width, height = SIZE
    pixmap = qt.QPixmap(width, height)
    pixmap.fill(palette.color(qt.QPalette.Base))
    painter = qt.QPainter(pixmap)
    painter.setRenderHint(qt.QPainter.Antialiasing, True)
    last = max([1, *(step for step, _value in (*losses[-1:], *scores[-1:]))])
    low, high = _range([value for _step, value in losses])

    def x(step: float) -> float:
        return _LEFT + (width - _LEFT - _RIGHT) * step / last

    def y(share: float) -> float:
        return height - _BOTTOM - (height - _TOP - _BOTTOM) * min(max(share, 0.0), 1.0)

    ink, loss, score = palette.color(qt.QPalette.Text), qt.QColor(*_LOSS), qt.QColor(*_SCORE)

    def write(color, left: int, top: int, wide: int, side: str, text: str) -> None:
        painter.setPen(color)
        painter.drawText(left, top, wide, 14, int(getattr(qt.Qt, side)) | int(qt.Qt.AlignVCenter), text)

    painter.setPen(palette.color(qt.QPalette.Mid))
    for share in (0.0, 0.5, 1.0):
        painter.drawLine(int(x(0)), int(y(share)), int(x(last)), int(y(share)))
    if joined is not None:
        place, wide = int(x(joined)), 130
        pen = qt.QPen(ink)
        pen.setStyle(qt.Qt.DotLine)
        painter.setPen(pen)
        painter.drawLine(place, _TOP, place, height - _BOTTOM)
        if place + wide < width - _RIGHT:
            write(ink, place + 4, _TOP, wide, "AlignLeft", _("unlabelled slices join"))
        else:
            write(ink, place - wide - 4, _TOP, wide, "AlignRight", _("unlabelled slices join"))
    _line(painter, [(x(s), y((v - low) / (high - low))) for s, v in losses], loss)
    _line(painter, [(x(s), y(v)) for s, v in scores], score, dots=True)
    for share in (0.0, 1.0):
        top = int(y(share)) - 7
        write(loss, 0, top, _LEFT - 4, "AlignRight", f"{low + share * (high - low):.3g}")
        if scores:
            write(score, width - _RIGHT + 4, top, _RIGHT - 4, "AlignLeft", f"{share:g}")
    step = _("step {last} of {steps}") if steps else _("step {last}")
    write(ink, _LEFT, height - 15, width - _LEFT - _RIGHT, "AlignRight", step.format(last=last, steps=steps))
    write(loss, _LEFT, height - 15, 60, "AlignLeft", "loss")
    if scores:
        write(score, _LEFT + 40, height - 15, 120, "AlignLeft", "validation")
    painter.end()
    return pixmap


def _line(painter, points: Sequence[tuple[float, float]], color, dots: bool = False) -> None:
    if not points:
        return
    pen = qt.QPen(color)
    pen.setWidthF(1.5)
    painter.setPen(pen)
    path = qt.QPainterPath()
    path.moveTo(*points[0])
    for point in points[1:]:
        path.lineTo(*point)
    painter.drawPath(path)
    for px, py in points if dots or len(points) == 1 else ():
        painter.drawEllipse(int(px) - 2, int(py) - 2, 4, 4)


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Bottom and top of the axis of the losses; a few wild first values do not flatten the rest."""
    if not values:
        return 0.0, 1.0
    ordered = sorted(values)
    low, high = min(0.0, ordered[0]), ordered[int(0.98 * (len(ordered) - 1))]
    return (low, high) if high > low else (low, low + 1.0)
