"""Slicer's own widgets, as far as the panel uses them. Nodes, observers and the undo history underneath are real."""

from __future__ import annotations

import slicer
from PyQt5 import QtCore, QtGui, QtWidgets
from PyQt5.QtCore import pyqtProperty, pyqtSignal

from .ui_loader import offer_to_designer


class qMRMLWidget(QtWidgets.QWidget):
    """A widget with a scene."""

    mrmlSceneChanged = pyqtSignal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = None

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)


class qSlicerWidget(qMRMLWidget):
    pass


def _plain_property(kind, name, default):
    """A Qt property that is only kept."""
    attribute = "_" + name
    return pyqtProperty(
        kind, lambda self: getattr(self, attribute, default), lambda self, value: setattr(self, attribute, value)
    )


class qMRMLNodeComboBox(qMRMLWidget):
    """Selector of a node of given classes."""

    currentNodeChanged = pyqtSignal(object)
    currentNodeIDChanged = pyqtSignal(str)
    nodeAddedByUser = pyqtSignal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._types, self._hidden_types, self._none, self._none_text = [], [], False, "None"
        self._ids, self._tags, self._filling, self._selected = [""], [], False, ""
        self._add, self._child_types = True, True
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._box = QtWidgets.QComboBox()
        self._box.setSizePolicy(QtWidgets.QSizePolicy.Ignored, QtWidgets.QSizePolicy.Fixed)
        layout.addWidget(self._box)
        self._box.activated.connect(self._activated)

    def _set_types(self, types):
        self._types = list(types)
        self._refill()

    def _set_hidden_types(self, types):
        self._hidden_types = list(types)
        self._refill()

    def _set_none(self, enabled):
        self._none = enabled
        self._refill()

    def _set_none_text(self, text):
        self._none_text = text
        self._refill()

    def _set_child_types(self, shown):
        self._child_types = shown
        self._refill()

    nodeTypes = pyqtProperty("QStringList", lambda self: self._types, _set_types)
    hideChildNodeTypes = pyqtProperty("QStringList", lambda self: self._hidden_types, _set_hidden_types)
    noneEnabled = pyqtProperty(bool, lambda self: self._none, _set_none)
    noneDisplay = pyqtProperty(str, lambda self: self._none_text, _set_none_text)
    showChildNodeTypes = pyqtProperty(bool, lambda self: self._child_types, _set_child_types)
    addEnabled = _plain_property(bool, "add", True)
    removeEnabled = _plain_property(bool, "remove", True)
    renameEnabled = _plain_property(bool, "rename", False)
    editEnabled = _plain_property(bool, "edit", False)
    showHidden = _plain_property(bool, "show_hidden", False)
    selectNodeUponCreation = _plain_property(bool, "select_new", True)
    baseName = _plain_property(str, "base_name", "")

    def setMRMLScene(self, scene):
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        super().setMRMLScene(scene)
        events = (slicer.vtkMRMLScene.NodeAddedEvent, slicer.vtkMRMLScene.NodeRemovedEvent, slicer.vtkMRMLScene.EndCloseEvent, slicer.vtkMRMLScene.EndImportEvent)  # fmt: skip
        self._tags = [scene.AddObserver(event, lambda *_: self._scene_changed()) for event in events] if scene else []
        self._refill()

    def currentNode(self):
        return self._scene.GetNodeByID(self._selected) if self._scene is not None and self._selected else None

    def setCurrentNode(self, node):
        self._refill()
        self._select(node.GetID() if node is not None else "")

    def setCurrentNodeID(self, node_id):
        self._select(node_id)

    @property
    def currentNodeID(self):
        return self._selected

    def addNode(self):
        """What the user's "Create new" does."""
        node = self._scene.AddNewNodeByClass(self._types[0])
        self._select(node.GetID())
        self.nodeAddedByUser.emit(node)
        return node

    def _nodes(self):
        nodes = []
        for cls in self._types if self._scene is not None else ():
            for n in range(self._scene.GetNumberOfNodesByClass(cls)):
                node = self._scene.GetNthNodeByClass(n, cls)
                hidden = node.GetHideFromEditors() or any(node.IsA(other) for other in self._hidden_types)
                if not hidden and (self._child_types or node.GetClassName() == cls):
                    nodes.append(node)
        return nodes

    def _scene_changed(self):
        if not self._scene.IsBatchProcessing():  # a scene that is loaded is looked at when all of it is there
            self._refill()

    def _refill(self):
        self._filling = True
        nodes = self._nodes()
        self._box.clear()
        self._ids = [""] if self._none or not nodes else []
        if self._ids:
            self._box.addItem(self._none_text)
        for node in nodes:
            self._box.addItem(node.GetName())
            self._ids.append(node.GetID())
        if self._none and self._add:
            self._box.addItem("Create new " + (self._base_name_text() or "node"))
        self._filling = False
        if self._selected in self._ids:
            self._box.setCurrentIndex(self._ids.index(self._selected))
        else:
            self._select(self._ids[0])

    def _base_name_text(self):
        return (self._types or [""])[0].replace("vtkMRML", "").replace("Node", "")

    def _activated(self, index):
        if index == len(self._ids):
            self.addNode()
        else:
            self._select(self._ids[index])

    def _select(self, node_id):
        if node_id not in self._ids:
            node_id = ""
        if node_id in self._ids:
            self._box.setCurrentIndex(self._ids.index(node_id))
        changed, self._selected = node_id != self._selected, node_id
        if changed:
            self.currentNodeChanged.emit(self.currentNode())
            self.currentNodeIDChanged.emit(node_id)


