"""The stand-in for ``slicer.app``: module manager, settings, layout with slice views; and loading of a module."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import types
from pathlib import Path

import slicer
import slicer.util
import vtk
from PyQt5 import QtCore, QtGui, QtWidgets
from PyQt5.QtCore import pyqtSignal

from .mrml_widget import qMRMLWidget
from .timers import QTimer

LOOK_AGAIN = 2  # milliseconds


class _ModuleManager(QtCore.QObject):
    moduleAboutToBeUnloaded = pyqtSignal(str)


class SliceView:
    """What the module needs of a qMRMLSliceView: an interactor without a window and the conversion of coordinates."""

    def __init__(self, slice_node):
        self._node = slice_node
        self._interactor = vtk.vtkGenericRenderWindowInteractor()
        self._interactor.SetInteractorStyle(None)  # nobody listens but the module
        self.cursor = None

    def interactor(self):
        return self._interactor

    def mrmlSliceNode(self):
        return self._node

    def convertDeviceToXYZ(self, xy):
        return [float(xy[0]), float(xy[1]), 0.0]

    def convertXYZToRAS(self, xyz):
        return list(self._node.GetXYToRAS().MultiplyPoint((*xyz[:2], 0.0, 1.0))[:3])

    def setViewCursor(self, cursor):
        self.cursor = cursor

    def unsetViewCursor(self):
        self.cursor = None

    def mouse(self, event, ras, control=False, shift=False):
        """Tests: a mouse event ("LeftButtonPressEvent", ...) at world position ``ras``."""
        self.mouse_at(event, *self.position(ras), control, shift)

    def mouse_at(self, event, x, y, control=False, shift=False):
        """Tests: a mouse event at a pixel of the view."""
        self._interactor.SetEventInformation(x, y, int(control), int(shift), chr(0), 0, None)
        self._interactor.InvokeEvent(event)

    def position(self, ras):
        """Tests: the pixel at world position ``ras``."""
        inverse = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(self._node.GetXYToRAS(), inverse)
        return tuple(round(value) for value in inverse.MultiplyPoint((*ras, 1.0))[:2])

    def click(self, ras, **modifiers):
        """Tests: press and release at ``ras``."""
        self.mouse("LeftButtonPressEvent", ras, **modifiers)
        self.mouse("LeftButtonReleaseEvent", ras, **modifiers)


class _SliceWidget:
    def __init__(self, slice_node):
        self._node, self._view = slice_node, SliceView(slice_node)

    def mrmlSliceNode(self):
        return self._node

    def sliceView(self):
        return self._view

    def sliceLogic(self):
        return slicer.app.applicationLogic().GetSliceLogic(self._node)


class LayoutManager(QtCore.QObject):
    """The slice views of the present layout; they have any names, as in Slicer."""

    layoutChanged = pyqtSignal(int)

    def __init__(self):
        super().__init__()
        self._widgets = {}

    def sliceViewNames(self):
        return tuple(self._widgets)

    def sliceWidget(self, name):
        return self._widgets.get(name)

    def mrmlSliceLogics(self):
        return slicer.app.applicationLogic().GetSliceLogics()

    def show(self, *slice_nodes):
        """Tests: a layout with these views."""
        self._widgets = {node.GetName(): _SliceWidget(node) for node in slice_nodes}
        self.layoutChanged.emit(1)

    def view(self, slice_node) -> SliceView:
        return self._widgets[slice_node.GetName()].sliceView()


class Application(QtCore.QObject):
    """``slicer.app``. Tests reach the layout with ``layoutManager()`` and spin the event loop with ``wait``."""

    startupCompleted = pyqtSignal()

    def __init__(self, headless):
        super().__init__()
        self._qt = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["S3NetSegment tests"])
        self._qt.setStyle("Fusion")
        self._qt.setFont(QtGui.QFont("DejaVu Sans", 8))
        self._qt.setOrganizationName("S3NetSegmentTests")
        self._qt.setApplicationName("S3NetSegmentTests")
        self._headless, self._manager, self._layout = headless, _ModuleManager(), LayoutManager()
        # Settings of its own: several test runs on one machine would clear each other's.
        self._settings_folder = tempfile.TemporaryDirectory(prefix="S3NetSegmentTests")
        QtCore.QSettings.setPath(QtCore.QSettings.NativeFormat, QtCore.QSettings.UserScope, self._settings_folder.name)
        self._settings = QtCore.QSettings()
        self._settings.clear()
        self.applicationName, self.temporaryPath = "Slicer", slicer.app.temporaryPath
        self.majorVersion, self.minorVersion = 5, 13
        self.extensions_installed, self.restarted, self.exit_code = [], False, None
        self._options = types.SimpleNamespace(runPythonAndExit=True, noMainWindow=True, testingEnabled=True)

    def applicationLogic(self):
        return self._headless.application_logic

    def mrmlScene(self):
        return self._headless.scene

    def moduleManager(self):
        return self._manager

    def layoutManager(self):
        return self._layout

    def settings(self):
        return self._settings

    userSettings = settings

    def translate(self, context, text):
        return text

    def testingEnabled(self):
        return True

    def commandOptions(self):
        return self._options

    def processEvents(self, *_):
        QtWidgets.QApplication.processEvents()

    def style(self):
        return self._qt.style()

    def pauseRender(self):
        pass

    def resumeRender(self):
        pass

    def setOverrideCursor(self, cursor):
        self._qt.setOverrideCursor(cursor)

    def restoreOverrideCursor(self):
        self._qt.restoreOverrideCursor()

    def exit(self, code):
        self.exit_code = code

    def restart(self):
        self.restarted = True

    def extensionsManagerModel(self):
        return types.SimpleNamespace(
            installExtensionFromServer=self._install_extension,
            isExtensionInstalled=lambda name: name in self.extensions_installed,
        )

    def _install_extension(self, name, restart=True, update=False):
        self.extensions_installed.append(name)
        self.restarted = self.restarted or restart
        return True

    def wait(self, condition, seconds=600.0):
        """Tests: runs the event loop until ``condition()`` is true; returns whether it became so in time. Nobody sits through the
        delays of one-time timers: the time until they run out passes at once."""
        clock = QtCore.QElapsedTimer()
        clock.start()
        pulse = QtCore.QTimer(interval=LOOK_AGAIN)  # an event, so that the loop below sleeps no longer than this
        pulse.start()
        while not condition():
            late = clock.elapsed() > 1000 * seconds
            if not QTimer.skip(once=True):
                flags = QtCore.QEventLoop.AllEvents | QtCore.QEventLoop.WaitForMoreEvents
                QtWidgets.QApplication.processEvents(flags)
            if late:  # after the events: this process may have been stopped since they were due
                return bool(condition())
        return True

    def settle(self, seconds):
        """Tests: runs the event loop for ``seconds``. Time in which it would only wait for timers passes at once."""
        clock = QtCore.QElapsedTimer()
        clock.start()
        left = 1000 * seconds
        QtWidgets.QApplication.processEvents()
        while (left := left - clock.restart()) > 0:
            left -= QTimer.skip(most=left)
            QtWidgets.QApplication.processEvents()


def install(headless) -> Application:
    """Puts the application into ``slicer.app``."""
    slicer.app = Application(headless)
    slicer.selfTests = {}
    return slicer.app


def open_module(path, *widget_arguments):
    """``(module, widget)``: the scripted module at ``path`` loaded as Slicer loads it, its panel shown and entered.

    :param widget_arguments: further arguments of the widget's constructor, which Slicer does not give.
    """
    path = Path(path)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    parent = types.SimpleNamespace(path=str(path), name=path.stem)
    getattr(module, path.stem)(parent)
    setattr(slicer.modules, path.stem.lower(), parent)
    frame = qMRMLWidget()
    frame.setLayout(QtWidgets.QVBoxLayout())
    frame.setMRMLScene(slicer.mrmlScene)
    frame.isEntered = False
    widget = getattr(module, path.stem + "Widget")(frame, *widget_arguments)
    widget.setup()
    frame.resize(450, 760)
    frame.show()
    frame.isEntered = True
    widget.enter()
    QtWidgets.QApplication.processEvents()
    return module, widget


def reload_module(widget, *widget_arguments):
    """What Slicer's Reload does with an entered module: the panel is made anew in the same frame and set up, not entered."""
    frame = widget.parent
    widget.cleanup()
    slicer.app.moduleManager().disconnect("moduleAboutToBeUnloaded(QString)", widget._onModuleAboutToBeUnloaded)
    for child in frame.findChildren(qMRMLWidget):
        child.setMRMLScene(None)  # what Slicer's widgets do when they are deleted
    for child in frame.children():
        if child.isWidgetType():
            child.setParent(None)
            child.deleteLater()
    new = type(widget)(frame, *widget_arguments)
    new.setup()
    QtWidgets.QApplication.processEvents()
    return new
