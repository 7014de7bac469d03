"""Slicer's own widgets, as far as the panel uses them. Nodes, observers and the undo history underneath are real."""

from __future__ import annotations

import slicer
from PyQt5 import QtWidgets
from PyQt5.QtCore import pyqtProperty, pyqtSignal

from .editor_widget import qMRMLSegmentEditorWidget
from .mrml_widget import plain_property, qMRMLWidget, qSlicerWidget
from .ui_loader import offer_to_designer


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
    addEnabled = plain_property(bool, "add", True)
    removeEnabled = plain_property(bool, "remove", True)
    renameEnabled = plain_property(bool, "rename", False)
    editEnabled = plain_property(bool, "edit", False)
    showHidden = plain_property(bool, "show_hidden", False)
    selectNodeUponCreation = plain_property(bool, "select_new", True)
    baseName = plain_property(str, "base_name", "")

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


def install() -> None:
    """Puts the widgets where Slicer has them, and lets .ui files use them."""
    for cls in (qMRMLWidget, qSlicerWidget, qMRMLNodeComboBox, qMRMLSegmentEditorWidget):
        setattr(slicer, cls.__name__, cls)
        offer_to_designer(cls)
