"""Training in the panel: start, stop and resume a run, and watch how it goes. The work is done by another process."""

from __future__ import annotations

from collections.abc import Callable

import qt

from ..engine import InputError
from .advanced_section import device_setting
from .learning_curve import learning_curve
from .path_row import PathRow
from .stepping import time_left_text
from .torch_support import has_torch
from .training_run import KINDS, TrainingOrder, TrainingRun

RUN_KEY = "S3NetSegment/RunFolder"
_LOOK_EVERY = 1000  # ms
_SHOWN_LINES = 40
_KIND_NAMES = {"finetune": "Segmentation model", "pretrain": "Encoder, without labels"}
_HELP = {
    "start": "Train in a process of its own. It goes on when this panel or Slicer is closed, and is found again here.",
    "resume": "Go on where the run was stopped, to the same result as without the stop.",
    "stop": "Finish the present step, save the state, and end. The run can be resumed.",
}


class TrainingSection:
    """The run is found by its folder, which is remembered on this machine.

    :param notify: the panel, which shows messages.
    :param cohort: gives the folder of the cohort.
    :param use_model: called with the path of a model to apply.
    """

    def __init__(self, ui, notify, cohort: Callable[[], str], use_model: Callable[[str], object]):
        self._ui, self._notify, self._cohort, self._use_model = ui, notify, cohort, use_model
        self.run: TrainingRun | None = None
        self._active, self._shown = False, None
        for kind in KINDS:
            ui.trainingKindBox.addItem(_KIND_NAMES[kind])
        self._fill_presets()
        self._folder = PathRow(
            ui.runFolderEdit, ui.runFolderButton, "Folder of the training run", RUN_KEY, "folder", on_change=self._found
        )  # fmt: skip
        self._start_from = PathRow(
            ui.trainingStartEdit, ui.trainingStartButton, "Trained encoder", "", "file", "Models (*.pt);;All files (*)"
        )
        ui.trainingKindBox.connect("currentIndexChanged(int)", lambda _: self._fill_presets())
        ui.startTrainingButton.connect("clicked()", self._start_or_stop)
        ui.useModelButton.connect("clicked()", self._use)
        self._timer = qt.QTimer()
        self._timer.setInterval(_LOOK_EVERY)
        self._timer.connect("timeout()", self.look)

    def set_active(self, active: bool) -> None:
        """Whether the user sees the section. The process does not mind."""
        self._active = active
        if active:
            self._found()
            self._timer.start()
        else:
            self._timer.stop()

    def cohort_chosen(self) -> None:
        """Proposes a folder for the run of another cohort."""
        if not self._folder.path and self._cohort():
            self._folder.set(self._cohort() + "_model")

    def look(self) -> None:
        """Brings everything up to date with the run folder."""
        if self.run is not None:
            try:
                self.run.look()
            except InputError as error:
                self._notify.refused(str(error))
                return
        self._show()

    # -- inside

    @property
    def _kind(self) -> str:
        return list(KINDS)[self._ui.trainingKindBox.currentIndex]

    def _found(self) -> None:
        """Another run folder is chosen, or the section is shown again."""
        path = self._folder.path
        if self.run is None or str(self.run.folder.path) != path:
            self.run = TrainingRun(path) if path else None
            order = self.run.order() if self.run is not None else None
            if order is not None and order.kind in KINDS:
                self._fill(order)
                self._ui.trainingCollapsibleButton.collapsed = False
        self.look()

    def _fill(self, order: TrainingOrder) -> None:
        ui = self._ui
        ui.trainingKindBox.currentIndex = list(KINDS).index(order.kind)
        self._fill_presets()
        if order.preset in KINDS[order.kind]:
            ui.trainingPresetBox.currentIndex = KINDS[order.kind].index(order.preset)
        ui.trainingMinutesBox.value = order.minutes
        ui.trainingSettingsEdit.text = order.settings
        self._start_from.set(order.start_from)

    def _fill_presets(self) -> None:
        box, presets = self._ui.trainingPresetBox, KINDS[self._kind]
        if [box.itemText(n) for n in range(box.count)] != list(presets):
            box.clear()
            box.addItems(list(presets))
        for widget in (self._ui.trainingStartLabel, self._ui.trainingStartRow):
            widget.setVisible(self._kind == "finetune")

    def _order(self) -> TrainingOrder:
        ui = self._ui
        cohort = self._cohort()
        if not cohort and self.run is not None and self.run.order() is not None:
            cohort = self.run.order().cohort
        return TrainingOrder(
            self._kind, cohort, ui.trainingPresetBox.currentText, float(ui.trainingMinutesBox.value),
            self._start_from.path, ui.trainingSettingsEdit.text.strip(), device_setting(),
        )  # fmt: skip

    def _start_or_stop(self) -> None:
        self._notify.message.hide()
        try:
            if self.run is None:
                raise InputError("no folder for the run is chosen; choose or make one")
            self.run.look()
            if self.run.is_busy:
                self.run.stop()
            elif not has_torch():
                self._notify.torch_missed("Training needs PyTorch, which is not installed; see the top of the panel")
            else:
                self.run.start(self._order(), resume=self.run.can_resume)
        except (InputError, OSError, ValueError) as error:  # a process that cannot be started, quotes that do not close
            self._notify.refused(str(error))
        self._show()

    def _use(self) -> None:
        model = self.run.model if self.run is not None else None
        if model is None:
            return
        if self._kind == "finetune":
            self._use_model(str(model))
        else:  # an encoder is a start for a segmentation model
            self._ui.trainingKindBox.currentIndex = list(KINDS).index("finetune")
            self._start_from.set(str(model))
            self._folder.set("")

    def _show(self) -> None:
        ui, run = self._ui, self.run
        busy = run is not None and run.is_busy
        what = "stop" if busy else "resume" if run is not None and run.can_resume else "start"
        text = {"start": "Start training", "resume": "Resume", "stop": "Stop"}[what]
        stopping = busy and run.state == "stopping"
        log = run.log if run is not None else None
        left = time_left_text(log.seconds_left) if busy and log.lines else ""
        words = run.message if run is not None else "Choose a folder for the run."
        if run is not None and run.state == "running" and not words:
            words = f"Running: step {log.losses[-1][0]} of {log.steps}" if log.losses else "Running: reading the images"
        for widget, name, value in (
            (ui.startTrainingButton, "text", "Stopping..." if stopping else text),
            (ui.startTrainingButton, "enabled", not stopping),
            (ui.startTrainingButton, "toolTip", _HELP[what]),
            (ui.trainingStateText, "text", f"{words.rstrip('.')}, {left}." if left and not stopping else words),
            (ui.trainingProgressBar, "value", int(1000 * min(max(log.progress, 0), 1)) if log is not None else 0),
        ):
            if getattr(widget, name) != value:
                setattr(widget, name, value)
        ui.useModelButton.setVisible(run is not None and run.model is not None)
        ui.useModelButton.text = "Use its model" if self._kind == "finetune" else "Start a model from it"
        for widget in (ui.trainingKindBox, ui.trainingPresetBox, ui.trainingMinutesBox, ui.trainingStartRow, ui.trainingSettingsEdit):  # fmt: skip
            widget.enabled = not busy
        ui.trainingProgressBar.setVisible(busy)
        self._show_log(log)

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
        ui.trainingCurve.setPixmap(learning_curve(log.losses, log.scores, log.steps, ui.trainingCurve.palette))
        ui.trainingLog.setPlainText("\n".join(log.lines[-_SHOWN_LINES:]))
        bar = ui.trainingLog.verticalScrollBar()
        bar.value = bar.maximum
