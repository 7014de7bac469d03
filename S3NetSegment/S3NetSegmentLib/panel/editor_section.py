"""Slicer's segment editor, embedded: for corrections by hand, and for its undo history, which all changes here use."""

from __future__ import annotations

import slicer

_TAG = "S3NetSegment"
_UNDO_STATES = 20
_EFFECTS = (
    "Paint", "Draw", "Erase", "Scissors", "Islands", "Smoothing", "Threshold", "Grow from seeds", "Margin", "Hollow",
    "Logical operators", "Level tracing",
)  # fmt: skip


class EditorSection:
    """The embedded editor in the section "Edit result"; :meth:`save_undo` makes a change undoable in it."""

    def __init__(self, ui):
        self._ui = ui
        self.widget = slicer.qMRMLSegmentEditorWidget()
        self.widget.setMaximumNumberOfUndoStates(_UNDO_STATES)
        self._select_editor_node()  # before the scene: default selections are kept in it
        self.widget.setMRMLScene(slicer.mrmlScene)
        self.widget.segmentationNodeSelectorVisible = False
        self.widget.sourceVolumeNodeSelectorVisible = False
        self.widget.switchToSegmentationsButtonVisible = False
        self.widget.setEffectNameOrder(list(_EFFECTS))
        self.widget.unorderedEffectsVisible = False
        ui.editCollapsibleButton.layout().addWidget(self.widget)
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

    def undo(self) -> None:
        self.widget.undo()

    def redo(self) -> None:
        self.widget.redo()

    def start(self) -> None:
        """The panel was entered."""
        self._select_editor_node()
        self.widget.updateWidgetFromMRML()
        self._folded(self._ui.editCollapsibleButton.collapsed)

    def stop(self) -> None:
        """The panel was left, or the scene closes."""
        self.widget.setActiveEffect(None)
        self.widget.uninstallKeyboardShortcuts()
        self.widget.removeViewObservations()

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
            self.widget.installKeyboardShortcuts(self.widget)

    def _select_editor_node(self) -> None:
        node = slicer.mrmlScene.GetSingletonNode(_TAG, "vtkMRMLSegmentEditorNode")
        if node is None:
            node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
            node.UnRegister(None)
            node.SetSingletonTag(_TAG)
            node = slicer.mrmlScene.AddNode(node)
        if self.widget.mrmlSegmentEditorNode() is not node:
            self.widget.setMRMLSegmentEditorNode(node)
