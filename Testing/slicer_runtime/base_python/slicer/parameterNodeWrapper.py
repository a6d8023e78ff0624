"""Typed access to a parameter node, bound to widgets: the part of Slicer's wrapper that this project uses.

Types: int, float, str, bool, enum.Enum, pathlib.Path and MRML nodes, with defaults and `Annotated[…, WithinRange |
Minimum | Choice]`. The node stores them as Slicer does (strings under the parameter's name, enumerations by member
name, nodes as node references).
"""

from __future__ import annotations

import dataclasses
import enum
import pathlib
import typing
from collections.abc import Callable
from typing import Any

import ctk
import qt
import slicer
import vtk

__all__ = ["Choice", "Decimals", "Default", "Minimum", "SingleStep", "WithinRange", "parameterNodeWrapper"]

PROPERTY = "SlicerParameterName"


@dataclasses.dataclass
class WithinRange:
    minimum: float
    maximum: float

    def validate(self, value: Any) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value} is not within {self.minimum} … {self.maximum}")


@dataclasses.dataclass
class Minimum:
    minimum: float

    def validate(self, value: Any) -> None:
        if value < self.minimum:
            raise ValueError(f"{value} is below {self.minimum}")


@dataclasses.dataclass
class Choice:
    choices: list[Any]

    def validate(self, value: Any) -> None:
        if value not in self.choices:
            raise ValueError(f"{value} is none of {self.choices}")


@dataclasses.dataclass
class Default:
    value: Any


@dataclasses.dataclass
class Decimals:
    value: int


@dataclasses.dataclass
class SingleStep:
    value: float


class Parameter:
    """One member of the annotated class: its storage, checks and default."""

    def __init__(self, name: str, annotation: Any, default: Any) -> None:
        self.name = name
        self.type, *self.notes = typing.get_args(annotation) if hasattr(annotation, "__metadata__") else (annotation,)
        for note in self.notes:
            if isinstance(note, Default):
                default = note.value
        self.is_node = isinstance(self.type, type) and issubclass(self.type, slicer.vtkMRMLNode)
        if default is None and not self.is_node:
            default = next(iter(self.type)) if issubclass(self.type, enum.Enum) else self.type()
        self.default = default

    def note(self, kind: type) -> Any:
        return next((note for note in self.notes if isinstance(note, kind)), None)

    def read(self, node: Any) -> Any:
        if self.is_node:
            return node.GetNodeReference(self.name)
        if not node.HasParameter(self.name):
            self.write(node, self.default)
        text = node.GetParameter(self.name)
        if self.type is bool:
            return text == "True"
        return self.type[text] if issubclass(self.type, enum.Enum) else self.type(text)

    def write(self, node: Any, value: Any) -> None:
        if self.is_node:
            node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
            return
        if self.type is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, self.type):
            raise TypeError(f"{self.name} must be {self.type.__name__}, not {type(value).__name__}")
        for note in self.notes:
            if hasattr(note, "validate"):
                note.validate(value)
        node.SetParameter(self.name, value.name if isinstance(value, enum.Enum) else str(value))


