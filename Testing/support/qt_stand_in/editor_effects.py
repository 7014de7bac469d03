"""Effects of Slicer's Segment Editor: the C++ host of a scripted effect, its factory, and an editor that chooses effects.

Loading follows Slicer: the folder of the source names the module, its file the class. Segment editor node, undo history and
masks underneath are Slicer's own.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path

import slicer
from PyQt5 import QtWidgets


class ScriptedEffect:
    """``qSlicerSegmentEditorScriptedEffect``: what a scripted effect sees of the editor that it belongs to."""

    def __init__(self, parent=None):
        self.name, self.title, self.perSegment, self.requireSegments = "", "", True, True
        self.showEffectCursorInSliceView = True
        self._effect = self._editor = None
        self._frame = QtWidgets.QFrame()
        self._layout = QtWidgets.QFormLayout(self._frame)

    def setPythonSource(self, path):
        path = Path(path)
        class_name = path.stem if path.stem.endswith("Effect") else path.stem + "Effect"
        module = sys.modules.get(path.parent.name)
        if not hasattr(module, class_name):
            spec = importlib.util.spec_from_file_location(path.parent.name, path)
            module = importlib.util.module_from_spec(spec)
            sys.modules[path.parent.name] = module
            spec.loader.exec_module(module)
        self._effect = getattr(module, class_name)(self)
        return True

    def self(self):
        return self._effect

    def optionsFrame(self):
        return self._frame

    def addOptionsWidget(self, widget):
        self._layout.addRow(widget)

    def parameterSetNode(self):
        return self._editor.node if self._editor is not None else None

    def parameter(self, name):
        value = self.parameterSetNode().GetAttribute(f"{self.name}.{name}")
        if value is None:  # Slicer prints this as an error, in red
            raise KeyError(f"Parameter named {name} cannot be found for effect {self.name}")
        return value

    def parameterDefined(self, name):
        return self.parameterSetNode().GetAttribute(f"{self.name}.{name}") is not None

    def setParameter(self, name, value):
        """As in Slicer an empty value is not stored."""
        self.parameterSetNode().SetAttribute(f"{self.name}.{name}", str(value) or None)
        if self._editor.active is self:
            self._effect.updateGUIFromMRML()

    def setParameterDefault(self, name, value):
        if not self.parameterDefined(name):
            self.setParameter(name, value)

    def saveStateForUndo(self):
        self._editor.saves += 1
        self._editor.logic.SaveStateForUndo()


class AbstractScriptedSegmentEditorEffect:
    """Base of the scripted effects."""

    def __init__(self, scriptedEffect):
        self.scriptedEffect = scriptedEffect

    def register(self):
        slicer.qSlicerSegmentEditorEffectFactory.instance().registerEffect(self.scriptedEffect)

    def cleanup(self):
        pass


class EffectFactory:
    """``qSlicerSegmentEditorEffectFactory``."""

    _instance = None

    def __init__(self):
        self.effects = {}

    @classmethod
    def instance(cls):
        if cls._instance is None:
            cls._instance = cls()
        return cls._instance

    def registerEffect(self, effect):
        self.effects[effect.name] = effect


class EffectEditor:
    """Tests: a Segment Editor with its registered effects. ``choose(name)`` makes one active, "" none."""

    def __init__(self, segmentation_node, volume_node):
        self.node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
        self.logic, self.saves, self.active = slicer.vtkSlicerSegmentEditorLogic(), 0, None
        self.logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        self.logic.SetMRMLScene(slicer.mrmlScene)
        self.logic.SetSegmentEditorNode(self.node)
        self.logic.SetMaximumNumberOfUndoStates(10)
        self.effects = {}
        for name, registered in EffectFactory.instance().effects.items():
            effect = registered.self().clone()  # each editor has its own
            effect._editor = self
            effect.self().setupOptionsFrame()
            effect.self().setMRMLDefaults()
            self.effects[name] = effect
        self.select(segmentation_node, volume_node)
        self._tag = self.node.AddObserver("ModifiedEvent", lambda *_: self._update())

    def select(self, segmentation_node, volume_node):
        """The user selects a segmentation and a source volume."""
        self.node.SetAndObserveSegmentationNode(segmentation_node)
        self.logic.SetSegmentationNode(segmentation_node)
        self.node.SetAndObserveSourceVolumeNode(volume_node)
        self.logic.SetSourceVolumeNode(volume_node)

    def choose(self, name):
        if self.active is not None:
            self.active.self().deactivate()
        self.active = self.effects.get(name)
        if self.active is not None:
            self.active.self().activate()
            self._update()

    def close(self):
        self.node.RemoveObserver(self._tag)
        self.choose("")
        for effect in self.effects.values():
            effect.self().cleanup()

    def _update(self):
        if self.active is not None:
            self.active.self().updateGUIFromMRML()


def install() -> None:
    """Puts the classes where effects import them from."""
    host = types.ModuleType("qSlicerSegmentationsEditorEffectsPythonQt")
    host.qSlicerSegmentEditorScriptedEffect = ScriptedEffect
    sys.modules[host.__name__] = host
    effects = types.ModuleType("SegmentEditorEffects")
    effects.AbstractScriptedSegmentEditorEffect = AbstractScriptedSegmentEditorEffect
    sys.modules[effects.__name__] = effects
    slicer.qSlicerSegmentEditorEffectFactory = EffectFactory
