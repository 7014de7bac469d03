"""Training in the panel: start, stop and resume a run, and watch how it goes. The work is done by another process."""

from __future__ import annotations

from collections.abc import Callable

import slicer
from slicer.i18n import tr as _

from ...engine import InputError
from ...engine.tasks.train import TrainTask
from ..run import time_left_text, timer
from ..widgets.choosing import PathRow
from ..widgets.looks import set_property
from ..widgets.torch_row import has_torch
from .training_form import KINDS, TrainingForm
from .training_process import TrainingTrial, learning_curve
from .training_run import TrainingRun

RUN_KEY = "S3NetSegment/RunFolder"
_REFRESH_EVERY = 1000  # ms
_SHOWN_LINES = 40
_BUTTON = {"start": _("Start training"), "resume": _("Resume"), "longer": _("Train longer"), "stop": _("Stop")}
_HELP = {
    "start": _(
        "Train in a process of its own. It goes on when this panel or Slicer is closed, and is found again here."
    ),
    "resume": _(
        "Go on where the run was stopped, to the same result as without the stop. For another run choose another folder."
    ),
    "longer": _(
        "Go on from its end, with more time (or steps=... among the settings). For another run choose another folder."
    ),
    "stop": _("Finish the present step, save the state, and end. The run can be resumed."),
}