class Connector:
    """Reads and writes the value of a parameter in a widget."""

    def __init__(self, widget: Any, parameter: Parameter) -> None:
        self.widget, self.parameter, self.kind = widget, parameter, parameter.type
        self.signal, self.callback = self._prepare(), None

    def _prepare(self) -> str:
        widget, kind = self.widget, self.kind
        if self.parameter.is_node and type(widget) is slicer.qMRMLNodeComboBox:
            widget.nodeTypes = [kind.__name__]
            return "currentNodeChanged"
        if kind is bool and type(widget) in (qt.QCheckBox, qt.QPushButton):
            return "toggled"
        if kind in (int, float) and type(widget) in (qt.QSpinBox, qt.QDoubleSpinBox, qt.QSlider, ctk.ctkSliderWidget):
            bounds, least = self.parameter.note(WithinRange), self.parameter.note(Minimum)
            if bounds is None and type(widget) in (ctk.ctkSliderWidget, qt.QSlider):
                raise RuntimeError(f"{self.parameter.name}: a slider needs a bounded type")
            if bounds is not None:
                widget.minimum, widget.maximum = bounds.minimum, bounds.maximum
            else:
                widget.minimum = least.minimum if least else -(2**31)
                widget.maximum = 2**31 - 1
            return "valueChanged"
        if issubclass(kind, enum.Enum) and type(widget) in (qt.QComboBox, ctk.ctkComboBox):
            widget.clear()
            widget.addItems([getattr(member, "label", lambda m=member: m.name)() for member in kind])
            return "currentIndexChanged"
        if kind is str and type(widget) in (qt.QComboBox, ctk.ctkComboBox) and self.parameter.note(Choice):
            widget.clear()
            widget.addItems(self.parameter.note(Choice).choices)
            return "currentIndexChanged"
        if kind is str and type(widget) is qt.QLineEdit:
            return "textChanged"
        if kind is pathlib.Path and type(widget) is ctk.ctkPathLineEdit:
            return "currentPathChanged"
        raise RuntimeError(f"Unable to create GUI connector from {kind} to {type(widget)}")

    def connect(self, callback: Callable[..., None]) -> None:
        self.callback = callback
        getattr(self.widget, self.signal).connect(callback)

    def disconnect(self) -> None:
        getattr(self.widget, self.signal).disconnect(self.callback)

    def read(self) -> Any:
        if self.signal == "currentIndexChanged":
            members = list(self.kind) if issubclass(self.kind, enum.Enum) else self.parameter.note(Choice).choices
            return members[self.widget.currentIndex]
        if self.signal == "currentNodeChanged":
            return self.widget.currentNode()
        attribute = {"toggled": "checked", "valueChanged": "value", "textChanged": "text"}.get(
            self.signal, "currentPath"
        )
        return self.kind(getattr(self.widget, attribute))

    def write(self, value: Any) -> None:
        if self.signal == "currentIndexChanged":
            members = list(self.kind) if issubclass(self.kind, enum.Enum) else self.parameter.note(Choice).choices
            self.widget.currentIndex = members.index(value)
        elif self.signal == "currentNodeChanged":
            self.widget.setCurrentNode(value)
        else:
            attribute = {"toggled": "checked", "valueChanged": "value", "textChanged": "text"}.get(
                self.signal, "currentPath"
            )
            setattr(self.widget, attribute, str(value) if self.kind is pathlib.Path else value)


class Wrapper:
    """Methods shared by all wrapped classes."""

    allParameters: typing.ClassVar[dict[str, Parameter]]

    def __init__(self, parameterNode: Any) -> None:
        self.__dict__.update(parameterNode=parameterNode, _guis={}, _updating=False)
        for parameter in self.allParameters.values():
            if not parameter.is_node:
                parameter.read(parameterNode)

    def getValue(self, name: str) -> Any:
        return self.allParameters[name].read(self.parameterNode)

    def setValue(self, name: str, value: Any) -> None:
        self.allParameters[name].write(self.parameterNode, value)

    def AddObserver(self, event: Any, callback: Callable[..., None], priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def StartModify(self) -> int:
        return self.parameterNode.StartModify()

    def EndModify(self, modified: int) -> None:
        self.parameterNode.EndModify(modified)

    def Modified(self) -> None:
        self.parameterNode.Modified()

    def connectGui(self, gui: Any) -> int:
        widgets = gui.findChildren(qt.QWidget) if hasattr(gui, "findChildren") else vars(gui).values()
        named = {widget.property(PROPERTY): widget for widget in widgets if widget.property(PROPERTY)}
        return self.connectParametersToGui(named)

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        connectors = {name: Connector(widget, self.allParameters[name]) for name, widget in mapping.items()}
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.connect(lambda *_, name=name, connector=connector: self._from_widget(name, connector))
        tag = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._to_widgets(connectors))
        self._guis[tag] = connectors
        return tag

    def disconnectGui(self, tag: int) -> None:
        for connector in self._guis.pop(tag, {}).values():
            connector.disconnect()
        self.RemoveObserver(tag)

    def _from_widget(self, name: str, connector: Connector) -> None:
        if not self._updating:
            self.setValue(name, connector.read())

    def _to_widgets(self, connectors: dict[str, Connector]) -> None:
        if self._updating:
            return
        self.__dict__["_updating"] = True
        try:
            for name, connector in connectors.items():
                connector.write(self.getValue(name))
        finally:
            self.__dict__["_updating"] = False


def parameterNodeWrapper(cls: type) -> type:
    """Class decorator: the annotated members become typed properties of a parameter node."""
    parameters = {
        name: Parameter(name, annotation, getattr(cls, name, None))
        for name, annotation in typing.get_type_hints(cls, include_extras=True).items()
    }
    members = {
        name: property(lambda self, n=name: self.getValue(n), lambda self, value, n=name: self.setValue(n, value))
        for name in parameters
    }
    own = {
        name: value
        for name, value in vars(cls).items()
        if name not in parameters and name not in ("__dict__", "__weakref__")
    }
    return type(cls.__name__, (Wrapper,), {**own, **members, "allParameters": parameters})
