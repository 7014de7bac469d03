"""Slicer's segment editor, embedded: to draw and to correct, and for its undo history, which all changes here use;
and the tool *Draw by a box*: what is found in a box around the chosen segment, or at a click in it, is drawn there."""

from __future__ import annotations

import dataclasses

import slicer
from slicer.i18n import tr as _

from ...engine import InputError
from ...engine.segment.prompts import Box, Voxel
from ...scene.drawings.boxed import BoxedSlices
from ...scene.prompts import ViewPlane, box_of, make_rectangle
from ...scene.removing import remove_node
from ...scene.segmentation.segment_slices import EditingRules
from ..run import SteppingDriver, tell
from ..segment.advanced_section import device_setting
from ..segment.pointing_tool import DragTool, Gesture
from ..widgets.looks import WideArea, move_before, show_pressed
from ..widgets.mouse import MouseAction

_TAG = "S3NetSegment"
_UNDO_STATES = 20
_EFFECTS = (
    "Paint", "Draw", "Erase", "Scissors", "Islands", "Smoothing", "Threshold", "Grow from seeds", "Margin", "Hollow",  # no translation
    "Logical operators", "Level tracing",  # no translation
)  # fmt: skip


class EditorSection:
    """The embedded editor in the section "Draw" or "Edit result"; :meth:`save_undo` makes a change undoable in it."""

    def __init__(self, ui):
        self._ui = ui
        self._open = self._held = False
        self._for_drawing, self._folds = False, {False: True, True: False}  # whether it is folded, in each place
        self.widget = slicer.qMRMLSegmentEditorWidget()
        self.widget.setMaximumNumberOfUndoStates(_UNDO_STATES)
        self._select_editor_node()  # before the scene: default selections are kept in it
        self.widget.setMRMLScene(slicer.mrmlScene)
        self.widget.segmentationNodeSelectorVisible = False
        self.widget.sourceVolumeNodeSelectorVisible = False
        self.widget.switchToSegmentationsButtonVisible = False
        self.widget.setEffectNameOrder(list(_EFFECTS))
        self.widget.unorderedEffectsVisible = False
        self._room = WideArea(self.widget)  # with Paint it needs 512 pixels
        ui.editCollapsibleButton.layout().addWidget(self._room.area)
        ui.editCollapsibleButton.connect("contentsCollapsed(bool)", self._folded)

    def show(self, segmentation_node, volume_node, segment_id: str = "") -> None:
        """Edits ``segmentation_node`` over ``volume_node``. None: nothing."""
        self._select_editor_node()
        if self.widget.segmentationNode() is not segmentation_node:
            self.widget.setSegmentationNode(segmentation_node)  # before the volume, or the editor complains
        if segmentation_node is not None and self.widget.sourceVolumeNode() is not volume_node:
            self.widget.setSourceVolumeNode(volume_node)
        if segment_id and self.widget.currentSegmentID() != segment_id:
            self.widget.setCurrentSegmentID(segment_id)

    def save_undo(self, segmentation_node, volume_node) -> None:
        """Saves the state of ``segmentation_node``, to which Undo comes back."""
        self.show(segmentation_node, volume_node)
        self.widget.saveStateForUndo()

    def rules(self) -> EditingRules:
        """What an answer may change: the editor's editable area and intensity range count, and whether overlap is allowed;
        but other segments never lose voxels to an answer."""
        node = self.widget.mrmlSegmentEditorNode()
        overlaps = node.GetOverwriteMode() == slicer.vtkMRMLSegmentEditorNode.OverwriteNone
        return dataclasses.replace(EditingRules.of_editor(node), overlaps=overlaps, overwritten=())

    def place(self, few_shot: bool) -> None:
        """Puts the section where the use of the panel needs it: to draw above, to correct a result below."""
        button, layout = self._ui.editCollapsibleButton, self._ui.editCollapsibleButton.parent().layout()
        if few_shot != self._for_drawing:
            self._folds[self._for_drawing] = button.collapsed
            layout.removeWidget(button)
            below = self._ui.sharedForm if few_shot else self._ui.adjustCollapsibleButton
            layout.insertWidget(layout.indexOf(below) + 1, button)
            self._for_drawing = few_shot
            button.text = _("Draw") if few_shot else _("Edit result")
            button.collapsed = self._folds[few_shot]
        move_before(button, self._ui.supportCollapsibleButton if few_shot else self._ui.advancedCollapsibleButton)

    def undo(self) -> None:
        self.widget.undo()

    def redo(self) -> None:
        self.widget.redo()

    def start(self) -> None:
        self._select_editor_node()
        self.widget.updateWidgetFromMRML()
        self._folded(self._ui.editCollapsibleButton.collapsed)

    def stop(self) -> None:
        """The panel was left, or the scene closes."""
        self.widget.setActiveEffect(None)
        self._open = False
        self._show_keys()
        self.widget.removeViewObservations()

    def cleanup(self) -> None:
        self._room.stop()

    @property
    def has_keys(self) -> bool:
        """Whether the editor's own shortcuts work now."""
        return self._open and not self._held

    def hold_keys(self, held: bool) -> None:
        """While a run goes on the Esc key cancels it and does not belong to the editor."""
        if held != self._held:
            self._held = held
            self._show_keys()

    def clear(self) -> None:
        """The scene closes: the editor lets go of its nodes."""
        self.stop()
        self.widget.setSegmentationNode(None)

    def _folded(self, collapsed: bool) -> None:
        """The editor's single-key shortcuts and its effects work only while it can be seen."""
        if collapsed:
            self.stop()
        else:
            self.widget.setupViewObservations()
            self._open = True
            self._show_keys()

    def _show_keys(self) -> None:
        if self._open and not self._held:
            self.widget.installKeyboardShortcuts(self.widget)
        else:
            self.widget.uninstallKeyboardShortcuts()

    def _select_editor_node(self) -> None:
        node = slicer.mrmlScene.GetSingletonNode(_TAG, "vtkMRMLSegmentEditorNode")
        if node is None:
            node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
            node.UnRegister(None)
            node.SetSingletonTag(_TAG)
            node = slicer.mrmlScene.AddNode(node)
        if self.widget.mrmlSegmentEditorNode() is not node:
            self.widget.setMRMLSegmentEditorNode(node)


