"""``SegmentPanel``: brings the sections of the panel, the controllers and the parameter node together."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _

from ..engine import InputError
from .cohort.section import CohortSection
from .columns import align_columns
from .few_shot.editor_section import EditorSection
from .few_shot.section import FewShotSection
from .keys import PanelKeys
from .made_by import MadeByRows
from .message import PanelMessage
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
from .widgets.mode_tabs import ModeTabs
from .widgets.progress_row import ProgressRow
from .widgets.properties import set_property
from .widgets.torch_row import TorchRow

_LOOK_EVERY = 250  # ms
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
        self.message = PanelMessage(ui)
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
        self.made_by = MadeByRows(ui)
        self._uses = {"few-shot": self.few_shot, "models": self.models, "cohort": self.cohort}  # beside Segment
        self.confidence_rows = [
            ConfidenceRow(where, name, controller, self.inputs, self.refused)
            for where, name, controller in (
                (ui, "confidence", self.controller),
                (ui, "fewShotConfidence", self.few_shot.controller),
                (self.models.ui, "modelConfidence", self.models.apply.controller),
            )
        ]
        self.tabs = ModeTabs(ui, self.models.widgets, self.cohort.widgets, self._tab_chosen)
        align_columns(ui, self.models.ui, self.cohort.ui)
        ui.segmentButton.connect("clicked()", self.segment_or_cancel)
        ui.confidenceCheckBox.connect("clicked(bool)", self._confidence_clicked)
        self.keys = PanelKeys(panel_widget, self)
        # Which slice is shown, and why the button is disabled, change without the parameter node: the user scrolls.
        self._look_timer = qt.QTimer()
        self._look_timer.setInterval(_LOOK_EVERY)
        self._look_timer.connect("timeout()", self._look)

    # -- life

    def show(self, parameter_node) -> None:
        """Shows ``parameter_node``; called again whenever it is modified. None: the scene closes."""
        if self.node is not parameter_node:
            self.history.forget()
        self.node = parameter_node
        if parameter_node is None:
            self.controller.stop()
            self.prompts.tools_off()
            self.prompts.watch.forget()
            self.target.stop()
            for use in self._uses.values():
                use.show(None)
            self.editor.clear()
            self.choice.forget()
            self.state_changed()
            self.message.hide()  # it is about what was in the scene
            return
        if self.choice.leaves(parameter_node):
            self.few_shot.tidy()  # what was only made to be drawn in
        self.choice.follow(parameter_node)
        self.message.follow(parameter_node)
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
        for use in self._uses.values():
            use.show(parameter_node)
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
        self._activate("")
        self.editor.stop()

    def cleanup(self) -> None:
        """The module is unloaded."""
        self.controller.stop()
        self.why.close()
        self.check.close()
        self.stop()
        self.target.stop()
        for use in self._uses.values():
            use.cleanup()
        self.editor.cleanup()
        self.keys.remove()

    # -- the uses

    @property
    def mode(self) -> str:
        """Which use the panel shows: "segment", "few-shot", "models" or "cohort"."""
        return self.node.mode.value if self.node is not None else "segment"

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
        for name, use in self._uses.items():
            use.set_active(name == mode)

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

    def cancel(self) -> None:
        """Ends whatever goes on in any of the uses."""
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
        self.keys.show()

    def progressed(self, step, seconds_left) -> None:
        self.progress.show(step, seconds_left)

    def refused(self, text: str) -> None:
        self.message.show("warning", text)

    def informed(self, text: str) -> None:
        self.message.show("information", text)

    def torch_missed(
        self,
        text: str = _("this image or these settings need PyTorch, which is not installed; see the top of the panel"),
    ) -> None:
        self.refused(text)
        self.torch_row.look(again=True)

    def failed(self, error: Exception, what: str = "Segment") -> None:
        self.message.failed(error, what)

    # -- inside

    def _look(self) -> None:
        self.message.look(self.node)
        self._show_facts()
        self.keys.show()
        self._show_button()
        self.prompts.look()
        if self.ui.pointButton.checked and self.editor.widget.activeEffect() is not None:
            self.prompts.tools_off()  # the editor has the mouse now
        self.few_shot.look_at_views()
        self.models.look()

    def _show_facts(self) -> None:
        """How the chosen segment was made, and whether the volume is one frame of several."""
        node = self.node
        if node is None:
            self.made_by.show(None, None, "")
        else:
            segment_id = node.targetSegment if self.mode == "segment" else self.editor.widget.currentSegmentID()
            self.made_by.show(node.volume, node.segmentation, segment_id or "")

    def _show_button(self) -> None:
        button, running = self.ui.segmentButton, self.controller.running
        if self.node is not None and not running:
            self.inputs.show_slice()
        problem = "" if running or self.node is None else self.inputs.problem
        set_property(button, "text", "Cancel" if running else "Segment")
        set_property(button, "enabled", self.node is not None and not problem)
        help_text = _("Stop; the scene stays as it is (Esc)") if running else problem or _SEGMENT_HELP
        set_property(button, "toolTip", help_text)

    def _torch_accepted(self, said: str) -> None:
        self.advanced.show_device()
        if said:
            self.informed(said)
