"""The model of a cohort in the panel: what it is good for, and a training of it in a process of its own."""

from __future__ import annotations

import subprocess
import time

import slicer
from slicer.i18n import tr as _

from ...engine import InputError
from ...engine.cohort_loop.model import FOLDER, ModelState, model_state
from ...engine.cohort_loop.store import CohortStore
from ..models.training_process import kill_with_children, last_words, slicer_python, start_s3net
from ..widgets.looks import set_property
from ..widgets.torch_row import has_torch

NO_FOLDER = _("Choose the folder with the images of your patients first.")
_OUTPUT = "output.txt"  # what the process says, beside the models: another Slicer reads it, too
_SILENT = 60.0  # seconds after which what is in it is of an earlier training: a line comes every few seconds


class LoopTraining:
    """The training of the model of one cohort. It goes on when the panel or Slicer is closed; only one runs for a folder."""

    def __init__(self, store: CohortStore):
        self._store = store
        self._process: subprocess.Popen | None = None
        self.output = store.work / FOLDER / _OUTPUT

    @property
    def is_mine(self) -> bool:
        """Whether the process that trains was started here, so that it can be stopped here."""
        return self._process is not None

    def start(self, minutes: int) -> None:
        """Raises InputError where somebody trains already, too little is accepted, or the process cannot be started."""
        state = self.state()
        if self.is_mine or state.in_training:
            raise InputError(_("a model of this folder is being trained already; wait for it"))
        if state.lacking:
            raise InputError(_("a model needs {n} more accepted cases").format(n=state.lacking))
        python = slicer_python()
        try:
            self.output.parent.mkdir(parents=True, exist_ok=True)
            arguments = ("cohort", str(self._store.folder), "train", "--minutes", str(minutes))
            self._process = start_s3net(python, arguments, self.output)
        except OSError as error:
            raise InputError(
                _("the training cannot be started in {folder!r} ({reason})").format(
                    folder=str(self._store.folder), reason=error.strerror
                )
            ) from None

    def stop(self) -> None:
        """Ends the process that was started here; the former model stays in use."""
        if self._process is not None:
            kill_with_children(self._process)
            self._process = None

    def ended(self) -> int | None:
        """The exit code, once, of a process of this object that has ended since the last look; else None."""
        code = None if self._process is None else self._process.poll()
        if code is not None:
            self._process = None
        return code

    def state(self) -> ModelState:
        """What is known of the model of the folder. InputError where that can no longer be opened."""
        return model_state(self._store)

    def said(self) -> str:
        """The last thing that a training from a panel said."""
        return last_words(self.output).removeprefix("s3net: ")

    def doing(self) -> str:
        """What the present training does; "" where that is not known: it was started elsewhere and says it elsewhere."""
        try:
            silent = time.time() - self.output.stat().st_mtime
        except OSError:
            return ""
        return self.said() if self.is_mine or silent < _SILENT else ""


class ModelRow:
    """Its widgets: a sentence about the model, minutes, and the button that starts or stops a training.

    :param panel: the panel, which shows messages.
    """

    def __init__(self, ui, panel):
        self._ui, self._panel = ui, panel
        self._training: LoopTraining | None = None  # that of the folder that is chosen
        self._trainings: dict[str, LoopTraining] = {}  # by folder: one goes on while another folder is looked at
        ui.trainLoopButton.connect("clicked()", self._start_or_stop)

    def refresh(self, store: CohortStore | None) -> None:
        self._training = None if store is None else self._trainings.setdefault(str(store.folder), LoopTraining(store))
        for training in self._trainings.values():
            code = training.ended()
            if code:
                said = training.said() or _("the process ended with code {code}").format(code=code)
                self._panel.refused(_("no model was trained: {said}").format(said=said))
            elif code == 0:
                self._panel.informed(_("The model is trained; see Model below the cases."))
        self._show()

    def _start_or_stop(self) -> None:
        self._panel.message.hide()
        training = self._training
        if training is None:
            return
        try:
            if training.is_mine:
                if slicer.util.confirmOkCancelDisplay(
                    _("Stop the training? What it has learnt so far is lost; the former model, if any, stays in use."),
                    _("Stop training"),
                ):
                    training.stop()
            elif not has_torch():
                self._panel.torch_missed(_("Training needs PyTorch, which is not installed; see the top of the panel"))
            else:
                training.start(int(self._ui.loopMinutes.value))
        except InputError as error:
            self._panel.refused(str(error))
        self._show()

    def _show(self) -> None:
        ui, training, state = self._ui, self._training, None
        if training is not None:
            try:
                state = training.state()
            except InputError:  # said by the list of cases
                pass
        mine = training is not None and training.is_mine
        busy = mine or (state is not None and state.in_training)
        ready = state is not None and not state.lacking
        text = NO_FOLDER if state is None else about(state)
        if busy:
            text = _("Training: {doing}.").format(doing=(training.doing() or _("under way")).rstrip("."))
        tip = _(
            "Train on all accepted cases in a process of its own, which goes on when Slicer is closed. Accepted cases are held "
            "out in turn, and the model is used only for the segments that it finds better than Few-shot."
        )
        if busy and not mine:
            tip = _("Somebody trains a model of this folder at the moment.")
        elif not ready:
            tip = _("A model is trained on accepted cases; accept more of them first.")
        for widget, name, value in (
            (ui.loopModelText, "text", text),
            (ui.trainLoopButton, "text", _("Stop training") if mine else _("Train a model")),
            (ui.trainLoopButton, "enabled", mine or (ready and not busy)),
            (ui.trainLoopButton, "toolTip", tip),
            (ui.loopMinutes, "enabled", ready and not busy),
        ):
            set_property(widget, name, value)


def about(state: ModelState) -> str:
    """What a user should know of the model, e.g. "Trained on 8 cases. Dice on held-out ones:" and a line for each segment."""
    trained = state.trained
    if trained is None:
        if state.lacking:
            return _("No model yet: it needs {n} more accepted cases.").format(n=state.lacking)
        return _("No model yet; there are enough accepted cases for one.")
    parts = []
    for name, score in trained.model.items():
        other = trained.few_shot.get(name)
        few_shot = "" if other is None else _(" (Few-shot {other:.2f})").format(other=other)
        use = _(", used") if name in trained.used else ""
        parts.append(f"{name} {score:.2f}{few_shot}{use}")
    lines = [_("Trained on {cases} cases. Dice on held-out ones:").format(cases=trained.cases), *parts]
    if not trained.used:
        lines.append(_("Few-shot is better or as good, so the model is not used."))
    if state.since:
        lines.append(_("Accepted since: {n}.").format(n=state.since))
    return "\n".join(lines)
