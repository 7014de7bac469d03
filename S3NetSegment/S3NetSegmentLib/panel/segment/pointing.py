"""``Pointing``: the object follows what the user points at, and undo takes back both together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...engine import InputError
from ...engine.images import AXES
from ...scene.answers.provenance import content_name
from ...scene.prompts import PromptsState, box_of, prompts_state, restore_prompts
from ...scene.segmentation.labelmaps import read_segment
from ...scene.segmentation.segment_slices import other_segments
from ...scene.volumes import volume_from_node
from .advanced_section import device_setting
from .prompts_section import PromptsSection
from .request import SegmentRequest, make_request


@dataclass(frozen=True)
class _Step:
    """One change of the prompts, and the name of what the object's segment held before and after its answer.

    :param saved: whether the editor saved a state for it; a change of tags alone is one, too.
    """

    earlier: PromptsState
    later: PromptsState
    before: str
    after: str
    saved: bool

    def turned(self) -> _Step:
        return _Step(self.later, self.earlier, self.after, self.before, self.saved)

    def alone(self, content: str) -> bool:
        """Whether its answer changed nothing, so that the editor's history cannot tell it."""
        return self.before == self.after == content


class PromptHistory:
    """Undo and redo. The editor's history knows only segments, and the user paints in it as well; so a step of the prompts is
    taken back when the editor's undo has brought back exactly the content from before that step's answer. A step whose answer
    changed nothing is taken back by itself.

    :param editor: the editor's ``undo()`` and ``redo()``.
    :param content: names what the object's segment holds now; "" for nothing.
    :param on_restored: called after prompts were brought back.
    """

    def __init__(self, editor, content: Callable[[], str], on_restored: Callable[[], object]):
        self._editor, self._content, self._on_restored = editor, content, on_restored
        self.forget()

    def forget(self) -> None:
        """Begins anew with the prompts of the scene."""
        self._done: list[_Step] = []
        self._undone: list[_Step] = []
        self._state, self._before = prompts_state(), None

    def saving(self) -> None:
        """To be called when the editor's state is saved, before an answer is written."""
        if self._before is None:
            self._before = self._content()

    def note(self) -> None:
        """To be called when the answer has followed the prompts, or has not because it could not."""
        state, before = prompts_state(), self._before
        self._before = None
        if state == self._state:
            return
        now = self._content()
        self._done.append(_Step(self._state, state, now if before is None else before, now, before is not None))
        self._undone.clear()
        self._state = state

    def undo(self) -> None:
        self._take_back(self._done, self._undone, self._editor.undo)

    def redo(self) -> None:
        self._take_back(self._undone, self._done, self._editor.redo)

    def _take_back(self, steps: list[_Step], others: list[_Step], in_editor: Callable[[], object]) -> None:
        """Takes the last of ``steps`` back, which turned round is one of ``others`` then."""
        step, now = steps[-1] if steps else None, self._content()
        alone = step is not None and step.alone(now)
        if not alone or step.saved:
            in_editor()
        if alone or (step is not None and now == step.after and self._content() == step.before):
            others.append(steps.pop().turned())
            self._restore(step.earlier)

    def _restore(self, state: PromptsState) -> None:
        restore_prompts(state)
        self._state = prompts_state()
        self._on_restored()