class qSlicerMarkupsPlaceWidget(qSlicerWidget):
    """Buttons that place and delete the points of a markups node, through the interaction node as in Slicer."""

    activeMarkupsPlaceModeChanged = pyqtSignal(bool)
    ShowPlaceMultipleMarkupsOption, HidePlaceMultipleMarkupsOption, ForcePlaceSingleMarkup, ForcePlaceMultipleMarkups = range(4)  # fmt: skip

    def __init__(self, parent=None):
        super().__init__(parent)
        self._node, self._placing = None, False
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._place, self._delete = QtWidgets.QToolButton(), QtWidgets.QToolButton()
        self._place.setIcon(self._dot())
        self._place.setToolTip("Place a control point")
        self._place.setCheckable(True)
        self._delete.setIcon(self.style().standardIcon(QtWidgets.QStyle.SP_TrashIcon))
        self._delete.setToolTip("Delete points")
        self._place.toggled.connect(self._set_placing)
        self._delete.clicked.connect(self.deleteLastPoint)
        for button in (self._place, self._delete):
            layout.addWidget(button)
            button.setEnabled(False)

    def _dot(self):
        picture = QtGui.QPixmap(16, 16)
        picture.fill(QtCore.Qt.transparent)
        painter = QtGui.QPainter(picture)
        painter.setBrush(QtGui.QColor(200, 60, 60))
        painter.drawEllipse(3, 3, 9, 9)
        painter.end()
        return QtGui.QIcon(picture)

    buttonsVisible = _plain_property(bool, "buttons", True)
    deleteAllControlPointsOptionVisible = _plain_property(bool, "delete_all", True)
    placeMultipleMarkups = _plain_property(int, "multiple", 0)
    placeModePersistency = _plain_property(bool, "persistent", False)

    def placeButton(self):
        return self._place

    def deleteButton(self):
        return self._delete

    def currentNode(self):
        return self._node

    def setCurrentNode(self, node):
        self._node = node
        for button in (self._place, self._delete):
            button.setEnabled(node is not None)
        if node is None and self._placing:
            self._place.setChecked(False)

    def setPlaceModeEnabled(self, enabled):
        self._place.setChecked(bool(enabled) and self._node is not None)

    placeModeEnabled = pyqtProperty(bool, lambda self: self._placing, setPlaceModeEnabled)

    def _set_placing(self, placing):
        self._placing = placing
        interaction = slicer.app.applicationLogic().GetInteractionNode()
        selection = slicer.app.applicationLogic().GetSelectionNode()
        if placing:
            selection.SetReferenceActivePlaceNodeClassName("vtkMRMLMarkupsFiducialNode")
            selection.SetActivePlaceNodeID(self._node.GetID())
            interaction.SetCurrentInteractionMode(interaction.Place)
        else:
            interaction.SetCurrentInteractionMode(interaction.ViewTransform)
        self.activeMarkupsPlaceModeChanged.emit(placing)

    def deleteLastPoint(self):
        if self._node is not None and self._node.GetNumberOfControlPoints():
            self._node.RemoveNthControlPoint(self._node.GetNumberOfControlPoints() - 1)

    def deleteAllPoints(self):
        if self._node is not None:
            self._node.RemoveAllControlPoints()


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

    segmentationNodeSelectorVisible = _plain_property(bool, "segmentation_selector", True)
    sourceVolumeNodeSelectorVisible = _plain_property(bool, "source_selector", True)
    switchToSegmentationsButtonVisible = _plain_property(bool, "switch_button", True)
    unorderedEffectsVisible = _plain_property(bool, "unordered", True)
    autoShowSourceVolumeNode = _plain_property(bool, "auto_show", True)
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


WIDGETS = (qMRMLWidget, qSlicerWidget, qMRMLNodeComboBox, qSlicerMarkupsPlaceWidget, qMRMLSegmentEditorWidget)


def install() -> None:
    """Puts the widgets where Slicer has them, and lets .ui files use them."""
    for cls in WIDGETS:
        setattr(slicer, cls.__name__, cls)
        offer_to_designer(cls)
