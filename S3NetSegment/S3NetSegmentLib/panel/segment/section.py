"""``SegmentSection``: Segment in the panel: its button, what is pointed at, which segment takes the object, adjusting it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import slicer
from slicer.i18n import tr as _

from ...engine import InputError
from ...scene.segmentation.labelmaps import unfinished_segments
from ...scene.segmentation.reading import segment_look, segment_mask
from ...scene.sequences import frame_of, write_frames
from ...scene.session import SegmentsWatch
from ..inputs import volume_problem
from ..sections import SectionListener, UseOfPanel
from ..widgets.looks import set_items
from .adjust_section import AdjustSection, WhyDialog
from .controller import SegmentController
from .pointing import Pointing
from .request import SegmentRequest

_NEW = _("New segment")
_HELP = _("Segment the chosen part of the volume (Ctrl+Return)")


class TargetRow:
    """Keeps the list in step with the segmentation; the choice is the parameter node's ``targetSegment``."""

    def __init__(self, ui, on_next: Callable[[], object]):
        self._ui, self._node = ui, None
        self._segments = SegmentsWatch(self._fill, voxels=False)
        self._ids = [""]
        ui.targetComboBox.connect("activated(int)", self._chosen)
        ui.nextObjectButton.connect("clicked()", on_next)

    @property
    def segment_id(self) -> str:
        """The chosen segment, "" for a new one."""
        return self._node.targetSegment if self._node is not None and self._node.targetSegment in self._ids else ""

    def show(self, parameter_node) -> None:
        self._node = parameter_node
        self._segments.watch(parameter_node.segmentation)
        self._fill()

    def stop(self) -> None:
        self._segments.stop()

    def _fill(self) -> None:
        node, box = self._node, self._ui.targetComboBox
        if node is None:
            return
        segmentation = node.segmentation.GetSegmentation() if node.segmentation is not None else None
        self._ids = ["", *(segmentation.GetSegmentIDs() if segmentation is not None else ())]
        names = [_NEW, *(segmentation.GetSegment(i).GetName() for i in self._ids[1:])]
        set_items(box, names)
        box.currentIndex = self._ids.index(self.segment_id)
        button = self._ui.nextObjectButton
        button.enabled = bool(self.segment_id)
        button.toolTip = (
            _("Keep this object as it is, clear the points and begin a new segment")
            if self.segment_id
            else _("The next result goes into a new segment already")
        )

    def _chosen(self, index: int) -> None:
        self._node.targetSegment = self._ids[index]