class Pointing:
    """Brings the prompts in the views, the controller and the undo history together.

    Attributes: ``prompts`` (the tool and its list), ``history``.

    :param panel: the :class:`SegmentPanel`: its parameter node, inputs, settings and messages.
    :param section: the :class:`SegmentSection`: its controller, target and tools.
    """

    def __init__(self, panel, section):
        self._panel, self._section, self._controller = panel, section, section.controller
        self.prompts = PromptsSection(panel.ui, self, section)
        self.history = PromptHistory(panel.editor, self._object_content, self._restored)
        self._waiting: Callable[[], object] | None = None  # what came while a run went on
        self._drag_saved = False  # the state before the drag that goes on is saved for undo
        panel.ui.keepOutCheckBox.connect("clicked()", self.changed)

    def request(self, slice_node=None, plane: tuple[str, int] | None = None) -> SegmentRequest:
        """What the panel asks for now. InputError for what cannot be asked.

        :param slice_node, plane: the view, or (axis, index) of the slice, where only one slice is searched; None: the view
            last used.
        """
        panel = self._panel
        node = panel.node
        self._section.require_open()
        request = make_request(
            node.volume,
            node.scope.value,
            slice_node=slice_node,
            last_view=panel.inputs.last_view,
            plane=plane,
            slice_range=(node.firstSlice, node.lastSlice),
            axis=node.axis.value if node.scope.value == "range" else "auto",
            roi_node=node.roi,
            pointed=self.prompts.pointed(),
            settings=panel.advanced.segment.settings(),
            preset=node.preset.value,
            device=device_setting(),
        )
        return request.keeping_out(self._excluded(request))

    def moving(self, box) -> None:
        """A side of ``box`` or a point is being dragged: the answer in its slice follows; all else waits for :meth:`changed`."""
        panel = self._panel
        if panel.node is None or panel.mode != "segment" or self._is_closed():
            return
        plane, result = self._slice_of(box), self._controller.result
        if plane is not None and (result is None or plane != _slice_of(result.answer.request)):
            return
        if self._controller.move_prompts(self.prompts.pointed(), undoable=not self._drag_saved):
            self._drag_saved = True

    def changed(self, box=None) -> None:
        """A side of ``box`` was dragged, or a point moved, or something was removed: the live object follows."""
        panel = self._panel
        if panel.node is None or panel.mode != "segment":
            return
        plane, result = self._slice_of(box), self._controller.result
        if self._controller.running:
            if not self._ask_instead(plane=plane):
                self._waiting = lambda: self.changed(box)
            return
        panel.message.hide()
        if self._is_closed():
            self._note()
            return
        saved, self._drag_saved = self._drag_saved, False
        if saved:  # most of its answer is written already
            if not self._controller.change_prompts(self.prompts.pointed(), self._excluded, undoable=False):
                self._section.state_changed()
        elif plane is not None:
            self._ask(plane=plane)
        elif result is not None and result.answer.is_object:
            pointed = self.prompts.pointed()
            if any((pointed.inside, pointed.boxes, pointed.strokes)):
                self._controller.change_prompts(pointed, self._excluded)
        if not self._controller.running:
            self._controller.sight.remove()
        self._note()

    def ended(self) -> None:
        """To be called when nothing is running: what came meanwhile is answered now."""
        self.history.note()
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting()

    def forget_waiting(self) -> None:
        """The run is cancelled, and with it what waits for its end."""
        self._waiting = None

    def drawn(self, slice_node) -> None:
        """Something was pointed at in a view: the object follows at once."""
        self._panel.message.hide()
        if not self._controller.running:
            self._ask(slice_node)
        elif not self._ask_instead(slice_node):
            self._waiting = lambda: self._ask(slice_node)

    # -- inside

    def _is_closed(self) -> bool:
        """Whether the object must stay as it is, which is told."""
        try:
            self._section.require_open()
        except InputError as error:
            self._panel.refused(str(error))
            return True
        return False

    def _ask_instead(self, slice_node=None, plane: tuple[str, int] | None = None) -> bool:
        """Lets the run that goes on answer what is pointed at now; returns whether it can."""
        try:
            return self._controller.ask_instead(self.request(slice_node, plane))
        except InputError:  # said when the run has ended
            return False

    def _ask(self, slice_node=None, plane: tuple[str, int] | None = None) -> None:
        panel = self._panel
        try:
            request = self.request(slice_node, plane)
        except InputError as error:
            panel.refused(str(error))
            self._note()
            return
        result = self._controller.result
        if (
            result is not None
            and result.answer.is_object
            and result.answer.request.key == request.key
            and result.object_id == self._section.target.segment_id
        ):
            self._controller.change_prompts(self.prompts.pointed(), self._excluded)
        else:
            self._section.start(request)
        self._note()

    def _excluded(self, request: SegmentRequest):
        """What belongs to other segments, or None where it does not matter."""
        node = self._panel.node
        if not node.keepOut or not request.has_prompts:
            return None
        return other_segments(node.segmentation, self._section.target.segment_id, request.geometry)

    def _slice_of(self, box) -> tuple[str, int] | None:
        """The slice that a flat box lies in, where single slices are searched."""
        node = self._panel.node
        if box is None or node.scope.value != "slice" or node.volume is None:
            return None
        try:
            drawn = box_of(box, volume_from_node(node.volume))
        except InputError:
            return None
        return (drawn.flat_axis, drawn.slice_index()) if drawn is not None and drawn.flat_axis else None

    def _note(self) -> None:
        if not self._controller.running:
            self.history.note()

    def _object_content(self) -> str:
        """Names what the object's segment holds, "" for nothing."""
        node = self._panel.node
        segmentation = node.segmentation if node is not None else None
        segment_id = node.targetSegment if segmentation is not None else ""
        if not segment_id or segmentation.GetSegmentation().GetSegment(segment_id) is None:
            return ""
        box, _ = read_segment(segmentation, segment_id)
        return content_name(box) if box.array.any() else ""

    def _restored(self) -> None:
        """Undo or redo has brought back prompts, and their answer."""
        self.prompts.rest()
        self._controller.follow_prompts(self.prompts.pointed())
        self._section.adjust.show()


def _slice_of(request: SegmentRequest) -> tuple[str, int] | None:
    """(axis, index) of the slice that is searched; None for more than one slice and for oblique planes."""
    if not request.flat or request.valid is not None:
        return None
    return request.axis, request.extent.start[AXES.index(request.axis)]