class BoxDrawing(DragTool):
    """The tool and its runs; :meth:`refresh` and :meth:`stop` keep it in step with the panel.

    :param section: the :class:`FewShotSection`: its parameter node; its ``box_changed()`` is called when a run begins or ends.
    :param editor: the :class:`EditorSection`, whose chosen segment is drawn.
    """

    def __init__(self, button, section, editor):
        super().__init__(lambda: None if section.node is None else section.node.volume)
        self._button, self._section, self._editor = button, section, editor
        self.driver = SteppingDriver()
        # What is answered next: the segment, where, a box or the voxel of a click, and the rectangle that shows it.
        self._waiting: list[tuple[str, ViewPlane, Box | Voxel, object]] = []
        show_pressed(button)
        button.connect("toggled(bool)", self._toggled)

    @property
    def running(self) -> bool:
        return self.driver.running

    def refresh(self) -> None:
        """To be called often: the tool rests while one of the editor's is in use, or there is nothing to draw in."""
        node = self._section.node
        there = node is not None and node.volume is not None and node.segmentation is not None
        self._button.enabled = there
        if self._button.checked and (not there or self._editor.widget.activeEffect() is not None):
            self._button.setChecked(False)

    def stop(self) -> None:
        """The user does something else: what is not answered yet is dropped."""
        self._button.setChecked(False)
        waiting, self._waiting = self._waiting, []
        for *_what, rectangle in waiting:
            remove_node(rectangle)
        self.driver.cancel()

    # -- the mouse

    def _toggled(self, on: bool) -> None:
        if on:
            self._editor.widget.setActiveEffect(None)
            self.start()
        else:
            super().stop()

    def accepts(self, action: MouseAction) -> bool:
        if action.modified:
            return False
        if not self._segment():
            raise InputError(_("no segment is chosen; add or choose the one to draw in the list of segments"))
        return True

    def make_node(self, gesture: Gesture):
        return make_rectangle()

    def released(self, gesture: Gesture) -> None:
        grid = gesture.plane.grid
        if gesture.node is None:
            pointed = grid.voxel_at(gesture.places[0])
        else:
            pointed = box_of(gesture.node, grid).clipped(grid.extent)
        self._waiting.append((self._segment(), gesture.plane, pointed, gesture.node))
        self._next()

    def refused(self, error: InputError) -> None:
        tell(self._section, error)

    # -- the answers

    def _next(self) -> None:
        if self.running or not self._waiting:
            return
        segment_id, plane, pointed, rectangle = self._waiting.pop(0)
        node = self._section.node
        volume_node, segmentation_node = node.volume, node.segmentation
        boxed = BoxedSlices(volume_node, segmentation_node)

        def ended(error: Exception | None = None) -> None:
            remove_node(rectangle)
            if error is not None:
                tell(self._section, error)
            self._section.box_changed()
            self._next()

        answer = boxed.answer if isinstance(pointed, Box) else boxed.answer_point
        self.driver.start(
            answer(
                plane, segment_id, pointed, lambda: self._editor.save_undo(segmentation_node, volume_node),
                self._editor.rules().overlaps, device_setting(),
            ),
            on_done=lambda _: ended(), on_error=ended, on_cancel=lambda: remove_node(rectangle),
        )  # fmt: skip
        self._section.box_changed()

    def _segment(self) -> str:
        """The segment that is chosen in the editor, or the only one; "" for none."""
        node = self._section.node
        ids = list(node.segmentation.GetSegmentation().GetSegmentIDs())
        chosen = self._editor.widget.currentSegmentID()
        return chosen if chosen in ids else ids[0] if len(ids) == 1 else ""
