"""``SegmentPanel``: brings the sections of the panel, the controllers and the parameter node together."""

from __future__ import annotations

from .cohort.section import CohortSection
from .few_shot.editor_section import EditorSection
from .few_shot.section import FewShotSection
from .inputs import ConfidenceRow, InputsSection, MadeByRows, SegmentationChoice
from .messages import PanelMessage, ProgressRow
from .models.section import ModelsSection
from .navigation import ModeTabs, PanelKeys
from .run import timer
from .segment.advanced_section import AdvancedSection, device_setting
from .segment.section import SegmentSection
from .widgets.looks import align_columns
from .widgets.mouse import HarmlessWheel
from .widgets.torch_row import CheckDialog, TorchRow

_REFRESH_EVERY = 250  # ms
_DRAWING = ("few-shot", "cohort")  # uses in which the user draws in the editor


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
        self.message = PanelMessage(ui)
        self.torch_row = TorchRow(ui, self.refused, self._torch_accepted)
        self.editor = EditorSection(ui)
        self.progress = ProgressRow(ui)
        self.inputs = InputsSection(ui)
        self.segment = SegmentSection(self, find_regions)
        self.controller, self.prompts = self.segment.controller, self.segment.prompts
        self.advanced = AdvancedSection(self)
        self.check = CheckDialog(ui.checkButton, device_setting)
        self.few_shot = FewShotSection(self, make_few_shot)
        self.models = ModelsSection(self)
        self.cohort = CohortSection(self)
        self.choice = SegmentationChoice(self.informed)
        self.made_by = MadeByRows(ui)
        self.uses = {"segment": self.segment, "few-shot": self.few_shot, "models": self.models, "cohort": self.cohort}
        self.confidence_rows = [
            ConfidenceRow(where, name, controller, self.inputs, self.refused)
            for where, name, controller in (
                (ui, "confidence", self.controller),
                (ui, "fewShotConfidence", self.few_shot.controller),
                (self.models.ui, "modelConfidence", self.models.apply.controller),
            )
        ]
        self.tabs = ModeTabs(ui, self.uses, self._tab_chosen)
        align_columns(ui, self.models.ui, self.cohort.ui)
        self.keys = PanelKeys(panel_widget, self)
        self.wheel = HarmlessWheel(panel_widget)
        # Which slice is shown, and why the button is disabled, change without the parameter node: the user scrolls.
        self._refresh_timer = timer(_REFRESH_EVERY, self._refresh, repeats=True)

    # -- life

    def show(self, parameter_node) -> None:
        """Shows ``parameter_node``; called again whenever it is modified. None: the scene closes."""
        if self.node is not parameter_node:
            self.segment.history.forget()
        self.node = parameter_node
        if parameter_node is None:
            for use in self.uses.values():
                use.show(None)
            self.editor.clear()
            self.choice.forget()
            self.segment.state_changed()
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
        self.inputs.show(parameter_node)
        self.advanced.show(parameter_node)
        # While drawing, the user chooses the segment in the editor.
        segment_id = "" if self.mode in _DRAWING else parameter_node.targetSegment
        self.editor.show(parameter_node.segmentation, parameter_node.volume, segment_id)
        for use in self.uses.values():
            use.show(parameter_node)
        self.segment.show_button()

    def start(self) -> None:
        if self._started:
            return
        self._started = True
        self.inputs.start()
        self.editor.start()
        self._refresh_timer.start()
        self._show_facts()
        self._show_mode()
        self.torch_row.refresh()
        self.segment.state_changed()

    def stop(self) -> None:
        """The user left the module. A run goes on; its result is written when it is there."""
        if not self._started:
            return
        self._started = False
        self._refresh_timer.stop()
        self.inputs.stop()
        self.segment.stop()
        self._activate("")
        self.editor.stop()

    def cleanup(self) -> None:
        self.check.close()
        self.advanced.stop()
        self.stop()
        for use in self.uses.values():
            use.cleanup()
        self.editor.cleanup()
        self.keys.remove()
        self.wheel.stop()

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
        if self.tabs.show(mode):
            self.editor.widget.setActiveEffect(None)
            self.editor.place(mode in _DRAWING)
            self.advanced.set_mode(mode)
        self._activate(mode if self._started else "")

    def _activate(self, mode: str) -> None:
        for name, use in self.uses.items():
            use.set_active(name == mode)

    # -- running

    def cancel(self) -> None:
        for use in self.uses.values():
            use.cancel()

    @property
    def running(self) -> bool:
        return any(use.running for use in self.uses.values())

    def save_undo(self, segmentation_node) -> None:
        """Called with a segmentation before a result is written to it."""
        self.few_shot.controller.take_up()  # what was drawn by hand, before a result joins it
        self.segment.history.saving()
        self.editor.save_undo(segmentation_node, self.node.volume if self.node is not None else None)

    # -- what the uses tell

    def running_changed(self) -> None:
        """Nothing that a run has read can be chosen anew before it ends."""
        ui, running = self.ui, self.running
        for widget in (ui.sharedForm, ui.inputsCollapsibleButton, ui.outputsCollapsibleButton, self.tabs.bar):
            widget.enabled = not running
        self.models.running_changed()
        self.editor.hold_keys(running)
        self.keys.show()

    def refused(self, text: str) -> None:
        self.message.show("warning", text)

    def informed(self, text: str) -> None:
        self.message.show("information", text)

    def torch_missed(self, text: str) -> None:
        self.refused(text)
        self.torch_row.refresh(again=True)

    # -- inside

    def _refresh(self) -> None:
        self.message.refresh(self.node)
        self._show_facts()
        self.keys.show()
        self.segment.show_button()
        self.prompts.refresh()
        if self.ui.pointButton.checked and self.editor.widget.activeEffect() is not None:
            self.prompts.tools_off()  # the editor has the mouse now
        self.few_shot.refresh_views()
        self.models.refresh()

    def _show_facts(self) -> None:
        """How the chosen segment was made, and whether the volume is one frame of several."""
        node = self.node
        if node is None:
            self.made_by.show(None, None, "")
        else:
            segment_id = node.targetSegment if self.mode == "segment" else self.editor.widget.currentSegmentID()
            self.made_by.show(node.volume, node.segmentation, segment_id or "")

    def _torch_accepted(self, said: str) -> None:
        self.advanced.show_device()
        if said:
            self.informed(said)
