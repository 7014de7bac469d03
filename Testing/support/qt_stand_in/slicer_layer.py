"""Slicer's Python layer for scripted modules: the base classes, translation, the parameter node wrapper.

With S3NETSEGMENT_SLICER_SOURCE set to a folder with Slicer's source, the real layer of that source is used instead. It is
not part of the ``slicer-core`` wheel and no part of this project; tests must pass with both.
"""

from __future__ import annotations

import logging
import os
import sys
import types
import unittest

import slicer
import slicer.util
from PyQt5 import QtGui, QtWidgets

from . import parameter_node


class ScriptedLoadableModule:
    """Base of the module class."""

    def __init__(self, parent):
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title, parent.categories, parent.dependencies, parent.contributors = "", [], [], []
        parent.helpText = parent.acknowledgementText = ""
        for ending in (".svg", ".png"):
            icon = os.path.join(os.path.dirname(parent.path), "Resources", "Icons", self.moduleName + ending)
            if os.path.isfile(icon):
                parent.icon = QtGui.QIcon(icon)
                break

    def resourcePath(self, name):
        return os.path.join(os.path.dirname(self.parent.path), "Resources", name)

    def getDefaultModuleDocumentationLink(self):
        return ""


class ScriptedLoadableModuleWidget:
    """Base of the module's widget."""

    def __init__(self, parent=None):
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        if parent is None:
            parent = slicer.qMRMLWidget()
            parent.setLayout(QtWidgets.QVBoxLayout())
            parent.setMRMLScene(slicer.mrmlScene)
        self.parent = parent
        self.layout = parent.layout()
        slicer.app.moduleManager().connect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def resourcePath(self, name):
        return os.path.join(os.path.dirname(slicer.util.modulePath(self.moduleName)), "Resources", name)

    def setup(self):
        pass

    def cleanup(self):
        pass

    def onReload(self):
        pass

    def _onModuleAboutToBeUnloaded(self, name):
        if name == self.moduleName:
            self.cleanup()
            slicer.app.moduleManager().disconnect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)


class ScriptedLoadableModuleLogic:
    """Base of the module's logic: finds or makes the one parameter node of the scene."""

    def __init__(self, parent=None):
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def getParameterNode(self):
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
            node.UnRegister(None)
            node.SetSingletonTag(self.moduleName)
            node.SetName(self.moduleName)
            node = slicer.mrmlScene.AddNode(node)
        node.SetAttribute("ModuleName", self.moduleName)
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """Base of the module's self test."""

    messageDelay = 0

    def __init__(self, methodName="runTest"):
        super().__init__(methodName)

    def delayDisplay(self, message, requestedDelay=None, msec=None):
        logging.info(message)
        slicer.app.processEvents()


def install() -> None:
    """Puts the layer where modules import it from."""
    source = os.environ.get("S3NETSEGMENT_SLICER_SOURCE")
    if source:
        _install_real_layer(source)
    else:
        _install_own_layer()


def _install_real_layer(source: str) -> None:
    folder = os.path.join(source, "Base", "Python", "slicer")
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"S3NETSEGMENT_SLICER_SOURCE is {source}, which has no Base/Python/slicer")
    slicer.__path__.append(folder)
    for name, base in _FURTHER_WIDGETS.items():  # the wrapper's connectors name these classes
        owner = sys.modules["ctk"] if name.startswith("ctk") else slicer
        if not hasattr(owner, name):
            setattr(owner, name, type(name, (base,), {}))


_FURTHER_WIDGETS = {
    "ctkCheckablePushButton": QtWidgets.QPushButton,
    "ctkColorPickerButton": QtWidgets.QPushButton,
    "ctkDirectoryButton": QtWidgets.QWidget,
    "ctkDoubleRangeSlider": QtWidgets.QWidget,
    "ctkDoubleSlider": QtWidgets.QWidget,
    "ctkPathLineEdit": QtWidgets.QWidget,
    "ctkRangeWidget": QtWidgets.QWidget,
    "ctkSliderWidget": QtWidgets.QWidget,
    "qMRMLRangeWidget": QtWidgets.QWidget,
    "qMRMLSliderWidget": QtWidgets.QWidget,
    "qMRMLSpinBox": QtWidgets.QWidget,
    "qMRMLSubjectHierarchyComboBox": QtWidgets.QWidget,
    "qMRMLSubjectHierarchyTreeView": QtWidgets.QWidget,
}


def _install_own_layer() -> None:
    module = types.ModuleType("slicer.ScriptedLoadableModule")
    classes = (ScriptedLoadableModule, ScriptedLoadableModuleWidget, ScriptedLoadableModuleLogic, ScriptedLoadableModuleTest)  # fmt: skip
    module.__all__ = [cls.__name__ for cls in classes]
    for cls in classes:
        setattr(module, cls.__name__, cls)
    i18n = types.ModuleType("slicer.i18n")
    i18n.tr = lambda text: text
    i18n.translate = lambda context, text: text
    wrapper = types.ModuleType("slicer.parameterNodeWrapper")
    for name in ("parameterNodeWrapper", "WithinRange", "Minimum", "Choice"):
        setattr(wrapper, name, getattr(parameter_node, name))
    for name, made in (("ScriptedLoadableModule", module), ("i18n", i18n), ("parameterNodeWrapper", wrapper)):
        setattr(slicer, name, made)
        sys.modules[f"slicer.{name}"] = made
