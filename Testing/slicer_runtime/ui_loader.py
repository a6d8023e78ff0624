"""`qt.QUiLoader` for .ui files with Slicer's widgets: unknown classes raise, and `<connections>` work by name."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

import qt
from PySide6 import QtUiTools


class UiLoader(QtUiTools.QUiLoader):
    """Loads a .ui file with stand-ins for Slicer's and CTK's widgets."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._custom: dict[str, type] = {}

    def registerStandIns(self, classes: tuple[type, ...]) -> None:
        self._custom.update({cls.__name__: cls for cls in classes})

    def createWidget(self, name: str, parent: Any = None, object_name: str = "") -> Any:
        if name in self._custom:
            widget = self._custom[name](parent)
            widget.setObjectName(object_name)
            return widget
        widget = super().createWidget(name, parent, object_name)
        if widget is None:
            raise RuntimeError(f"the .ui file names {name!r}, which this Slicer does not have")
        return widget

    def load(self, device: Any, parent: Any = None) -> Any:
        text = bytes(device.readAll().data())
        tree = ElementTree.fromstring(text)
        names = {node.get("class") for node in tree.iter("widget")}
        declared = {node.findtext("class") for node in tree.iter("customwidget")}
        for name in names & declared - set(self._custom):
            raise RuntimeError(f"the .ui file names {name!r}, which this Slicer does not have")
        connections = tree.find("connections")
        wires = []
        if connections is not None:
            wires = [
                tuple(node.findtext(tag) for tag in ("sender", "signal", "receiver", "slot")) for node in connections
            ]
            tree.remove(connections)
        buffer = qt.QBuffer()
        buffer.setData(ElementTree.tostring(tree))
        buffer.open(qt.QIODevice.ReadOnly)
        root = super().load(buffer, parent)
        if root is None:
            raise RuntimeError("the .ui file cannot be read")
        for sender, signal, receiver, slot in wires:
            source = root if root.name == sender else root.findChild(qt.QObject, sender)
            target = root if root.name == receiver else root.findChild(qt.QObject, receiver)
            source.connect(signal, getattr(target, slot.partition("(")[0]))
        return root


def install(widgets: tuple[type, ...]) -> None:
    """Let `qt.QUiLoader()` create `widgets` by class name."""

    def loader(parent: Any = None) -> UiLoader:
        made = UiLoader(parent)
        made.registerStandIns(widgets)
        return made

    qt.QUiLoader = loader
