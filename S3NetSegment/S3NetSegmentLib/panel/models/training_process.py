"""Processes of the command line that the panel starts, with Slicer's own Python, and the trial of how long a training would take."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from ...engine import InputError
from ...engine.tasks.train import TrainTask
from ..messages import sentence

_SCRIPT = Path(__file__).parents[3] / "s3net"
_LAST_WORDS = 4000  # characters at the end of what a process has said


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
    return (errors or lines or [""])[-1]


def _detached() -> dict:
    """Options of Popen: the process goes on without us."""
    if os.name == "nt":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW, "close_fds": True}
    return {"start_new_session": True, "close_fds": True}


class TrainingTrial:
    """One trial at a time. Call :meth:`refresh` now and then.

    Attributes: ``text``, what it found, or why it failed; "" before.
    """

    def __init__(self, python: Callable[[], str] | None = None):
        self.text = ""
        self._python = python
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
        self._process = start_s3net(
            (self._python or slicer_python)(), arguments, folder / "facts.json", folder / "errors.txt", folder
        )

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
        """Drops the present trial."""
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
