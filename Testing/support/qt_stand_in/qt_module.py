"""The flat ``qt`` module with PythonQt's habits, over PyQt5."""

from __future__ import annotations

import sys
import types

from PyQt5 import QtCore, QtGui, QtNetwork, QtSvg, QtWidgets
from PyQt5.QtCore import QObject

_NOT_IN_PYTHONQT = {"pyqtSignal", "pyqtSlot", "pyqtProperty", "pyqtBoundSignal", "pyqtClassInfo", "pyqtSignature"}
# Virtual getters: PyQt5 would take an attribute of their name for a Python override and call it from C++.
_VIRTUAL = {"QWidget.sizeHint", "QWidget.minimumSizeHint", "QProgressBar.text"}
_connections: dict = {}


def install() -> types.ModuleType:
    """Builds the module and puts it into ``sys.modules["qt"]``."""
    qt = types.ModuleType("qt", "Stand-in for PythonQt's qt module.")
    for part in (QtNetwork, QtSvg, QtCore, QtGui, QtWidgets):
        for name in dir(part):
            if not name.startswith("_") and name not in _NOT_IN_PYTHONQT:
                setattr(qt, name, getattr(part, name))
    from .timers import QTimer
    from .ui_loader import QUiLoader

    qt.QUiLoader = QUiLoader
    sys.modules["qt"] = qt
    for cls in list(vars(qt).values()):
        if isinstance(cls, type) and issubclass(cls, QObject):
            properties_as_attributes(cls)
            if "__len__" in vars(cls):
                cls.__bool__ = lambda self: True  # PyQt5 takes an empty combo box for false
    qt.QTimer = QTimer
    QObject.name = QObject.__dict__["objectName"]
    QObject.connect, QObject.disconnect = _connect, _disconnect
    QObject.__setattr__ = _set_attribute
    QObject.className = lambda self: self.metaObject().className()
    QObject.delete = QObject.deleteLater
    QObject.findChildren = _find_children
    # A failing slot must fail the test, not end the process (PyQt5 aborts without a hook of one's own).
    sys.excepthook = _remember_failure
    return qt


slot_failures: list[BaseException] = []  # exceptions that were raised in slots; a fixture looks at them


def _remember_failure(kind, error, trace):
    slot_failures.append(error.with_traceback(trace))
    sys.__excepthook__(kind, error, trace)


class _Property:
    """A Qt property as a Python attribute of instances; on the class it is the original (perhaps static) method."""

    def __init__(self, name: str, original):
        self.name, self.original = name, original

    def __get__(self, instance, owner=None):
        return self.original if instance is None else QObject.property(instance, self.name)

    def __set__(self, instance, value):
        if not QObject.setProperty(instance, self.name, value):
            raise ValueError(f"property {self.name!r} of {type(instance).__name__} cannot be set to {value!r}")


def properties_as_attributes(cls: type) -> None:
    """Makes each property that Qt class ``cls`` adds to its base an attribute."""
    meta = getattr(cls, "staticMetaObject", None)
    if meta is None:
        return
    for number in range(meta.propertyOffset(), meta.propertyCount()):
        name = meta.property(number).name()
        if f"{cls.__name__}.{name}" not in _VIRTUAL and not isinstance(cls.__dict__.get(name), QtCore.pyqtProperty):
            setattr(cls, name, _Property(name, getattr(cls, name, None)))


_known: dict[tuple, set[str]] = {}  # signatures by class and name: panels connect the same ones hundreds of times


def _known_signatures(sender: QObject, name: str) -> set[str]:
    """Signatures of the methods of ``sender`` that have a name."""
    meta = sender.metaObject()
    key = type(sender), meta.className(), meta.methodCount(), name
    if key not in _known:
        methods = [meta.method(n) for n in range(meta.methodCount())]
        _known[key] = {bytes(m.methodSignature()).decode() for m in methods if bytes(m.name()).decode() == name}
    return _known[key]


def _signal(sender: QObject, signature: str):
    """The bound signal for PythonQt's ``name(Type,...)`` and whether it is asked for without arguments."""
    name, _, arguments = signature.replace(" ", "").partition("(")
    bound = getattr(sender, name, None)
    if not hasattr(bound, "connect"):
        raise ValueError(f"{type(sender).__name__} has no signal {signature}")
    arguments = arguments.rstrip(")")
    known = _known_signatures(sender, name)
    played_by_python = any("PyQt_PyObject" in signature for signature in known)
    if arguments and not played_by_python and f"{name}({arguments})" not in known:
        raise ValueError(f"{type(sender).__name__} has no signal {signature}; it has {sorted(known)}")
    if len(known) > 1 and f"{name}({arguments})" in known and arguments:
        bound = bound[arguments] if not played_by_python else bound
    return bound, not arguments and signature.endswith(")")


def _key(sender, signature, function):
    return id(sender), signature, getattr(function, "__func__", function), id(getattr(function, "__self__", None))


def _connect(self, signature, function):
    bound, without_arguments = _signal(self, signature)
    target = (lambda *values: function()) if without_arguments else function
    _connections[_key(self, signature, function)] = target
    bound.connect(target)
    return True


def _disconnect(self, signature, function):
    bound, _ = _signal(self, signature)
    target = _connections.pop(_key(self, signature, function), None)
    if target is None:
        return False
    bound.disconnect(target)
    return True


def _set_attribute(self, name, value, original=QObject.__setattr__):
    if type(self).__module__.startswith("PyQt5") and not hasattr(self, name):
        raise AttributeError(f"{name!r} does not exist on {type(self).__name__}: C++ objects take no new attributes")
    original(self, name, value)


def _find_children(self, cls=QObject, name="", original=QObject.findChildren):
    return original(self, cls, name) if name else original(self, cls)