class SegmentSection(UseOfPanel, SectionListener):
    """The tab Segment, over a :class:`SegmentController`.

    Attributes: ``pointing``, ``prompts``, ``history``, ``target``, ``adjust``, ``why``.

    :param find_regions: the engine; the tests put their own in.
    """

    torch_text = _("this image or these settings need PyTorch, which is not installed; see the top of the panel")
    what = _("Segment")

    def __init__(self, panel, find_regions=None):
        super().__init__(panel)
        self._ui, self._known_result = panel.ui, None
        ui = panel.ui
        self.widgets = (
            ui.inputsCollapsibleButton, ui.outputsCollapsibleButton, ui.segmentButton, ui.adjustCollapsibleButton,
        )  # fmt: skip
        self.controller = SegmentController(self, panel.save_undo, find_regions)
        self.pointing = Pointing(panel, self)
        self.prompts, self.history = self.pointing.prompts, self.pointing.history
        self.target = TargetRow(ui, self._next_object)
        self.adjust = AdjustSection(ui, self)
        self.why = WhyDialog(ui, self.controller)
        self.button = ui.segmentButton
        self.button.connect("clicked()", self.run_or_cancel)
        ui.confidenceCheckBox.connect("clicked(bool)", self._confidence_clicked)

    # -- life

    def show(self, parameter_node) -> None:
        if parameter_node is None:
            self.controller.stop()
            self.prompts.tools_off()
            self.prompts.watch.forget()
            self.target.stop()
            return
        self.prompts.show(parameter_node)
        self.target.show(parameter_node)

    def _activated(self, active: bool) -> None:
        self.prompts.activate(active)
        self.adjust.tools_off()

    def stop(self) -> None:
        self.prompts.stop()
        self.adjust.stop()
        self.target.stop()

    def cleanup(self) -> None:
        self.controller.stop()
        self.why.close()
        self.stop()

    # -- what the user does

    def run(self) -> None:
        self.adjust.tools_off()
        try:
            request = self.pointing.request()
        except InputError as error:
            self.refused(str(error))
            return
        granularity = self._panel.node.granularity
        self.start(request, granularity if request.has_prompts and granularity >= 0 else None)

    def require_open(self) -> None:
        """InputError where the chosen object is one that the user has finished."""
        node, segment_id = self._panel.node, self.target.segment_id
        if segment_id and segment_id not in unfinished_segments(node.segmentation):
            name = node.segmentation.GetSegmentation().GetSegment(segment_id).GetName()
            raise InputError(
                _(
                    "segment {name!r} has the status Completed and stays as it is; press Next object, or change its status"
                ).format(name=name)
            )

    def start(self, request: SegmentRequest, granularity: int | None = None) -> None:
        """Runs ``request``; its answer goes to the chosen segmentation and object."""
        node = self._panel.node
        self.controller.start(
            request,
            node.segmentation,
            self.target.segment_id,
            count=node.regionCount or None,
            granularity=granularity,
            confidence=node.confidence,
        )

    def cancel(self) -> None:
        """Ends the run, and what waits for its end."""
        self.pointing.forget_waiting()
        self.controller.cancel()

    def point_tool_on(self) -> None:
        """Only one tool has the mouse."""
        self.adjust.tools_off()
        self._panel.editor.widget.setActiveEffect(None)

    def pick_tool_on(self) -> None:
        """Only one tool has the mouse."""
        self.prompts.tools_off()
        self._panel.editor.widget.setActiveEffect(None)

    def in_all_frames(self) -> None:
        """Asks what is pointed at in every frame of the sequence, and goes on with the segmentation of all of them."""
        result = self.controller.result
        if result is None:
            return
        answer = result.answer

        def written(found) -> None:
            look = segment_look(result.node, result.object_id)
            for one in found:
                one.segments[0] = dataclasses.replace(
                    one.segments[0], name=look.name, color=look.color, terminology=look.terminology
                )
            shown = found[frame_of(answer.request.volume_node)[0] - 1]  # as it was corrected by hand
            shown.layers[0] = segment_mask(result.node, result.object_id, answer.request.volume).astype("uint8")
            self.controller.finish_object()  # the volume's node is modified when another follows the same frames
            made = write_frames(found, answer.request.volume_node)
            node = self._panel.node
            with slicer.util.NodeModify(node):
                node.segmentation = made
                node.targetSegment = made.GetSegmentation().GetNthSegmentID(0)

        self.controller.work_on(self.controller.in_frames(answer), written)

    def _next_object(self) -> None:
        self.controller.finish_object()
        self.prompts.delete_all()
        self.prompts.rest()
        node = self._panel.node
        with slicer.util.NodeModify(node):
            node.targetSegment = ""
            node.granularity = -1
        self.history.forget()
        self._panel.message.hide()

    def _confidence_clicked(self, on: bool) -> None:
        if on:
            self.controller.show_confidence()
        else:
            self.controller.change(lambda result: result.overlay.hide())

    # -- what is shown

    def state_changed(self) -> None:
        if self._known_result is not self.controller.result:
            self._known_result = self.controller.result
            self._panel.few_shot.controller.take_up()  # what is painted on it from now on is drawn
        self.show_progress(self.running, self.button)
        self._panel.running_changed()
        self._show_result()

    def _show_result(self) -> None:
        """Shows the state of the controller, and notes in the parameter node what its result is."""
        node, running, result = self._panel.node, self.controller.running, self.controller.result
        if result is not None and node is not None:
            answer = result.answer
            with slicer.util.NodeModify(node):
                node.segmentation = result.node
                if result.object_id:
                    node.targetSegment = result.object_id
                node.regionCount = answer.count
                if answer.is_object:
                    node.granularity = answer.granularity
        elif (
            node is not None and self.controller.outdated and self.target.segment_id
        ):  # e.g. the next frame of a sequence
            segment = node.segmentation.GetSegmentation().GetSegment(self.target.segment_id)
            self.informed(
                _("the image has changed: the next result replaces {name!r}; press Next object to keep it").format(
                    name=segment.GetName()
                )
            )
        self.controller.outdated = False
        self.adjust.show()
        self.why.show()
        self.prompts.say(result.answer.doubt() if result is not None and not running else "")
        self.show_button()
        if not running and self._panel.node is not None:
            self.pointing.ended()

    def show_button(self) -> None:
        """Shows whether the button can be pressed, and why not; to be called often: it depends on the views."""
        node, inputs = self._panel.node, self._panel.inputs
        if node is not None and not self.running:
            inputs.show_slice()
        problem = volume_problem(None) if node is None else inputs.problem
        self.show_big_button(self.button, _("Segment"), _HELP, problem)
