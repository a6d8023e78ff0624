"""PythonQt's conventions on PySide6: code written for Slicer's Python runs unchanged, and code that would fail there
fails here.

    button.text = "Denoise"            properties are read and set without a call; `button.text()` raises TypeError
    button.connect("clicked(bool)", f) signals connect by their C++ signature; an unknown one raises ValueError
    button.txet = "…"                  an unknown name raises AttributeError instead of creating an attribute
    button.name, button.className()    PythonQt's additions

`install()` puts a flat module `qt` into `sys.modules`. Not emulated: `findChildren` with a class name, PythonQt's
ownership rules, integers for every enumeration, names that only Qt 5 has. Passing here is necessary, not sufficient,
for running in Slicer.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
import types
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

MODULES = (QtCore, QtGui, QtWidgets)
VIRTUAL = {"sizeHint", "minimumSizeHint"}  # Qt's C++ calls these on Python subclasses: they stay methods


class QtProperty:
    """A Q_PROPERTY as a Python attribute. On the class itself it remains Qt's method, so that `qt.QTimer.singleShot`
    and the like work.
    """

    def __init__(self, name: str, method: Any) -> None:
        self.name, self.method = name, method
        self.setter = f"set{name[0].upper()}{name[1:]}"

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self.method
        if self.method is not None:
            return self.method.__get__(instance, owner)()
        return QtCore.QObject.property(instance, self.name)

    def __set__(self, instance: Any, value: Any) -> None:
        setter = getattr(instance, self.setter, None)
        if setter is not None:
            setter(value)
        elif not instance.setProperty(self.name, value):
            raise AttributeError(f"property {self.name!r} of {type(instance).__name__} cannot be set to {value!r}")


class ObjectName:
    """PythonQt's `name`: the object name."""

    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else QtCore.QObject.property(instance, "objectName")

    def __set__(self, instance: Any, value: str) -> None:
        instance.setObjectName(value)


def _accepted_arguments(function: Callable[..., Any]) -> float:
    """The number of positional arguments of `function`; PythonQt passes a slot at most that many."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return float("inf")
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return float("inf")
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


def _signatures(sender: QtCore.QObject) -> dict[str, str]:
    """The sender's signals in C++ spelling, each with the spelling PySide indexes it by."""
    meta = sender.metaObject()
    found = {}
    for index in range(meta.methodCount()):
        method = meta.method(index)
        if method.methodType() == QtCore.QMetaMethod.MethodType.Signal:
            native = bytes(method.methodSignature().data()).decode()
            found[native.replace("QPrivateSignal", "")] = native
    for cls in type(sender).__mro__:  # a stand-in's signals have the C++ types of the class it replaces
        for entry in cls.__dict__.get("SIGNALS", ()):
            name = entry.partition("(")[0]
            found = {k: v for k, v in found.items() if k.partition("(")[0] != name}
            found[entry] = name
    return found


def _signal(sender: QtCore.QObject, signature: str) -> tuple[Any, int]:
    """The bound signal that `signature` names and its number of arguments. Raises ValueError when the class has no such
    signal.
    """
    spelling = signature.replace("const ", "").replace("&", "").replace(" ", "")
    native = _signatures(sender).get(spelling)
    if native is None:
        raise ValueError(f"{type(sender).__name__} has no signal {signature!r}")
    name, _, arguments = spelling.rstrip(")").partition("(")
    bound = getattr(sender, name)
    if arguments and native != name:
        with contextlib.suppress(KeyError, IndexError):  # it has only one overload
            bound = bound[arguments]
    return bound, len([a for a in arguments.split(",") if a])


_CONNECTIONS: dict[tuple[int, str, Any], Callable[..., None]] = {}


def _connect(sender: QtCore.QObject, signature: str, function: Callable[..., Any]) -> bool:
    bound, given = _signal(sender, signature)
    if not callable(function):
        raise ValueError(f"{function!r} cannot be called")
    count = int(min(given, _accepted_arguments(function)))

    def slot(*arguments: Any) -> None:
        function(*arguments[:count])

    _CONNECTIONS[(id(sender), signature, function)] = slot
    bound.connect(slot)
    return True


def _disconnect(sender: QtCore.QObject, signature: str, function: Callable[..., Any]) -> bool:
    bound, _ = _signal(sender, signature)
    slot = _CONNECTIONS.pop((id(sender), signature, function), None)
    if slot is None:
        raise ValueError(f"{signature!r} of {type(sender).__name__} is not connected to that function")
    bound.disconnect(slot)
    return True


def _get(self: Any, name: str) -> Any:
    if name == "connect":
        return lambda signature, function: _connect(self, signature, function)
    if name == "disconnect":
        return lambda *a: _disconnect(self, *a) if a and isinstance(a[0], str) else None
    if name == "className":
        return lambda: type(self).__name__
    return _ORIGINAL_GET(self, name)


def _set(self: Any, name: str, value: Any) -> None:
    """Set a property or an attribute that the class declares; a stand-in may also keep private ones (`_name`)."""
    cls = type(self)
    for base in cls.__mro__:
        if name in base.__dict__:
            attribute = base.__dict__[name]
            if isinstance(attribute, QtCore.Property):
                attribute.fset(self, value)
                return
            if hasattr(type(attribute), "__set__"):
                attribute.__set__(self, value)
                return
            break
    if isinstance(value, QtCore.SignalInstance):  # PySide stores the signals of widgets created by Qt on the instance
        self.__dict__[name] = value
        return
    ours = not cls.__module__.startswith("PySide6")
    if not (ours and (name.startswith("_") or hasattr(cls, name) or not getattr(cls, "STAND_IN", False))):
        raise AttributeError(f"{cls.__name__!r} object has no attribute {name!r} (PythonQt makes none)")
    self.__dict__[name] = value


_ORIGINAL_GET = QtCore.QObject.__getattribute__


def _patch(cls: Any) -> None:
    meta = cls.staticMetaObject
    for index in range(meta.propertyOffset(), meta.propertyCount()):
        name = meta.property(index).name()
        if name not in VIRTUAL:
            setattr(cls, name, QtProperty(name, getattr(cls, name, None)))
    cls.__setattr__ = _set
    if hasattr(cls, "exec") and not hasattr(cls, "exec_"):
        cls.exec_ = cls.exec


def install() -> types.ModuleType:
    """Patch PySide6 (for this process) and return the flat module `qt`."""
    if "qt" in sys.modules:
        return sys.modules["qt"]
    qt = types.ModuleType("qt", "Qt as PythonQt shows it: one flat module")
    classes = []
    for module in MODULES:
        for name in dir(module):
            value = getattr(module, name)
            if not name.startswith("_"):
                setattr(qt, name, value)
            if isinstance(value, type) and issubclass(value, QtCore.QObject):
                classes.append(value)
    # subclasses first: they take methods from a base before those become properties
    for cls in sorted(set(classes), key=lambda c: -len(c.__mro__)):
        _patch(cls)
    QtCore.QObject.name = ObjectName()
    QtCore.QObject.__getattribute__ = _get
    qt.QUiLoader = QtUiTools.QUiLoader
    sys.modules["qt"] = qt
    return qt


def quieten(message: str) -> None:
    """Drop one known message of Qt; all others still go to stderr."""

    def handler(kind: Any, context: Any, text: str) -> None:
        if text != message:
            print(text, file=sys.stderr)

    QtCore.qInstallMessageHandler(handler)
