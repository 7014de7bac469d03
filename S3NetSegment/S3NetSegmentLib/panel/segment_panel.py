"""``SegmentPanel``: brings the sections of the panel, the controllers and the parameter node together."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable

import qt
import slicer
from slicer.i18n import tr as _

from ..engine import InputError
from .cohort.section import CohortSection
from .few_shot.editor_section import EditorSection
from .few_shot.section import FewShotSection
from .made_by import frame_text, made_by_text
from .models.section import ModelsSection
from .segment.adjust_section import AdjustSection
from .segment.advanced_section import AdvancedSection, device_setting
from .segment.controller import SegmentController
from .segment.inputs_section import InputsSection
from .segment.pointing import Pointing
from .segment.request import SegmentRequest
from .segment.target import TargetRow
from .segment.why_dialog import WhyDialog
from .segmentation_choice import SegmentationChoice
from .widgets.check_dialog import CheckDialog
from .widgets.confidence_row import ConfidenceRow
from .widgets.message_row import MessageRow
from .widgets.mode_tabs import ModeTabs
from .widgets.progress_row import ProgressRow
from .widgets.torch_row import TorchRow

_LOOK_EVERY = 250  # ms
_MODELS_LABELS = (
    "modelFile", "cohortFolder", "caseName", "patient", "runFolder", "trainingKind", "trainingPreset", "trainingMinutes",
    "trainingStart", "trainingSettings",
)  # fmt: skip
_DRAWING = ("few-shot", "cohort")  # uses in which the user draws in the editor
_SEGMENT_HELP = _("Segment the chosen part of the volume (Ctrl+Return)")


class SegmentPanel:
    """The panel over the widgets ``ui`` of the .ui file; the module's widget owns it.

    :meth:`show` gives it a parameter node (None while a scene closes), :meth:`start` and :meth:`stop` follow the user into
    and out of the module, :meth:`cleanup` ends it.
    """

    def __init__(self, panel_widget, ui, find_regions=None, make_few_shot=None):
        """
        :param panel_widget: the widget that holds everything; the shortcuts work inside it.
        :param find_regions, make_few_shot: the engines; the tests put their own in.
        """
        self.ui = ui
        self.node = None
        self._started = False
        self._known_result = None
        self._message_cause: tuple | None = None  # what was chosen when the message was read
        self.message = MessageRow(ui.messageFrame, ui.messageIcon, ui.messageText, ui.messageCloseButton)
        self.torch_row = TorchRow(ui, self.refused, self._torch_accepted)
        self.editor = EditorSection(ui)
        self.progress = ProgressRow(ui)
        self.controller = SegmentController(self, self._save_undo, find_regions)
        self.inputs = InputsSection(ui)
        self.pointing = Pointing(ui, self, self._point_tool_on)
        self.prompts, self.history = self.pointing.prompts, self.pointing.history
        self.target = TargetRow(ui, self._next_object)
        self.adjust = AdjustSection(ui, self.controller, self.history, self._pick_tool_on)
        self.advanced = AdvancedSection(ui, self.refused)
        self.why = WhyDialog(ui, self.controller)
        self.check = CheckDialog(ui.checkButton, device_setting)
        self.few_shot = FewShotSection(ui, self, self.editor, self.inputs, self.advanced, self.progress, make_few_shot)
        self.models = ModelsSection(ui, self, self.progress, self._save_undo)
        self.cohort = CohortSection(ui, self, self.progress)
        self.choice = SegmentationChoice(self.informed)
        self._make_confidence_rows()
        self.tabs = ModeTabs(ui, self.models.widgets, self.cohort.widgets, self._tab_chosen)
        _align_columns(ui, self.models.ui, self.cohort.ui)
        ui.segmentButton.connect("clicked()", self.segment_or_cancel)
        ui.confidenceCheckBox.connect("clicked(bool)", self._confidence_clicked)
        self._shortcuts = {
            keys: self._shortcut(panel_widget, keys, action)
            for keys, action in (
                ("Ctrl+Return", self._shortcut_run), ("Ctrl+Enter", self._shortcut_run), ("Ctrl+Z", self._shortcut_undo),
                ("Ctrl+Y", self._shortcut_redo), ("N", self._shortcut_next), ("Esc", self._shortcut_cancel),
            )
        }  # fmt: skip
        self._shortcuts["Esc"].enabled = False  # the editor's key until there is something to cancel
        # Which slice is shown, and why the button is disabled, change without the parameter node: the user scrolls.
        self._look_timer = qt.QTimer()
        self._look_timer.setInterval(_LOOK_EVERY)
        self._look_timer.connect("timeout()", self._look)

    def _make_confidence_rows(self) -> None:
        """A legend, and the way to the least sure place, for the confidence of each use."""

        def overlay_of(controller):
            return lambda: controller.result.confidence_overlay if controller.result is not None else None

        models = self.models.ui
        self.confidence_rows = [
            ConfidenceRow(box, row, legend, button, overlay, lambda: self.inputs.last_view, self.refused)
            for box, row, legend, button, overlay in (
                (self.ui.confidenceCheckBox, self.ui.confidenceLegendRow, self.ui.confidenceLegend,
                 self.ui.confidenceWorstButton, overlay_of(self.controller)),
                (self.ui.fewShotConfidenceCheckBox, self.ui.fewShotConfidenceLegendRow, self.ui.fewShotConfidenceLegend,
                 self.ui.fewShotConfidenceWorstButton, overlay_of(self.few_shot.controller)),
                (models.modelConfidenceCheckBox, models.modelConfidenceLegendRow, models.modelConfidenceLegend,
                 models.modelConfidenceWorstButton, lambda: self.models.apply.controller.confidence_overlay),
            )
        ]  # fmt: skip

    # -- life

    def show(self, parameter_node) -> None:
        """Shows ``parameter_node``; called again whenever it is modified. None: the scene closes."""
        if self.node is not parameter_node:
            self.history.forget()
        self.node = parameter_node
        if parameter_node is None:
            self.controller.stop()
            self.prompts.tools_off()
            self.prompts.forget()
            self.target.stop()
            self.few_shot.show(None)
            self.models.show(None)
            self.cohort.show(None)
            self.editor.clear()
            self.choice.forget()
            self.state_changed()
            self.message.hide()  # it is about what was in the scene
            return
        if self.choice.leaves(parameter_node):
            self.few_shot.tidy()  # what was only made to be drawn in
        self.choice.follow(parameter_node)
        if self.message.kind and self._message_cause not in (None, self._cause(parameter_node)):
            self.message.hide()  # what it spoke of has changed
        self._show_mode()
        result = self.controller.result
        if result is not None and (
            parameter_node.volume is not result.answer.request.volume_node
            or parameter_node.segmentation is not result.node
        ):
            self.controller.let_go()  # the user went on to another volume or segmentation
            return
        self.inputs.show(parameter_node)
        self.prompts.show(parameter_node)
        self.target.show(parameter_node)
        self.advanced.show(parameter_node)
        # While drawing, the user chooses the segment in the editor.
        segment_id = "" if self.mode in _DRAWING else parameter_node.targetSegment
        self.editor.show(parameter_node.segmentation, parameter_node.volume, segment_id)
        self.few_shot.show(parameter_node)
        self.models.show(parameter_node)
        self.cohort.show(parameter_node)
        self._show_button()

    def start(self) -> None:
        """The user entered the module."""
        if self._started:
            return
        self._started = True
        self.inputs.start()
        self.prompts.start()
        if self.node is not None:
            self.prompts.show(self.node)
        self.editor.start()
        self._look_timer.start()
        self._show_facts()
        self._show_mode()
        self.torch_row.look()
        self.state_changed()

    def stop(self) -> None:
        """The user left the module. A run goes on; its result is written when it is there."""
        if not self._started:
            return
        self._started = False
        self._look_timer.stop()
        self.inputs.stop()
        self.prompts.stop()
        self.adjust.stop()
        self.target.stop()
        self.few_shot.set_active(False)
        self.models.set_active(False)
        self.cohort.set_active(False)
        self.editor.stop()

    def cleanup(self) -> None:
        """The module is unloaded."""
        self.controller.stop()
        self.why.close()
        self.check.close()
        self.stop()
        self.target.stop()
        self.few_shot.cleanup()
        self.models.cleanup()
        self.cohort.cleanup()
        self.editor.cleanup()
        for shortcut in self._shortcuts.values():
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._shortcuts = {}

    # -- the uses

    @property
    def mode(self) -> str:
        """Which use the panel shows: "segment", "few-shot", "models" or "cohort"."""
        return self.node.mode.value if self.node is not None else "segment"

    @property
    def is_few_shot(self) -> bool:
        """Whether the panel shows Few-shot."""
        return self.mode == "few-shot"

    def _tab_chosen(self, mode: str) -> None:
        if self.node is not None and mode != self.node.mode.value:
            self.message.hide()
            self.node.mode = type(self.node.mode)(mode)

    def _show_mode(self) -> None:
        mode = self.mode
        if not self.tabs.show(mode):
            if self._started:
                self._activate(mode)
            return
        self.prompts.activate(mode == "segment" and self._started)
        self.adjust.tools_off()
        self.editor.widget.setActiveEffect(None)
        self.editor.place(mode in _DRAWING)
        self.advanced.set_mode(mode)
        self._activate(mode if self._started else "")

    def _activate(self, mode: str) -> None:
        self.few_shot.set_active(mode == "few-shot")
        self.models.set_active(mode == "models")
        self.cohort.set_active(mode == "cohort")

    # -- running

    def segment_or_cancel(self) -> None:
        """What the big button does."""
        if self.controller.running:
            self.pointing.forget_waiting()
            self.controller.cancel()
            return
        if self.node is None:
            return
        self.message.hide()
        self.adjust.tools_off()
        try:
            request = self.pointing.request()
        except InputError as error:
            self.refused(str(error))
            return
        granularity = self.node.granularity if request.has_prompts and self.node.granularity >= 0 else None
        self.start_run(request, granularity)

    def start_run(self, request: SegmentRequest, granularity: int | None = None) -> None:
        """Runs ``request``; its answer goes to the chosen segmentation and object."""
        node = self.node
        self.controller.start(
            request,
            node.segmentation,
            self.target.segment_id,
            count=node.regionCount or None,
            granularity=granularity,
            confidence=node.confidence,
        )

    def _shortcut_run(self) -> None:
        button, run = {
            "segment": (self.ui.segmentButton, self.segment_or_cancel),
            "few-shot": (self.ui.propagateButton, self.few_shot.propagate_or_cancel),
            "models": (self.models.ui.applyModelButton, self.models.apply.apply_or_cancel),
            "cohort": (self.cohort.ui.nextCaseButton, self.cohort.next_or_cancel),
        }[self.mode]
        if button.enabled and not self.running:
            run()

    @staticmethod
    def _shortcut(panel_widget, keys: str, action: Callable[[], object]):
        shortcut = qt.QShortcut(qt.QKeySequence(keys), panel_widget)
        shortcut.setContext(qt.Qt.WidgetWithChildrenShortcut)
        shortcut.connect("activated()", action)
        return shortcut

    def _show_shortcuts(self) -> None:
        """Keys that the open editor has, too, are left to it: two owners of a key would both be deaf."""
        for keys in ("Ctrl+Z", "Ctrl+Y"):
            if keys in self._shortcuts:
                self._shortcuts[keys].enabled = not self.editor.has_keys
        if "Esc" in self._shortcuts:
            self._shortcuts["Esc"].enabled = self.running

    def _shortcut_undo(self) -> None:
        if self.mode == "segment" and self.ui.undoButton.enabled:
            self.history.undo()

    def _shortcut_redo(self) -> None:
        if self.mode == "segment" and self.ui.redoButton.enabled:
            self.history.redo()

    def _shortcut_next(self) -> None:
        """The next slice to draw."""
        if self.is_few_shot and self.ui.nextSliceButton.isVisible():
            self.ui.nextSliceButton.click()

    def _shortcut_cancel(self) -> None:
        self.pointing.forget_waiting()
        self.controller.cancel()
        self.few_shot.controller.cancel()
        self.models.cancel()
        self.cohort.cancel()

    @property
    def running(self) -> bool:
        """Whether the engine works for one of the uses."""
        return any(part.running for part in (self.controller, self.few_shot.controller, self.models, self.cohort))

    def _next_object(self) -> None:
        """Keeps the object and begins another one."""
        self.controller.finish_object()
        self.prompts.delete_all()
        self.prompts.rest()
        with slicer.util.NodeModify(self.node):
            self.node.targetSegment = ""
            self.node.granularity = -1
        self.history.forget()
        self.message.hide()

    def _confidence_clicked(self, on: bool) -> None:
        if on:
            self.controller.show_confidence()
        else:
            self.controller.change(lambda result: result.hide_confidence())

    def _save_undo(self, segmentation_node) -> None:
        self.few_shot.controller.take_up()  # what was drawn by hand, before a result joins it
        self.history.saving()
        self.editor.save_undo(segmentation_node, self.node.volume if self.node is not None else None)

    def _point_tool_on(self) -> None:
        """Only one tool has the mouse."""
        self.adjust.tools_off()
        self.editor.widget.setActiveEffect(None)

    def _pick_tool_on(self) -> None:
        self.prompts.tools_off()
        self.editor.widget.setActiveEffect(None)

    # -- what the controller tells (Listener)

    def state_changed(self) -> None:
        running, result = self.controller.running, self.controller.result
        if result is not self._known_result:
            self._known_result = result
            self.few_shot.controller.take_up()  # what is painted on it from now on is drawn
        if running:
            self.progress.begin()
            self.ui.segmentButton.setFocus()  # the inputs are disabled; Esc must still arrive here
        elif not self.running:
            self.progress.end()
        self.running_changed()
        if result is not None and self.node is not None:
            answer = result.answer
            with slicer.util.NodeModify(self.node):
                self.node.segmentation = result.node
                if result.object_id:
                    self.node.targetSegment = result.object_id
                self.node.regionCount = answer.count
                if answer.is_object:
                    self.node.granularity = answer.granularity
        self.adjust.show()
        self.why.show()
        self.prompts.say(result.answer.doubt() if result is not None and not running else "")
        self._show_button()
        if not running and self.node is not None:
            self.pointing.ended()

    def running_changed(self) -> None:
        """Nothing that a run has read can be chosen anew before it ends."""
        ui, running = self.ui, self.running
        for widget in (ui.sharedForm, ui.inputsCollapsibleButton, ui.outputsCollapsibleButton, self.tabs.bar):
            widget.enabled = not running
        self.models.running_changed()
        self.editor.hold_keys(running)
        self._show_shortcuts()

    def progressed(self, step, seconds_left) -> None:
        self.progress.show(step, seconds_left)

    def refused(self, text: str) -> None:
        self._say("warning", text)

    def informed(self, text: str) -> None:
        self._say("information", text)

    def _say(self, kind: str, text: str) -> None:
        self.message.show(kind, text)
        self._message_cause = None  # what is changing just now is why it is said

    @staticmethod
    def _cause(node) -> tuple:
        """What the user has chosen: a message goes when it changes."""
        if node is None:
            return ()
        nodes = (node.volume, node.segmentation, node.roi, node.otherVolume)
        return (
            *(n.GetID() if n is not None else "" for n in nodes), node.scope, node.axis, node.firstSlice, node.lastSlice,
            node.preset, node.settings, node.fewShotSettings, node.encoder, node.propagateTo, node.mode, node.keepOut,
        )  # fmt: skip

    def torch_missed(
        self,
        text: str = _("this image or these settings need PyTorch, which is not installed; see the top of the panel"),
    ) -> None:
        self.refused(text)
        self.torch_row.look(again=True)

    def failed(self, error: Exception, what: str = "Segment") -> None:
        details = "".join(traceback.format_exception(error))
        logging.error(details)
        self._say(
            "error", _("something unexpected went wrong: {error}. The scene was not changed.").format(error=error)
        )
        slicer.util.errorDisplay(
            _("{what} failed unexpectedly: {error}\n\nThe scene was not changed.").format(what=what, error=error),
            detailedText=details,
        )

    # -- inside

    def _look(self) -> None:
        if self.message.kind and self._message_cause is None:
            self._message_cause = self._cause(self.node)
        self._show_facts()
        self._show_shortcuts()
        self._show_button()
        self.prompts.look()
        if self.ui.pointButton.checked and self.editor.widget.activeEffect() is not None:
            self.prompts.tools_off()  # the editor has the mouse now
        self.few_shot.look_at_views()
        self.models.look()

    def _show_facts(self) -> None:
        """How the chosen segment was made, and whether the volume is one frame of several."""
        node, made, frame = self.node, "", ""
        if node is not None:
            chosen = node.targetSegment if self.mode == "segment" else self.editor.widget.currentSegmentID()
            made, frame = made_by_text(node.segmentation, chosen or ""), frame_text(node.volume)
        for label, text in ((self.ui.madeByText, made), (self.ui.frameText, frame)):
            if label.text != text:
                label.text = text
            label.setVisible(bool(text))

    def _show_button(self) -> None:
        button, running = self.ui.segmentButton, self.controller.running
        if self.node is not None and not running:
            self.inputs.show_slice()
        problem = "" if running or self.node is None else self.inputs.problem
        for name, value in (
            ("text", "Cancel" if running else "Segment"),
            ("enabled", self.node is not None and not problem),
            ("toolTip", _("Stop; the scene stays as it is (Esc)") if running else problem or _SEGMENT_HELP),
        ):
            if getattr(button, name) != value:
                setattr(button, name, value)

    def _torch_accepted(self, said: str) -> None:
        self.advanced.show_device()
        if said:
            self.informed(said)


def _align_columns(ui, models_ui, cohort_ui) -> None:
    """Gives the labels of all forms one width, so that their fields stand in one column."""
    labels = [
        ui.volumeLabel, ui.scopeLabel, ui.partLabel, ui.promptsLabel, ui.radiusLabel,
        ui.segmentationLabel, ui.targetLabel, ui.pickLabel, ui.deviceLabel,
        ui.presetLabel, ui.propagateLabel, ui.otherVolumeLabel, ui.encoderLabel, cohort_ui.loopFolderLabel,
        *(getattr(models_ui, f"{name}Label") for name in _MODELS_LABELS),
    ]  # fmt: skip
    width = max(qt.QFontMetrics(label.font).boundingRect(label.text).width() for label in labels)
    for label in labels:
        label.setMinimumWidth(width + 4)
