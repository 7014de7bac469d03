"""The stand-in for Slicer's segment editor: the list of segments is played, the undo history is Slicer's own."""

from __future__ import annotations

import slicer
from PyQt5 import QtCore, QtGui, QtWidgets
from PyQt5.QtCore import pyqtProperty, pyqtSignal

from .mrml_widget import plain_property, qMRMLWidget

_EDITOR_WIDTH = {None: 355, "Paint": 512}  # pixels that Slicer's editor needs at least; with the options of Paint more


class qMRMLSegmentEditorWidget(qMRMLWidget):
    """The segment editor: a list of segments, and Slicer's real undo history."""

    segmentationNodeChanged = pyqtSignal(object)
    currentSegmentIDChanged = pyqtSignal(str)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._logic = slicer.vtkSlicerSegmentEditorLogic()
        self._logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        self._node, self._effect, self.saved_states = None, None, 0
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._table = QtWidgets.QTableWidget(0, 2)
        self._table.setHorizontalHeaderLabels(["", "Name"])
        self._table.horizontalHeader().setStretchLastSection(True)
        self._table.setColumnWidth(0, 30)
        self._table.verticalHeader().hide()
        self._table.setSelectionBehavior(QtWidgets.QTableWidget.SelectRows)
        self._table.setMaximumHeight(140)
        layout.addWidget(self._table)
        effects = QtWidgets.QGridLayout()
        for n, name in enumerate(("Paint", "Draw", "Erase", "Scissors", "Islands", "Smoothing")):
            button = QtWidgets.QToolButton()
            button.setText(name)
            button.setSizePolicy(QtWidgets.QSizePolicy.Expanding, QtWidgets.QSizePolicy.Fixed)
            effects.addWidget(button, n // 3, n % 3)
        layout.addLayout(effects)
        self._options = QtWidgets.QFrame()
        self._options.setFixedHeight(1)
        layout.addWidget(self._options)
        self._add_popups()
        self._observed = self._shortcut = None
        self._show_options()

    def _add_popups(self):
        """As in Slicer's editor: a button with a menu, and options in a popup, which are windows inside the editor."""
        self._menu = QtWidgets.QMenu("Show 3D", self)
        self._menu.addAction("Smoothing")
        self._popup = QtWidgets.QFrame(self, QtCore.Qt.Popup)
        QtWidgets.QVBoxLayout(self._popup).addWidget(QtWidgets.QSlider())

    def _show_options(self):
        name = self._effect if isinstance(self._effect, str) else None
        self._options.setMinimumWidth(_EDITOR_WIDTH.get(name, _EDITOR_WIDTH[None]))

    segmentationNodeSelectorVisible = plain_property(bool, "segmentation_selector", True)
    sourceVolumeNodeSelectorVisible = plain_property(bool, "source_selector", True)
    switchToSegmentationsButtonVisible = plain_property(bool, "switch_button", True)
    unorderedEffectsVisible = plain_property(bool, "unordered", True)
    autoShowSourceVolumeNode = plain_property(bool, "auto_show", True)
    maximumNumberOfUndoStates = pyqtProperty(
        int,
        lambda self: self._logic.GetMaximumNumberOfUndoStates(),
        lambda self, count: self._logic.SetMaximumNumberOfUndoStates(count),
    )

    def setMaximumNumberOfUndoStates(self, count):
        self._logic.SetMaximumNumberOfUndoStates(count)

    def setMRMLScene(self, scene):
        if scene is None and self._node is not None:
            self.setSegmentationNode(None)
        super().setMRMLScene(scene)
        self._logic.SetMRMLScene(scene)

    def setMRMLSegmentEditorNode(self, node):
        self._node = node
        self._logic.SetSegmentEditorNode(node)

    def mrmlSegmentEditorNode(self):
        return self._node

    def setEffectNameOrder(self, names):
        self._order = list(names)

    def segmentationNode(self):
        return self._logic.GetSegmentationNode()

    def setSegmentationNode(self, node):
        if self._node is None:
            raise RuntimeError("qMRMLSegmentEditorWidget: the segment editor node must be set first")
        if self._observed is not None:
            for tag in self._observed[1]:
                self._observed[0].RemoveObserver(tag)
        self._observed = None
        self._node.SetAndObserveSegmentationNode(node)
        self._logic.SetSegmentationNode(node)
        if node is not None:
            events = (slicer.vtkSegmentation.SegmentAdded, slicer.vtkSegmentation.SegmentRemoved, slicer.vtkSegmentation.SegmentModified)  # fmt: skip
            self._observed = (node.GetSegmentation(), [node.GetSegmentation().AddObserver(e, lambda *_: self.updateWidgetFromMRML()) for e in events])  # fmt: skip
        self.updateWidgetFromMRML()
        self.segmentationNodeChanged.emit(node)

    def sourceVolumeNode(self):
        return self._logic.GetSourceVolumeNode()

    def setSourceVolumeNode(self, node):
        self._node.SetAndObserveSourceVolumeNode(node)
        self._logic.SetSourceVolumeNode(node)

    def currentSegmentID(self):
        return self._node.GetSelectedSegmentID() if self._node is not None else ""

    def setCurrentSegmentID(self, segment_id):
        self._node.SetSelectedSegmentID(segment_id)
        self.updateWidgetFromMRML()
        self.currentSegmentIDChanged.emit(segment_id)

    def updateWidgetFromMRML(self):
        segmentation = self.segmentationNode()
        ids = [] if segmentation is None else list(segmentation.GetSegmentation().GetSegmentIDs())
        self._table.setRowCount(len(ids))
        for row, segment_id in enumerate(ids):
            segment = segmentation.GetSegmentation().GetSegment(segment_id)
            color = QtWidgets.QTableWidgetItem()
            color.setBackground(QtGui.QColor.fromRgbF(*segment.GetColor()))
            self._table.setItem(row, 0, color)
            self._table.setItem(row, 1, QtWidgets.QTableWidgetItem(segment.GetName()))
            if segment_id == self.currentSegmentID():
                self._table.selectRow(row)

    def saveStateForUndo(self):
        self.saved_states += 1
        self._logic.SaveStateForUndo()

    def undo(self):
        self._logic.Undo()

    def redo(self):
        self._logic.Redo()

    def activeEffect(self):
        return self._effect

    def setActiveEffect(self, effect):
        self._effect = effect
        self._show_options()

    def setActiveEffectByName(self, name):
        self._effect = name
        self._show_options()

    def setupViewObservations(self):
        pass

    def removeViewObservations(self):
        pass

    def installKeyboardShortcuts(self, parent=None):
        """Of Slicer's keys only Esc; as there, it works in the whole window."""
        self.uninstallKeyboardShortcuts()
        self._shortcut = QtWidgets.QShortcut(QtGui.QKeySequence("Esc"), parent)
        self._shortcut.activated.connect(lambda: self.setActiveEffect(None))

    def uninstallKeyboardShortcuts(self):
        if self._shortcut is not None:
            self._shortcut.setParent(None)
            self._shortcut.deleteLater()
        self._shortcut = None
