"""``qt.QUiLoader``: builds .ui files with the stand-in widgets and makes their <connections>."""

from __future__ import annotations

import functools
import io
import sys
import types
import xml.etree.ElementTree as ElementTree

from PyQt5 import uic
from PyQt5.QtCore import QObject, pyqtProperty
from PyQt5.QtWidgets import QWidget


class QUiLoader(QObject):
    """Loads a .ui file into a widget, as Slicer's loader does."""

    def load(self, file, parent=None):
        # uic calls these two as methods; here they are attributes, as in PythonQt.
        kept = [(cls, name, cls.__dict__[name]) for cls, name in ((QObject, "objectName"), (QWidget, "sizePolicy"))]
        for cls, name, _ in kept:
            setattr(cls, name, lambda self, name=name: QObject.property(self, name))
        try:
            kind, form, connections = _compiled(bytes(file.readAll()))
            widget = kind()
            form().setupUi(widget)
        finally:
            for cls, name, descriptor in kept:
                setattr(cls, name, descriptor)
        for sender, signal, receiver, slot in connections:
            target = getattr(_found(widget, receiver), slot.split("(")[0])
            getattr(_found(widget, sender), signal.split("(")[0]).connect(target)
        return widget


@functools.cache  # panels are opened hundreds of times
def _compiled(content: bytes):
    """The class of the outermost widget of a .ui file, the class that fills it, and its connections: sender, signal, receiver,
    slot of each."""
    tree, connections = ElementTree.fromstring(content), []
    for element in tree.findall("connections"):  # uic knows nothing of MRML scenes
        tree.remove(element)
        connections += [
            [one.findtext(tag) for tag in ("sender", "signal", "receiver", "slot")]
            for one in element.findall("connection")
        ]
    form, kind = uic.loadUiType(io.StringIO(ElementTree.tostring(tree, encoding="unicode")))
    return kind, form, connections


def _found(root: QWidget, name: str) -> QObject:
    if QObject.property(root, "objectName") == name:
        return root
    children = root.findChildren(QObject, name)
    if not children:
        raise ValueError(f"the .ui file connects {name!r}, which it does not contain")
    return children[0]


def offer_to_designer(cls: type) -> None:
    """Lets .ui files use widget class ``cls``: uic imports it from a module of its name and sets ``setXxx``."""
    for name, value in list(vars(cls).items()):
        setter = "set" + name[0].upper() + name[1:]
        if isinstance(value, pyqtProperty) and not hasattr(cls, setter):
            setattr(cls, setter, lambda self, v, name=name: setattr(self, name, v))
    module = types.ModuleType(cls.__name__)
    setattr(module, cls.__name__, cls)
    sys.modules.setdefault(cls.__name__, module)
