"""The panel's second use: draw segments on one or a few slices, carry them to all others or to another volume."""

from __future__ import annotations

import os

import slicer
from slicer.i18n import tr as _

from ...engine import InputError
from ...scene.drawings.support_set import SupportPlane
from ...scene.segmentation.segment_slices import EditingRules
from ...scene.session import volume_state
from ...scene.slice_jump import show_plane, show_slice
from ...scene.volumes import parent_key
from ..inputs import volume_problem
from ..sections import SectionListener, UseOfPanel
from ..segment.advanced_section import device_setting
from ..widgets.choosing import missing_path
from ..widgets.looks import set_property
from .controller import FewShotController
from .drawn_and_answer import FewShotAnswerSection, SupportTable
from .editor_section import BoxDrawing
from .following import DrawingFollower, DrawingWatch, LivePreview
from .presenter import FewShotPresenter
from .request import FewShotRequest, make_few_shot_request

_HELP = _("Carry the drawn segments on (Ctrl+Return). The answer is shown as a preview first.")
_HINT = _("Draw one or more segments on a slice with the tools above, or by boxes around them: all of it that belongs to them. The slice appears here by itself.")  # fmt: skip


class FewShotSection(UseOfPanel, SectionListener):
    """The tab Few-shot, over a :class:`FewShotController`.

    :param make_engine: for the controller; the tests put their own in.
    """

    torch_text = _("Few-shot needs PyTorch, which is not installed; see the top of the panel")
    what = _("Few-shot")

    def __init__(self, panel, make_engine=None):
        super().__init__(panel)
        self.ui = ui = panel.ui
        self.node = None
        self._in_view = self._places = None
        self.problem = ""
        self.controller = FewShotController(
            self, self._save_undo, make_engine, lambda: self._presenter.plane_in_view(self._panel.inputs.last_view)
        )
        self._presenter = FewShotPresenter(self.controller, _HELP, has_keys=True)
        self.table = SupportTable(ui, self)
        self.answer = FewShotAnswerSection(ui, self, self._presenter)
        self._follower = DrawingFollower(self.controller)
        self._live = LivePreview(self)
        self._watch = DrawingWatch(self._drawn, self._live.drawn_on)
        self.boxes = BoxDrawing(ui.boxDrawButton, self, panel.editor)
        ui.addSliceButton.connect("clicked()", self._add_current)
        self.widgets, self.button = (ui.supportCollapsibleButton, ui.propagateFrame), ui.propagateButton
        self.button.connect("clicked()", self.run_or_cancel)
        ui.liveCheckBox.connect("clicked(bool)", self._live_clicked)

    # -- life

    def show(self, parameter_node) -> None:
        if parameter_node is None:
            self.boxes.stop()
            self._watch.stop()
            self._live.stop()
            self.controller.stop()
            self._forget_node()
            self.state_changed()
            return
        self.node = parameter_node
        if slicer.mrmlScene.IsImporting():
            return  # half of it is there; the end of the import comes here, too
        self._follow()
        if self.active:
            self._show_all()

    def _activated(self, active: bool) -> None:
        self.answer.set_active(active)
        if not active:
            self.boxes.stop()
            self._watch.stop()
            self._live.stop()
            if not self.controller.running and self.controller.result is None:
                self.tidy()
        elif self.node is not None:
            self._follower.allow_new()
            self._follow()
            self.controller.refresh()
            self._show_all()

    def tidy(self) -> None:
        """Takes back what was made to be drawn in and is untouched."""
        self._follower.tidy()

    def cleanup(self) -> None:
        self.set_active(False)
        self.controller.stop()
        self._forget_node()

    # -- what the user does

    def run(self) -> None:
        self.boxes.stop()
        self._follower.tidy(whole=False)
        self.controller.refresh()
        try:
            request = self.request(self.node.propagateTo.value)
        except InputError as error:
            self.refused(str(error))
            return
        self._panel.editor.widget.setActiveEffect(None)
        self.controller.start(request)

    def accept(self) -> None:
        self._panel.message.hide()
        result = self.controller.result
        if result is None:
            return
        elsewhere = result.request.is_other_volume  # the editor's masks do not apply there
        if self.controller.accept(EditingRules() if elsewhere else self._panel.editor.rules()) and not elsewhere:
            self.node.acceptedAnswer = result.state.to_text()

    def go_to(self, place: tuple[str, int], volume_node=None) -> None:
        """Shows a slice of ``volume_node``; None: of the drawn volume, also an oblique plane."""
        support = self.controller.support
        plane = next((s for s in support.drawn if s.place == place), None) if support is not None else None
        try:
            volume_node = volume_node or self.node.volume
            if isinstance(plane, SupportPlane):
                show_plane(volume_node, plane, self._panel.inputs.last_view)
                return
            show_slice(volume_node, *place, self.node.segmentation, None, self._panel.inputs.last_view)
        except InputError as error:
            self.refused(str(error))

    def _add_current(self) -> None:
        if self._in_view is not None and self.controller.support is not None:
            self.controller.support.add(self._in_view)
            self.state_changed()
            self._live.soon()

    def remove(self, places: list[tuple[str, int]]) -> None:
        for place in places:
            self.controller.support.remove(*place)
        self.state_changed()
        self._live.soon()

    def set_complete(self, place: tuple[str, int], complete: bool) -> None:
        self.controller.support.set_complete(*place, complete)
        self.state_changed()
        self._live.soon()

    def _live_clicked(self, on: bool) -> None:
        (self._live.soon if on else self._live.stop)()

    # -- what the controller tells (Listener)

    def state_changed(self) -> None:
        running = self.controller.running
        self._follower.keep(self.node)
        if self.active:
            self.show_progress(running, self.button)
            self._show_all()
            if not running:
                self.answer.answer_came()
        self._panel.running_changed()

    def progressed(self, step, seconds_left: float | None) -> None:
        super().progressed(step, seconds_left)
        self.answer.show(self.node)

    # -- the drawing

    def _follow(self) -> None:
        self._follower.follow(self.node, create=self.active)
        self._watch.watch(self.node.segmentation if self.active else None)

    def _drawn(self) -> None:
        if self.node is None or self.controller.running:
            return
        if not self.controller.refresh():
            self._show_rows()  # names and colours may have changed
            self.answer.show(self.node)

    def box_changed(self) -> None:
        """A box is being drawn by, or its answer is there."""
        if self.active:
            self._drawn()
            self.refresh_views()

    def _save_undo(self, segmentation_node) -> None:
        self._panel.editor.save_undo(segmentation_node, self.node.volume if self.node is not None else None)

    def wants_live(self) -> bool:
        return self.active and self.node is not None and self.node.livePreview

    # -- inside

    def request(self, scope: str) -> FewShotRequest:
        node, support = self.node, self.controller.support
        return make_few_shot_request(
            node.volume,
            node.segmentation,
            support.drawn if support is not None else (),
            scope,
            shown=self._in_view if scope != "other" else None,
            other_volume=node.otherVolume,
            settings=self._panel.advanced.few_shot.settings(),
            encoder=node.encoder,
            device=device_setting(),
        )

    def refresh_views(self) -> None:
        """Views change by themselves: to be called often."""
        if not self.active or self.node is None:
            return
        self.boxes.refresh()
        self._look_at_places()
        before = self._in_view
        self._in_view, why_not = self._presenter.in_view(self._panel.inputs.last_view)
        self.problem = self._problem()
        button = self.ui.addSliceButton
        listed = self._in_view is not None and self._in_view.place in {s.place for s in self.controller.support.drawn}
        tip = why_not or (
            _("This slice is in the list already")
            if listed
            else _(
                "Count the slice that you look at as drawn, also if none of the segments is there: that, too, is worth "
                "knowing"
            )
        )
        set_property(button, "enabled", not why_not and not listed and not self.controller.running)
        set_property(button, "toolTip", tip)
        self._show_button()
        if before != self._in_view:
            self._live.soon()

    def _look_at_places(self) -> None:
        """A transform moves the drawing over the volume without a change of either."""
        volume = self.node.volume
        places = (volume_state(volume) if volume is not None else None, parent_key(self.node.segmentation))
        if places != self._places:
            self._places = places
            self._drawn()

    def _problem(self) -> str:
        """Why the button cannot be pressed; "" if it can."""
        node = self.node
        if problem := volume_problem(node.volume):
            return problem
        if self.boxes.running:
            return _("The box is being answered.")
        if self.controller.support is None or not self.controller.support.drawn:
            removed = node.segmentation is None
            return (
                _("Choose or create a segmentation above to draw in.")
                if removed
                else _("Draw a segment on at least one slice first.")
            )
        if os.path.isabs(node.encoder) and (lost := missing_path(node.encoder)):
            return lost
        scope = node.propagateTo.value
        if scope == "other" and node.otherVolume is None:
            return _("Select the volume that the drawing is taken to.")
        if scope == "other" and node.otherVolume is node.volume:
            return _("The drawing is on that volume itself. Select another one.")
        return self._presenter.in_view(self._panel.inputs.last_view)[1] if scope == "slice" else ""

    def _show_all(self) -> None:
        if self.node is None:
            self.table.show([], _HINT)
            self.answer.show(None)
            self._show_button()
            return
        ui, running = self.ui, self.controller.running
        other = self.node.propagateTo.value == "other"
        for widget in (ui.otherVolumeLabel, ui.otherVolumeSelector):
            widget.setVisible(other)
        for widget in (ui.propagateForm, ui.supportCollapsibleButton, ui.liveCheckBox):
            widget.enabled = not running
        self._show_rows()
        self.answer.show(self.node)
        self.refresh_views()

    def _show_rows(self) -> None:
        self.table.show(*self._presenter.rows(_HINT))

    def _show_button(self) -> None:
        problem = self.problem if self.node is not None else _HELP
        for name, value in self._presenter.button(problem).items():
            set_property(self.button, name, value)

    def _forget_node(self) -> None:
        self.node = self._in_view = self._places = None
        self._follower.forget()
