"""Slicer's Qt side for tests: `qt`, `ctk`, Slicer's widgets and Slicer's Python layer, played by PyQt5.

PythonQt, which Slicer uses, exists only inside the application. PyQt5 is close: this package gives it PythonQt's habits
(properties as attributes, ``connect("clicked(bool)", f)``, no new attributes on C++ objects, unknown signals refused)
and the few widgets and classes that the module needs. MRML underneath is real (slicer-core).

    import headless_slicer, qt_stand_in
    application = qt_stand_in.install(headless_slicer.start())
    module, widget = qt_stand_in.open_module(PATH)      # loads S3NetSegment.py, sets up and shows its panel

What it cannot play: memory ownership, real rendering, the real segment editor. `Testing/app/test_pythonqt_lint.py`
guards against the things that PyQt5 forgives and PythonQt does not.
"""

from __future__ import annotations

import importlib.util
import os

AVAILABLE = importlib.util.find_spec("PyQt5") is not None
WHY_NOT = "PyQt5 is not installed (python -m pip install PyQt5)"

_installed = None


def install(headless):
    """Makes ``import qt``, ``import ctk`` and ``slicer.ScriptedLoadableModule`` work over ``headless`` (a
    ``HeadlessSlicer``); returns the stand-in for ``slicer.app``. Later calls return the same."""
    global _installed
    if _installed is None:
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
        from . import application, ctk_widgets, editor_effects, mrml_widgets, qt_module, slicer_layer

        qt_module.install()
        ctk_widgets.install()
        mrml_widgets.install()
        slicer_layer.install()
        editor_effects.install()
        _installed = application.install(headless)
    return _installed


def open_module(path, *widget_arguments):
    """``(module, widget)`` of the scripted module at ``path``, its panel set up, shown and entered."""
    from .application import open_module as opened

    return opened(path, *widget_arguments)
