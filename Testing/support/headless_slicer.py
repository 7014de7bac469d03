"""Slicer without its window: the real MRML of the ``slicer-core`` wheel, booted as a stand-in for the application.

    import headless_slicer
    app = headless_slicer.start()      # once per process; later calls return the same application
    app.new_scene()                    # an empty scene, with its singletons, for the next test

``slicer.mrmlScene``, ``slicer.app`` and ``slicer.modules`` are set as in Slicer, as far as there is something without Qt
to set. ``slicer.app`` is a plain object; more can be put on it.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

AVAILABLE = importlib.util.find_spec("slicer") is not None and importlib.util.find_spec("vtk") is not None
WHY_NOT = "slicer-core is not installed (python -m pip install slicer-core)"

# Name of the module in Slicer -> class of its logic. Giving a logic its scene registers the module's node classes.
_LOGICS = {
    "Colors": "vtkSlicerColorLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Models": "vtkSlicerModelsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Texts": "vtkSlicerTextsLogic",
    "CropVolume": "vtkSlicerCropVolumeLogic",
    "Sequences": "vtkSlicerSequencesLogic",
}
_application = None


def start() -> HeadlessSlicer:
    """The application of this process, booted on the first call (1 to 2 s). ImportError without slicer-core."""
    global _application
    if not AVAILABLE:
        raise ImportError(WHY_NOT)
    if _application is None:
        _application = HeadlessSlicer()
    return _application


class HeadlessSlicer:
    """Scene, application logic and module logics. Attributes: scene, application_logic, logics (by module name)."""

    def __init__(self):
        import slicer
        import slicer.util
        import vtk

        self.scene = slicer.mrmlScene = slicer.vtkMRMLScene()
        self.application_logic = slicer.vtkSlicerApplicationLogic()
        self._slice_logics = []
        self._add_crosshair()
        self.application_logic.SetMRMLScene(self.scene)
        self.application_logic.GetColorLogic().SetMRMLScene(self.scene)
        with without_vtk_warnings():
            self.application_logic.GetColorLogic().AddDefaultColorNodes()
        self.application_logic.SetSliceLogics(vtk.vtkCollection())
        self.application_logic.SetViewLogics(vtk.vtkCollection())
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.scene, True)
        slicer.modules = sys.modules["slicer.modules"] = SimpleNamespace()
        self.logics = {}
        for name, class_name in _LOGICS.items():
            self._register(name, getattr(slicer, class_name)())
        slicer.app = SimpleNamespace(
            applicationLogic=lambda: self.application_logic,
            mrmlScene=lambda: self.scene,
            temporaryPath=tempfile.gettempdir(),
            processEvents=lambda *flags: None,
            pauseRender=lambda: None,
            resumeRender=lambda: None,
            testingEnabled=lambda: True,
            commandOptions=lambda: SimpleNamespace(noMainWindow=True, testingEnabled=True),
            majorVersion=5,
            minorVersion=13,
        )

    def new_scene(self):
        """Empties the scene: slice views go, data go, colours and other singletons stay."""
        import slicer

        for logic in self._slice_logics:
            self.application_logic.GetSliceLogics().RemoveItem(logic)
            logic.SetMRMLScene(None)
        self._slice_logics.clear()
        self.scene.Clear(False)
        for cls in ("vtkMRMLSliceNode", "vtkMRMLSliceCompositeNode", "vtkMRMLViewNode", "vtkMRMLSequenceBrowserNode"):
            for node in slicer.util.getNodesByClass(cls, self.scene):
                self.scene.RemoveNode(node)  # singletons survive Clear
        crosshair = self.scene.GetSingletonNode("default", "vtkMRMLCrosshairNode")
        if crosshair is None:
            self._add_crosshair()
        else:
            crosshair.SetCursorPositionInvalid()
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.scene, True)
        return self.scene

    def add_slice_view(self, name: str = "Red", orientation: str = "Axial", volume_node=None, size=(400, 300)):
        """A slice view as in a layout; returns its vtkMRMLSliceNode. ``volume_node`` becomes its background, fitted."""
        import slicer

        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(self.application_logic)
        self.application_logic.GetSliceLogics().AddItem(logic)
        logic.SetMRMLScene(self.scene)
        node = logic.AddSliceNode(name)
        node.SetOrientation(orientation)
        logic.ResizeSliceNode(*size)
        self._slice_logics.append(logic)
        if volume_node is not None:
            logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume_node.GetID())
            logic.FitSliceToBackground()
        return node

    def slice_logic(self, slice_node):
        """The logic behind a slice node of :meth:`add_slice_view`."""
        return self.application_logic.GetSliceLogic(slice_node)

    def _add_crosshair(self):
        import slicer

        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        self.scene.AddNode(crosshair)

    def _register(self, name, logic):
        import slicer

        # The wheel has no terminology and colour files; these logics complain about that, once.
        with without_vtk_warnings() if name in ("Colors", "Terminologies") else nullcontext():
            logic.SetMRMLApplicationLogic(self.application_logic)  # before the scene: Colors needs it there
            logic.SetMRMLScene(self.scene)
        self.application_logic.SetModuleLogic(name, logic)
        self.logics[name] = logic
        setattr(slicer.modules, name.lower(), SimpleNamespace(name=name, logic=lambda: logic))


@contextmanager
def without_vtk_warnings():
    """Silences VTK inside; only around noise that is known, since it hides real errors as well."""
    import vtk

    before = vtk.vtkObject.GetGlobalWarningDisplay()
    vtk.vtkObject.GlobalWarningDisplayOff()
    try:
        yield
    finally:
        vtk.vtkObject.SetGlobalWarningDisplay(before)