class TrainingSection:
    """The run is found by its folder, which is kept in the scene and remembered on this machine.

    :param panel: the panel, which shows messages.
    :param cohort: gives the folder of the cohort.
    :param use_model: called with the path of a model to apply.
    """

    def __init__(self, ui, panel, cohort: Callable[[], str], use_model: Callable[[str], object]):
        self._ui, self._panel, self._cohort, self._use_model = ui, panel, cohort, use_model
        self.run: TrainingRun | None = None
        self.trial = TrainingTrial()
        self.form = TrainingForm(ui, cohort)
        self._node, self._active, self._shown = None, False, None
        self._folder = PathRow(
            ui.runFolderEdit, ui.runFolderButton, _("Folder of the training run"), RUN_KEY, "folder", on_change=self._chosen
        )  # fmt: skip
        self._try_help = ui.tryTrainingButton.toolTip
        ui.startTrainingButton.connect("clicked()", self._start_or_stop)
        ui.tryTrainingButton.connect("clicked()", self._try_or_stop)
        ui.killTrainingButton.connect("clicked()", self._kill)
        ui.useModelButton.connect("clicked()", self._use)
        ui.trainingCollapsibleButton.connect("contentsCollapsed(bool)", lambda _: self._show())
        self._timer = timer(_REFRESH_EVERY, self.refresh, repeats=True)

    def show(self, parameter_node) -> None:
        """Follows the parameter node: the run folder of a scene is that of its run. None: the scene closes."""
        self._node = parameter_node
        if parameter_node is not None and parameter_node.runFolder not in ("", self._folder.path):
            self._folder.set(parameter_node.runFolder)

    def set_active(self, active: bool) -> None:
        """Whether the user sees the section. The process does not mind."""
        self._active = active
        if active:
            self._found()
            self._timer.start()
        else:
            self._timer.stop()
            self.trial.stop()

    def cohort_chosen(self) -> None:
        """Proposes a folder for the run of another cohort."""
        if not self._folder.path and self._cohort():
            self._folder.set(self._cohort() + "_model")
        self._show()

    def refresh(self) -> None:
        self.trial.refresh()
        if self.run is not None:
            try:
                self.run.refresh()
            except InputError as error:
                self._panel.refused(str(error))
                return
        self._show()

    # -- inside

    def _chosen(self) -> None:
        """Another run folder is chosen, here or by the scene."""
        if self._node is not None and self._node.runFolder != self._folder.path:
            self._node.runFolder = self._folder.path
        self._found()

    def _found(self) -> None:
        """Another run folder is chosen, or the section is shown again."""
        path = self._folder.path
        if self.run is None or str(self.run.folder.path) != path:
            self.run = TrainingRun(path) if path else None
            task = self.run.task() if self.run is not None else None
            if task is not None:
                self.form.fill(task)
                self._ui.trainingCollapsibleButton.collapsed = False
        self.refresh()

    def _start_or_stop(self) -> None:
        run = self.run

        def act() -> None:
            if run is None:
                raise InputError(_("no folder for the run is chosen; choose or make one"))
            run.refresh()
            if run.is_busy:
                run.stop()
            elif self._has_torch():
                self.trial.stop()
                run.start(self._task(), resume=run.can_resume)
                if self._node is not None:
                    self._node.runFolder = self._folder.path

        self._do(act)

    def _try_or_stop(self) -> None:
        def act() -> None:
            if self.trial.is_running:
                self.trial.stop()
            elif self._has_torch():
                self.trial.start(self._task())

        self._do(act)

    def _do(self, action: Callable[[], object]) -> None:
        """What a button does; what the user can mend is said."""
        self._panel.message.hide()
        try:
            action()
        except (InputError, OSError, ValueError) as error:  # a process that cannot be started, quotes that do not close
            self._panel.refused(str(error))
        self._show()

    def _has_torch(self) -> bool:
        if not has_torch():
            self._panel.torch_missed(_("Training needs PyTorch, which is not installed; see the top of the panel"))
        return has_torch()

    def _task(self) -> TrainTask:
        begun = self.run.task() if self.run is not None else None
        return self.form.task(begun.cohort if begun is not None else "")

    def _kill(self) -> None:
        text = _("The run does not answer. End its process now? What it did since its last saved state is lost.")
        if self.run is not None and slicer.util.confirmOkCancelDisplay(text, _("Kill the training run")):
            self.run.kill()
        self._show()

    def _use(self) -> None:
        model = self.run.model if self.run is not None else None
        if model is None:
            return
        if self.form.kind.needs_labels:
            self._use_model(str(model))
        else:  # an encoder is a start for a segmentation model
            self.form.start_a_model_from(str(model))
            self._folder.set("")

    def _show(self) -> None:
        ui, run = self._ui, self.run
        busy = run is not None and run.is_busy
        what = "stop" if busy else "resume" if run is not None and run.can_resume else "start"
        what = "longer" if what == "resume" and run.state == "finished" else what
        text = _BUTTON[what]
        stopping = busy and run.state == "stopping"
        words = self._words(stopping)
        problem = "" if busy else self.form.problem
        for widget, name, value in (
            (ui.startTrainingButton, "text", _("Stopping...") if stopping else text),
            (ui.startTrainingButton, "enabled", not stopping and not problem),
            (ui.startTrainingButton, "toolTip", problem or _HELP[what]),
            (ui.tryTrainingButton, "enabled", self.trial.is_running or not problem),
            (ui.tryTrainingButton, "toolTip", problem or self._try_help),
            (ui.tryTrainingButton, "text", _("Cancel") if self.trial.is_running else _("How long?")),
            (ui.trainingStateText, "text", words),
            (ui.trainingStateText, "visible", bool(words)),  # an empty line would be a gap
            (ui.trainingProgressBar, "value", int(1000 * min(max(run.log.progress, 0), 1)) if run is not None else 0),
        ):
            set_property(widget, name, value)
        ui.tryTrainingButton.setVisible(not busy)
        ui.killTrainingButton.setVisible(busy and run.can_kill)
        has_model = run is not None and run.model is not None
        ui.useModelButton.setVisible(has_model and self.form.kind is not KINDS["alpnet"])  # that is chosen in Few-shot
        ui.useModelButton.text = _("Use its model") if self.form.kind.needs_labels else _("Start a model from it")
        self.form.set_enabled(not busy)
        self.form.show_hint()
        ui.trainingProgressBar.setVisible(busy)
        self._show_log(run.log if run is not None else None)

    def _words(self, stopping: bool) -> str:
        """How the run is, or what a trial found."""
        run = self.run
        if self.trial.is_running:
            return _("Trying a few steps; the images are read first.")
        if self.trial.text and not (run is not None and run.is_busy):
            return self.trial.text
        if run is None:
            return _("Choose a folder for the run.")
        words, log = run.message, run.log
        if run.state == "running" and not words:
            words = (
                _("Running: step {step} of {steps}").format(step=log.losses[-1][0], steps=log.steps)
                if log.losses
                else _("Running: reading the images")
            )
        left = time_left_text(log.seconds_left) if run.is_busy and log.lines else ""
        return f"{words.rstrip('.')}, {left}." if left and not stopping else words

    def _show_log(self, log) -> None:
        ui = self._ui
        is_there = log is not None and bool(log.lines)
        ui.trainingCurve.setVisible(is_there and bool(log.losses or log.scores))
        ui.trainingLog.setVisible(is_there)
        if not is_there:
            self._shown = None
            return
        key = (id(log), len(log.losses), len(log.scores), len(log.lines), log.lines[-1])
        if key == self._shown:
            return
        self._shown = key
        ui.trainingCurve.setPixmap(
            learning_curve(log.losses, log.scores, log.steps, ui.trainingCurve.palette, log.joined)
        )
        ui.trainingLog.setPlainText("\n".join(log.lines[-_SHOWN_LINES:]))
        bar = ui.trainingLog.verticalScrollBar()
        bar.value = bar.maximum
