"""What Slicer's widgets in the stand-in have in common."""

from __future__ import annotations

from PyQt5 import QtWidgets
from PyQt5.QtCore import pyqtProperty, pyqtSignal


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


def plain_property(kind, name, default):
    """A Qt property that is only kept."""
    attribute = "_" + name
    return pyqtProperty(
        kind, lambda self: getattr(self, attribute, default), lambda self, value: setattr(self, attribute, value)
    )
