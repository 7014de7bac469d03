"""A training run as the panel knows it: a process of the command line of its own, and its run folder. No widgets.

The process is detached: it goes on when the panel or Slicer ends, and is found again by its folder.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from slicer.i18n import tr as _

from ...engine import InputError
from ...engine.common.json_file import read_json
from ...engine.images.files import replace_text
from ...engine.tasks.train import TrainTask, task_facts, task_of_facts
from ...engine.training.model.places import MODEL
from ...engine.training.trainer.run_folder import LOG, STATUS, RunFolder
from ..messages import sentence
from .training_process import (
    TrainingLog,
    as_in_panel,
    kill_process,
    kill_with_children,
    last_words,
    refuse_what_cannot_be_trained,
    slicer_python,
    start_s3net,
)

_OUTPUT, _TASK = "output.txt", "task.json"
BUSY = ("starting", "running", "stopping")
KILL_AFTER = 15.0  # seconds after Stop in which the run may still answer
_LONG_SILENT = 60.0  # seconds without a sign of life that are reported
_STOPPED_CODES = (130, 143)  # of the command line


class TrainingRun:
    """The run in ``folder``, begun here or elsewhere. Call :meth:`refresh` now and then.

    Attributes: ``state`` ("none", "starting", "running", "stopping", "stopped", "finished", "failed" or "lost": its process
    ended without a word, or gives no sign of life from another computer), ``message`` (about it), ``log`` (what was logged).
    """

    def __init__(self, folder: str | os.PathLike, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self.folder = RunFolder(folder)
        self.log = TrainingLog(self.folder.path / LOG)
        self.state, self.message = "none", ""
        self._process: subprocess.Popen | None = None
        self._stamp = None  # of the status file when the process was started
        self._is_told = False  # the process has written its status
        self._stop_asked: float | None = None  # when
        self.refresh()

    @property
    def is_busy(self) -> bool:
        return self.state in BUSY

    @property
    def can_resume(self) -> bool:
        return not self.is_busy and self.folder.has_state

    @property
    def model(self) -> Path | None:
        path = self.folder.path / MODEL
        return path if path.is_file() else None

    def task(self) -> TrainTask | None:
        """What the run was begun with from a panel; None if that is not known."""
        try:
            return task_of_facts(read_json(self.folder.path / _TASK))
        except (InputError, TypeError, KeyError, ValueError, AttributeError):
            return None

    def start(self, task: TrainTask, resume: bool = False) -> None:
        """Starts the process.

        :param resume: go on from the kept state, with the settings that it was begun with.
        :raises InputError: no cohort, a folder that is in use, no Python that can run it.
        """
        self.refresh()
        if self.is_busy:
            raise InputError(_("run {path!r} is running already; stop it first").format(path=str(self.folder.path)))
        if self.folder.has_state and not resume:
            raise InputError(
                _("{path!r} holds a training run already; resume it, or choose another folder").format(
                    path=str(self.folder.path)
                )
            )
        refuse_what_cannot_be_trained(task)
        arguments = [*task.arguments(), "-o", str(self.folder.path), *(["--resume"] if resume else []), "--quiet"]
        python = slicer_python()
        self.folder.make()
        self.folder.forget_stop()
        replace_text(self.folder.path / _TASK, json.dumps(task_facts(task), indent=2))
        self._stamp, self._is_told, self._stop_asked = self._status_stamp(), False, None
        self._process = start_s3net(python, arguments, self.folder.path / _OUTPUT)
        self.refresh()

    def stop(self) -> None:
        """Asks the run to save its state and to end after the present step. Works also where it was begun elsewhere."""
        if self.is_busy and self._stop_asked is None:
            self._stop_asked = self._clock()
            self.folder.ask_to_stop()
        self.refresh()

    @property
    def can_kill(self) -> bool:
        """Whether the run was asked to stop, has not done so for a while, and is a process of this machine."""
        if self.state != "stopping" or self._clock() - self._stop_asked < KILL_AFTER:
            return False
        return self._process is not None or self.folder.read_status().get("host") == platform.node()

    def kill(self) -> None:
        """Ends the process at once. What it did since its last saved state is lost; nothing else is."""
        self.refresh()
        if not self.is_busy:
            return
        if self.folder.is_running():  # then the number in the status is that of the process, and of no other
            kill_process(self.folder.read_status()["pid"])
        if self._process is not None:
            kill_with_children(self._process)
        kept = "no state was saved"  # no translation
        if self.folder.has_state:
            kept = "the last saved state is kept, go on with --resume"  # no translation
        self.folder.write_status("stopped", f"killed; {kept}")  # no translation
        self.folder.forget_stop()
        self._process, self._is_told = None, False
        self.refresh()

    def refresh(self) -> None:
        """Brings state, message and log up to date."""
        ended = self._process.poll() if self._process is not None else None  # also takes an ended process off the list
        if self._process is not None and self._status_stamp() != self._stamp:
            self._is_told = True
        status = self._status()
        self.log.read()
        if self._process is not None and not self._is_told:
            if ended is None:
                self.state, self.message = "starting", _("Starting; the images are read next.")
            elif ended in _STOPPED_CODES:
                self.state, self.message = "stopped", _("Stopped before training began.")
            else:
                self.state, self.message = (
                    "failed",
                    last_words(self.folder.path / _OUTPUT)
                    or _("The process ended with code {ended}.").format(ended=ended),
                )
        else:
            self.state, self.message = self._told(status)
        if ended is not None:
            self._process = self._process if not self._is_told else None
        if self.is_busy and (self._stop_asked is not None or self.folder.stop_is_asked):
            self._stop_asked = self._clock() if self._stop_asked is None else self._stop_asked
            self.folder.ask_to_stop()
            self.state, self.message = "stopping", _("Stopping: the present step is finished and the state saved.")
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
        elsewhere = (
            ""
            if status.get("host") == platform.node()
            else _(" on the computer {name}").format(name=status.get("host"))
        )
        if told == "running":
            silent = self.folder.seconds_silent or 0.0
            if silent > _LONG_SILENT:
                return "running", _("Running{elsewhere}, but without a sign of life for {minutes:.0f} min.").format(
                    elsewhere=elsewhere, minutes=silent / 60
                )
            return "running", f"Running{elsewhere}." if elsewhere else ""
        if told == "lost":
            if elsewhere:
                return told, _("It was running{elsewhere}, which no longer gives a sign of life.").format(
                    elsewhere=elsewhere
                )
            return told, _("Its process ended without a word. {last_words}").format(
                last_words=last_words(self.folder.path / _OUTPUT)
            ).strip()
        if told == "stopped":
            return told, sentence(as_in_panel(message))
        if told in ("finished", "failed"):
            where = _(" Values like these are set among the settings, above.") if "learning_rate=" in message else ""
            return told, f"{told.capitalize()}: {as_in_panel(message)}.{where}"
        return "none", ""

    def _status_stamp(self):
        try:
            facts = (self.folder.path / STATUS).stat()
        except OSError:
            return None
        return facts.st_mtime_ns, facts.st_ino
