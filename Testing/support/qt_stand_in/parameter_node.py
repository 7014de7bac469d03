"""``slicer.parameterNodeWrapper`` for tests: a typed view of a vtkMRMLScriptedModuleNode that widgets can be bound to.

Values are stored as Slicer stores them (texts under the field's name, nodes as node references), so what survives a
saved scene here survives one there. Only the types and widgets that the module uses; anything else is refused.
"""

from __future__ import annotations

import enum
import typing
from dataclasses import dataclass

import slicer
import vtk
from PyQt5 import QtWidgets


class Validator:
    """Base of the validators, as in Slicer."""


@dataclass(frozen=True)
class WithinRange(Validator):
    minimum: float
    maximum: float

    def validate(self, value):
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within range [{self.minimum}, {self.maximum}], is {value}")


@dataclass(frozen=True)
class Minimum(Validator):
    minimum: float

    def validate(self, value):
        if value < self.minimum:
            raise ValueError(f"Value must be at least {self.minimum}, is {value}")


class Choice(Validator):
    def __init__(self, choices):
        self.choices = choices

    def validate(self, value):
        if value not in self.choices:
            raise ValueError(f"Value is {value}, but must be one of: {self.choices}")


class _Field:
    """One field of a parameter node class."""

    def __init__(self, name, annotation, default):
        base, *validators = typing.get_args(typing.Annotated[annotation, None])[:-1]
        self.name, self.type, self.validators = name, base, validators
        self.is_node = issubclass(base, slicer.vtkMRMLNode)
        if not (self.is_node or base in (int, float, str, bool) or issubclass(base, enum.Enum)):
            raise TypeError(f"parameter {name} has type {base}, which this stand-in does not store")
        blank = None if self.is_node else next(iter(base)) if issubclass(base, enum.Enum) else base()
        self.default = blank if default is _Field else default

    def check(self, value):
        if self.is_node and value is None:
            return
        allowed = (int, float) if self.type is float else self.type
        if not isinstance(value, allowed) or (self.type is int and isinstance(value, bool)):
            raise TypeError(f"parameter {self.name} must be {self.type.__name__}, is {value!r}")
        for validator in self.validators:
            validator.validate(value)

    def write(self, node, value):
        self.check(value)
        if self.is_node:
            node.SetParameter(self.name, "")
            node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
        else:
            node.SetParameter(self.name, value.name if isinstance(value, enum.Enum) else str(value))

    def read(self, node):
        if self.is_node:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        if self.type is bool:
            return text == "True"
        return self.type[text] if issubclass(self.type, enum.Enum) else self.type(text)


def parameterNodeWrapper(cls=None):
    """Class decorator: the annotated fields become typed properties over a parameter node."""
    if cls is None:
        return parameterNodeWrapper
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = {name: _Field(name, hint, cls.__dict__.get(name, _Field)) for name, hint in hints.items()}
    cls.allParameters = fields
    for name, field in fields.items():
        setattr(cls, name, property(lambda self, f=field: f.read(self.parameterNode), lambda self, v, f=field: f.write(self.parameterNode, v)))  # fmt: skip
    for method in (_initialise, _connect_gui, _disconnect_gui):
        setattr(cls, {_initialise: "__init__", _connect_gui: "connectGui", _disconnect_gui: "disconnectGui"}[method], method)  # fmt: skip
    cls.StartModify = lambda self: self.parameterNode.StartModify()
    cls.EndModify = lambda self, state: self.parameterNode.EndModify(state)
    cls.Modified = lambda self: self.parameterNode.Modified()
    cls.AddObserver = lambda self, event, callback, priority=0.0: self.parameterNode.AddObserver(event, callback, priority)  # fmt: skip
    cls.RemoveObserver = lambda self, tag: self.parameterNode.RemoveObserver(tag)
    return cls


def _initialise(self, parameterNode):
    self.parameterNode = parameterNode
    self._connections, self._writing = {}, False
    for field in self.allParameters.values():
        if not parameterNode.HasParameter(field.name):
            field.write(parameterNode, field.default)


def _connect_gui(self, gui):
    """Binds every widget of ``gui`` with a ``SlicerParameterName``, both ways."""
    bound = []
    for widget in vars(gui).values():
        name = widget.property("SlicerParameterName")
        if name:
            if name not in self.allParameters:
                raise ValueError(f"Cannot find a param with the given name: {name}")
            bound.append(_Binding(widget, self.allParameters[name], self))
    for binding in bound:
        binding.show()
        binding.signal.connect(binding.changed)

    def update(*_):
        if not self._writing:
            self._writing = True
            try:
                for binding in bound:
                    binding.show()
            finally:
                self._writing = False

    tag = self.AddObserver(vtk.vtkCommand.ModifiedEvent, update)
    self._connections[tag] = bound
    return tag


def _disconnect_gui(self, tag):
    for binding in self._connections.pop(tag, ()):
        binding.signal.disconnect(binding.changed)
        self.RemoveObserver(tag)


class _Binding:
    """A widget and a field. As in Slicer, widgets must be exactly of the class that is known for the field's type."""

    def __init__(self, widget, field, wrapper):
        self.widget, self.field, self.wrapper = widget, field, wrapper
        kind = type(widget)
        if kind is QtWidgets.QCheckBox and field.type is bool:
            self.signal, self.read, self.write = widget.stateChanged, lambda: widget.checked, widget.setChecked
        elif kind in (QtWidgets.QSpinBox, QtWidgets.QSlider) and field.type is int:
            self._set_range()
            self.signal, self.read, self.write = widget.valueChanged, lambda: widget.value, widget.setValue
        elif kind is QtWidgets.QDoubleSpinBox and field.type is float:
            self._set_range()
            self.signal, self.read, self.write = widget.valueChanged, lambda: widget.value, widget.setValue
        elif kind is QtWidgets.QComboBox and issubclass(field.type, enum.Enum):
            members = list(field.type)
            widget.clear()
            widget.addItems([getattr(field.type, "label", lambda m: m.name)(m) for m in members])
            self.signal, self.read = widget.currentIndexChanged, lambda: members[widget.currentIndex]
            self.write = lambda value: widget.setCurrentIndex(members.index(value))
        elif kind is slicer.qMRMLNodeComboBox and field.is_node:
            widget.nodeTypes = [field.type().GetClassName()]
            self.signal, self.read, self.write = widget.currentNodeChanged, widget.currentNode, widget.setCurrentNode
        else:
            raise RuntimeError(f"Unable to create GUI connector from {field.type} to widget type {kind}")

    def _set_range(self):
        span = next((v for v in self.field.validators if isinstance(v, WithinRange)), None)
        low = next((v.minimum for v in self.field.validators if isinstance(v, Minimum)), None)
        if span is not None:
            self.widget.setRange(span.minimum, span.maximum)
        elif type(self.widget) is QtWidgets.QSlider:
            raise RuntimeError("Cannot have a connection to QSlider where the int type is unbounded.")
        else:  # as in Slicer: the range that the .ui file gives is replaced
            self.widget.setRange(-(2**31) if low is None else low, 2**31 - 1)

    def show(self):
        self.write(self.field.read(self.wrapper.parameterNode))

    def changed(self, *_):
        if not self.wrapper._writing:
            self.field.write(self.wrapper.parameterNode, self.read())
