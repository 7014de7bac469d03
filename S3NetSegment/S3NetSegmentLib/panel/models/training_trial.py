"""How long a training would take on this machine: a dry run of the command line. No widgets."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from slicer.i18n import tr as _

from ...engine.tasks.train import TrainTask
from ..sentences import sentence
from .training_process import kill_with_children, last_words, refuse_what_cannot_be_trained, slicer_python, start_s3net


class TrainingTrial:
    """One trial at a time. Call :meth:`look` now and then.

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

    def look(self) -> bool:
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
