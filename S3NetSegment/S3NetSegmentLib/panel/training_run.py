"""A training run as the panel knows it: a process of the command line of its own, and its run folder. No widgets.

The process is detached: it goes on when the panel or Slicer ends, and is found again by its folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import slicer

from ..engine import InputError
from ..engine.images.files import replacing
from ..engine.json_file import read_json
from ..engine.training.run_folder import LOG, MODEL, STATUS, RunFolder
from .training_log import TrainingLog

_SCRIPT = Path(__file__).parents[2] / "s3net"
_OUTPUT, _ORDER = "output.txt", "order.json"
_LAST_WORDS = 4000  # characters at the end of what the process has said
KINDS = {"finetune": ("plus", "paper", "tiny"), "pretrain": ("default", "tiny")}
BUSY = ("starting", "running", "stopping")
KILL_AFTER = 15.0  # seconds after Stop in which the run may still answer
_LONG_SILENT = 60.0  # seconds without a sign of life that are told
_STOPPED_CODES = (130, 143)  # of the command line


@dataclass(frozen=True)
class TrainingOrder:
    """What is to be trained.

    :param kind: "finetune" (a segmentation model) or "pretrain" (an encoder).
    :param minutes: time for the whole run; 0: as long as the preset says.
    :param start_from: model file of an encoder, "": none; of "finetune" only.
    :param settings: "name=value name=value" that differ from the preset.
    """

    kind: str
    cohort: str
    preset: str
    minutes: float = 0.0
    start_from: str = ""
    settings: str = ""
    device: str = "auto"

    def arguments(self, run_folder: str | os.PathLike, resume: bool = False) -> list[str]:
        """The arguments of ``s3net``. Raises InputError for settings that are none."""
        texts = [self.kind, self.cohort, "-o", os.fspath(run_folder), "--preset", self.preset, "--device", self.device]
        if self.minutes > 0:
            texts += ["--minutes", f"{self.minutes:g}"]
        if self.start_from and self.kind == "finetune":
            texts += ["--init", self.start_from]
        for setting in shlex.split(self.settings):
            if "=" not in setting:
                raise InputError(f"setting {setting!r} is not of the form name=value, e.g. batch=4")
            texts += ["--set", setting]
        return [*texts, *(["--resume"] if resume else []), "--quiet"]


class TrainingRun:
    """The run in ``folder``, begun here or elsewhere. Call :meth:`look` now and then.

    Attributes: ``state`` ("none", "starting", "running", "stopping", "stopped", "finished", "failed" or "lost": its process
    ended without a word, or gives no sign of life from another computer), ``message`` (about it), ``log`` (what was logged).
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        python: Callable[[], str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """
        :param python: gives the Python that runs the command line; Slicer's own by default.
        """
        self._clock = clock
        self.folder = RunFolder(folder)
        self.log = TrainingLog(self.folder.path / LOG)
        self.state, self.message = "none", ""
        self._python = python or slicer_python
        self._process: subprocess.Popen | None = None
        self._stamp = None  # of the status file when the process was started
        self._is_told = False  # the process has written its status
        self._stop_asked: float | None = None  # when
        self.look()

    @property
    def is_busy(self) -> bool:
        return self.state in BUSY

    @property
    def can_resume(self) -> bool:
        """Whether there is a state to go on from."""
        return not self.is_busy and self.folder.has_state

    @property
    def model(self) -> Path | None:
        """The best model so far."""
        path = self.folder.path / MODEL
        return path if path.is_file() else None

    def order(self) -> TrainingOrder | None:
        """What the run was begun with from a panel; None if that is not known."""
        try:
            return TrainingOrder(**read_json(self.folder.path / _ORDER))
        except (InputError, TypeError):
            return None

    def start(self, order: TrainingOrder, resume: bool = False) -> None:
        """Starts the process.

        :param resume: go on from the kept state, with the settings that it was begun with.
        :raises InputError: no cohort, a folder that is in use, no Python that can run it.
        """
        self.look()
        if self.is_busy:
            raise InputError(f"run {str(self.folder.path)!r} is running already; stop it first")
        if self.folder.has_state and not resume:
            raise InputError(
                f"{str(self.folder.path)!r} holds a training run already; resume it, or choose another folder"
            )
        if not order.cohort:
            raise InputError("no cohort folder is chosen; choose the one to train on")
        if not (Path(order.cohort) / "images").is_dir():
            raise InputError(f"{order.cohort!r} is no cohort: it has no folder 'images'; save cases to it first")
        command = [self._python(), str(_SCRIPT), *order.arguments(self.folder.path, resume)]
        self.folder.make()
        self.folder.forget_stop()
        with replacing(self.folder.path / _ORDER) as temporary:
            temporary.write_text(json.dumps(asdict(order), indent=2), encoding="utf-8")
        self._stamp, self._is_told, self._stop_asked = self._status_stamp(), False, None
        with open(self.folder.path / _OUTPUT, "wb") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, **_detached()
            )
        self.look()

    def stop(self) -> None:
        """Asks the run to save its state and to end after the present step. Works also where it was begun elsewhere."""
        if self.is_busy and self._stop_asked is None:
            self._stop_asked = self._clock()
            self.folder.ask_to_stop()
        self.look()

    @property
    def can_kill(self) -> bool:
        """Whether the run was asked to stop, has not done so for a while, and is a process of this machine."""
        if self.state != "stopping" or self._clock() - self._stop_asked < KILL_AFTER:
            return False
        return self._process is not None or self.folder.read_status().get("host") == platform.node()

    def kill(self) -> None:
        """Ends the process at once. What it did since its last saved state is lost; nothing else is."""
        self.look()
        if not self.is_busy:
            return
        if self.folder.is_running():  # then the number in the status is that of the process, and of no other
            _kill(self.folder.read_status()["pid"])
        if self._process is not None:
            _kill_with_children(self._process)
        kept = "the last saved state is kept, go on with --resume" if self.folder.has_state else "no state was saved"
        self.folder.write_status("stopped", f"killed; {kept}")
        self.folder.forget_stop()
        self._process, self._is_told = None, False
        self.look()

    def look(self) -> None:
        """Brings state, message and log up to date."""
        ended = self._process.poll() if self._process is not None else None  # also takes an ended process off the list
        if self._process is not None and self._status_stamp() != self._stamp:
            self._is_told = True
        status = self._status()
        self.log.read()
        if self._process is not None and not self._is_told:
            if ended is None:
                self.state, self.message = "starting", "Starting; the images are read next."
            elif ended in _STOPPED_CODES:
                self.state, self.message = "stopped", "Stopped before training began."
            else:
                self.state, self.message = "failed", self._last_words() or f"The process ended with code {ended}."
        else:
            self.state, self.message = self._told(status)
        if ended is not None:
            self._process = self._process if not self._is_told else None
        if self.is_busy and (self._stop_asked is not None or self.folder.stop_is_asked):
            self._stop_asked = self._clock() if self._stop_asked is None else self._stop_asked
            self.folder.ask_to_stop()
            self.state, self.message = "stopping", "Stopping: the present step is finished and the state saved."
        elif not self.is_busy:
            self._stop_asked = None

    def _status(self) -> dict:
        """The status of the folder; "lost" in place of "running" where the process is gone."""
        status = self.folder.read_status()
        if status.get("status") != "running" or self.folder.is_running():
            return status
        status = self.folder.read_status()  # it may have ended in between, and said so
        return {**status, "status": "lost"} if status.get("status") == "running" else status

    def _told(self, status: dict) -> tuple[str, str]:
        """State and message from the run folder alone."""
        told, message = status.get("status", "none"), str(status.get("message", ""))
        elsewhere = "" if status.get("host") == platform.node() else f" on the computer {status.get('host')}"
        if told == "running":
            silent = self.folder.seconds_silent or 0.0
            if silent > _LONG_SILENT:
                return "running", f"Running{elsewhere}, but without a sign of life for {silent / 60:.0f} min."
            return "running", f"Running{elsewhere}." if elsewhere else ""
        if told == "lost":
            if elsewhere:
                return told, f"It was running{elsewhere}, which gives no sign of life any more."
            return told, f"Its process ended without a word. {self._last_words()}".strip()
        if told == "stopped":
            return told, f"{message[:1].upper()}{message[1:]}.".replace("go on with --resume", "resume it to go on")
        if told in ("finished", "failed"):
            return told, f"{told.capitalize()}: {message}."
        return "none", ""

    def _last_words(self) -> str:
        """The end of what the process said: its error."""
        try:
            text = (self.folder.path / _OUTPUT).read_text(encoding="utf-8", errors="replace")[-_LAST_WORDS:]
        except OSError:
            return ""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        errors = [line.removeprefix("s3net: error: ") for line in lines if line.startswith("s3net: error: ")]
        return (errors or lines or [""])[-1]

    def _status_stamp(self):
        try:
            facts = (self.folder.path / STATUS).stat()
        except OSError:
            return None
        return facts.st_mtime_ns, facts.st_ino


def _kill(pid: int) -> None:
    """Ends the process ``pid`` of this machine, if it is still there."""
    with contextlib.suppress(OSError):
        os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))  # on Windows every signal ends a process at once


def _kill_with_children(process: subprocess.Popen) -> None:
    """Ends a process of :func:`_detached`; PythonSlicer is only the launcher of the real one."""
    if os.name == "nt":
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True, check=False)
    else:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


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
            "PythonSlicer, which belongs to Slicer, is not found; train with the command line s3net instead"
        )
    return found


def _detached() -> dict:
    """Options of Popen: the process goes on without us."""
    if os.name == "nt":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW, "close_fds": True}
    return {"start_new_session": True, "close_fds": True}
