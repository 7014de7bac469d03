"""Pictures of slice and 3D views with their segmentations, rendered offscreen by Slicer's own displayable managers.

    from slice_pictures import SlicePicture, ThreeDPicture, why_no_pictures
    if not why_no_pictures():
        SlicePicture(app, volume_node, "Axial").save("axial.png")

Needs slicer-core and OpenGL without a screen: EGL (Debian and Ubuntu: libegl1, libegl-mesa0, libgl1-mesa-dri), or X.
"""

from __future__ import annotations

import functools
import subprocess
import sys

import headless_slicer
import numpy as np

_PROBE = (
    "import vtk; w = vtk.vtkRenderWindow(); w.SetOffScreenRendering(1); w.SetSize(8, 8); r = vtk.vtkRenderer(); "
    "r.SetBackground(1, 0, 0); w.AddRenderer(r); w.Render(); f = vtk.vtkWindowToImageFilter(); f.SetInput(w); "
    "f.ReadFrontBufferOff(); f.Update(); assert f.GetOutput().GetScalarComponentAsDouble(4, 4, 0, 0) == 255"
)
_SLICE_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
)
_THREE_D_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLMarkupsDisplayableManager",
)


@functools.cache
def why_no_pictures() -> str | None:
    """Why this machine cannot render, or None if it can. Tried in a process of its own: a bad driver may crash."""
    if not headless_slicer.AVAILABLE:
        return headless_slicer.WHY_NOT
    try:
        done = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, timeout=600)
    except subprocess.TimeoutExpired:
        return "offscreen rendering hangs on this machine"
    return None if done.returncode == 0 else "no offscreen OpenGL (install libegl1, libegl-mesa0 and libgl1-mesa-dri)"


class _Picture:
    """A render window with the displayable managers of one kind of view."""

    def __init__(self, app, factory, managers, size, background=None):
        import slicer
        import vtk

        self.renderer = vtk.vtkRenderer()
        with headless_slicer.without_vtk_warnings():  # "bad X server" where there is no screen
            self.window = vtk.vtkRenderWindow()
            self.window.SetOffScreenRendering(1)
            self.window.SetMultiSamples(0)
            self.window.SetSize(*size)
            self.window.AddRenderer(self.renderer)
            self.window.Render()
        if background is not None:
            # Before the managers add theirs: what is drawn earlier is what later transparent props blend with.
            self.renderer.AddViewProp(background)
        self._interactor = vtk.vtkGenericRenderWindowInteractor()
        self._interactor.SetRenderWindow(self.window)
        self._interactor.Initialize()
        self._factory = factory.GetInstance()
        self._factory.SetMRMLApplicationLogic(app.application_logic)
        for manager in managers:
            if not self._factory.IsDisplayableManagerRegistered(manager):
                self._factory.RegisterDisplayableManager(manager)
        self._group = slicer.vtkMRMLDisplayableManagerGroup()
        self._group.SetRenderer(self.renderer)
        self._group.Initialize(self._factory, self.renderer)

    def array(self) -> np.ndarray:
        """The picture now, uint8 ``[height, width, 3]``, first row on top."""
        import vtk
        from vtk.util.numpy_support import vtk_to_numpy

        self._update()
        self.window.Render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self.window)
        grab.ReadFrontBufferOff()
        grab.Update()
        image = grab.GetOutput()
        width, height, _ = image.GetDimensions()
        return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, 3)[::-1].copy()

    def save(self, path) -> None:
        """Writes the picture as PNG."""
        import vtk
        from vtk.util.numpy_support import numpy_to_vtk

        array = self.array()
        image = vtk.vtkImageData()
        image.SetDimensions(array.shape[1], array.shape[0], 1)
        image.GetPointData().SetScalars(numpy_to_vtk(array[::-1].reshape(-1, 3), deep=True))
        writer = vtk.vtkPNGWriter()
        writer.SetFileName(str(path))
        writer.SetInputData(image)
        writer.Write()

    def close(self) -> None:
        """Takes the view off the scene."""
        self._group.SetMRMLDisplayableNode(None)
        self._group = None
        self.window.Finalize()

    def _update(self) -> None:
        pass


class SlicePicture(_Picture):
    """A slice view with ``volume_node`` as background. Attributes: node (vtkMRMLSliceNode), logic."""

    def __init__(self, app, volume_node, orientation="Axial", name="Red", size=(500, 400)):
        import slicer
        import vtk

        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        self._image = vtk.vtkActor2D()
        self._image.SetMapper(self._mapper)
        self._image.GetProperty().SetDisplayLocationToBackground()
        self._image.VisibilityOff()  # until there is something to draw
        super().__init__(app, slicer.vtkMRMLSliceViewDisplayableManagerFactory, _SLICE_MANAGERS, size, self._image)
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        overlay = vtk.vtkRenderer()  # markups and crosshair are drawn on a layer of their own
        overlay.SetLayer(1)
        overlay.GetActiveCamera().ParallelProjectionOn()
        self.window.SetNumberOfLayers(2)
        self.window.AddRenderer(overlay)
        self.window.SetAlphaBitPlanes(1)
        self.node = app.add_slice_view(name, orientation, volume_node, size)
        self.logic = app.slice_logic(self.node)
        self._group.SetMRMLDisplayableNode(self.node)
        self.logic.ResizeSliceNode(*size)
        self.logic.FitSliceToBackground()

    def show_slice_at(self, ras) -> None:
        """Scrolls to the slice through ``ras``."""
        self.node.JumpSliceByOffsetting(*(float(v) for v in ras))

    def _update(self) -> None:
        self.logic.UpdatePipeline()
        self._mapper.SetInputConnection(self.logic.GetImageDataConnection())
        self._image.VisibilityOn()


class ThreeDPicture(_Picture):
    """A 3D view of everything that is visible in 3D. Attributes: node (vtkMRMLViewNode), logic."""

    def __init__(self, app, name="1", size=(500, 400)):
        import slicer

        super().__init__(app, slicer.vtkMRMLThreeDViewDisplayableManagerFactory, _THREE_D_MANAGERS, size)
        self.logic = slicer.vtkMRMLViewLogic()
        self.logic.SetMRMLApplicationLogic(app.application_logic)
        app.application_logic.GetViewLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(app.scene)
        self.node = self.logic.AddViewNode(name)
        self.node.SetBoxVisible(False)
        self.node.SetAxisLabelsVisible(False)
        self._group.SetMRMLDisplayableNode(self.node)

    def look_from(self, azimuth: float = 30.0, elevation: float = 15.0) -> None:
        """Places the camera so that everything is seen, turned from the front (degrees)."""
        camera = self.renderer.GetActiveCamera()
        camera.SetFocalPoint(0, 0, 0)
        camera.SetPosition(0, 500, 0)  # anterior
        camera.SetViewUp(0, 0, 1)
        camera.Azimuth(azimuth)
        camera.Elevation(elevation)
        self.window.Render()
        self.renderer.ResetCamera()
        self.renderer.ResetCameraClippingRange()
