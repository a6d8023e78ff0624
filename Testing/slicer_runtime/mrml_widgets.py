"""Stand-ins for Slicer's Qt widgets that observe the scene."""

from __future__ import annotations

from typing import Any

import qt
import slicer
import vtk
from PySide6.QtCore import Property, Signal


class qMRMLWidget(qt.QWidget):
    """Top-level widget of a module's .ui file: passes the scene on to the MRML widgets inside."""

    STAND_IN = True
    mrmlSceneChanged = Signal(object)
    SIGNALS = ("mrmlSceneChanged(vtkMRMLScene*)",)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene = None

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)


class qMRMLNodeComboBox(qt.QWidget):
    """Selects a node of the scene: follows additions, removals and renames, and offers entries to add and remove nodes
    as in Slicer.
    """

    STAND_IN = True
    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)
    nodeAddedByUser = Signal(object)
    SIGNALS = ("currentNodeChanged(vtkMRMLNode*)", "currentNodeIDChanged(QString)", "nodeAddedByUser(vtkMRMLNode*)")

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene, self._tags, self._ids = None, [], []
        self._current = ""
        self._values = {
            "nodeTypes": [], "showChildNodeTypes": True, "hideChildNodeTypes": [], "showHidden": False, "baseName": "",
            "noneEnabled": False, "noneDisplay": "None", "addEnabled": True, "removeEnabled": True,
            "editEnabled": False, "renameEnabled": False, "selectNodeUponCreation": True,
        }  # fmt: skip
        self._box = qt.QComboBox(self)
        self._box.setSizeAdjustPolicy(qt.QComboBox.AdjustToMinimumContentsLengthWithIcon)
        row = qt.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._box)
        self._box.activated.connect(self._chosen)

    def _forward(name: str, kind: Any) -> Any:
        def write(self: Any, value: Any) -> None:
            self._values[name] = list(value) if kind == "QStringList" else value
            self._refresh()

        return Property(kind, lambda self: self._values[name], write)

    nodeTypes = _forward("nodeTypes", "QStringList")
    hideChildNodeTypes = _forward("hideChildNodeTypes", "QStringList")
    showChildNodeTypes = _forward("showChildNodeTypes", bool)
    showHidden = _forward("showHidden", bool)
    baseName = _forward("baseName", str)
    noneEnabled = _forward("noneEnabled", bool)
    noneDisplay = _forward("noneDisplay", str)
    addEnabled = _forward("addEnabled", bool)
    removeEnabled = _forward("removeEnabled", bool)
    editEnabled = _forward("editEnabled", bool)
    renameEnabled = _forward("renameEnabled", bool)
    selectNodeUponCreation = _forward("selectNodeUponCreation", bool)
    currentNodeID = Property(str, lambda self: self._current, lambda self, identity: self.setCurrentNodeID(identity))

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        self._scene, self._tags = scene, []
        if scene is not None:
            for event in (
                scene.NodeAddedEvent,
                scene.NodeRemovedEvent,
                scene.EndCloseEvent,
                scene.EndBatchProcessEvent,
            ):
                self._tags.append(scene.AddObserver(event, self._scene_changed))
        self._refresh()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _scene_changed(self, caller: Any, event: str, node: Any = None) -> None:
        if not self._scene.IsBatchProcessing():
            self._refresh()

    def nodes(self) -> list[Any]:
        """The nodes offered, in scene order."""
        found = []
        if self._scene is None:
            return found
        for index in range(self._scene.GetNumberOfNodes()):
            node = self._scene.GetNthNode(index)
            exact = node.GetClassName() in self.nodeTypes
            child = self.showChildNodeTypes and any(node.IsA(kind) for kind in self.nodeTypes)
            excluded = any(node.IsA(kind) for kind in self.hideChildNodeTypes)
            if (exact or child) and not excluded and (self.showHidden or not node.GetHideFromEditors()):
                found.append(node)
        return found

    def nodeCount(self) -> int:
        return len(self.nodes())

    def nodeFromIndex(self, index: int) -> Any:
        nodes = self.nodes()
        return nodes[index] if 0 <= index < len(nodes) else None

    def _refresh(self) -> None:
        was_empty = not self._ids and not (
            self.addEnabled or self.removeEnabled or self.editEnabled or self.renameEnabled
        )
        nodes = self.nodes()
        before, self._ids = self._ids, [node.GetID() for node in nodes]
        entries = ([self.noneDisplay] if self.noneEnabled else []) + [node.GetName() or node.GetID() for node in nodes]
        self._box.blockSignals(True)
        self._box.clear()
        self._box.addItems(entries)
        if self.addEnabled and self._scene is not None:
            self._box.addItem(f"Create new {self.baseName or 'node'}")
        self._box.blockSignals(False)
        if self._current and self._current not in self._ids:
            self._select(self._neighbour(before))
        elif not self._current and was_empty and self._ids and not self.noneEnabled:
            self._select(self._ids[0])  # Slicer selects the first node of a list that was empty
        self._show()

    def _neighbour(self, before: list[str]) -> str:
        """What Qt selects when the current row is removed: the next row, else the last; none if several are removed."""
        left = [identity for identity in before if identity in self._ids]
        if not left or len(before) - len(left) > 1:
            return ""
        return left[min(before.index(self._current), len(left) - 1)]

    def _show(self) -> None:
        offset = 1 if self.noneEnabled else 0
        self._box.blockSignals(True)
        if self._current in self._ids:
            self._box.setCurrentIndex(self._ids.index(self._current) + offset)
        else:
            self._box.setCurrentIndex(0 if self.noneEnabled else -1)
        self._box.blockSignals(False)

    def _chosen(self, index: int) -> None:
        offset = 1 if self.noneEnabled else 0
        if index - offset >= len(self._ids):
            self.addNode()
        else:
            self._select(self._ids[index - offset] if index >= offset else "")

    def _select(self, identity: str) -> None:
        if identity != self._current:
            self._current = identity
            self._show()
            self.currentNodeChanged.emit(self.currentNode())
            self.currentNodeIDChanged.emit(identity)

    def addNode(self, kind: str = "") -> Any:
        """Create a node, as the entry "Create new …" does."""
        name = self._scene.GenerateUniqueName(self.baseName or "node")
        node = self._scene.AddNewNodeByClass(kind or self.nodeTypes[0], name)
        if self.selectNodeUponCreation:
            self._select(node.GetID())
        self.nodeAddedByUser.emit(node)
        return node

    def removeCurrentNode(self) -> None:
        self._scene.RemoveNode(self.currentNode())

    def currentNode(self) -> Any:
        return self._scene.GetNodeByID(self._current) if self._scene and self._current else None

    def setCurrentNode(self, node: Any) -> None:
        self.setCurrentNodeID(node if isinstance(node, str) else node.GetID() if node is not None else "")

    def setCurrentNodeID(self, identity: str) -> None:
        self._select(identity if identity in self._ids else "")

    def setCurrentNodeIndex(self, index: int) -> None:
        node = self.nodeFromIndex(index)
        self._select(node.GetID() if node is not None else "")


WIDGETS = (qMRMLWidget, qMRMLNodeComboBox)


def install() -> None:
    """Add the widgets to the module `slicer`, and empty types for those that Slicer's own Python files only mention."""
    for cls in WIDGETS:
        setattr(slicer, cls.__name__, cls)
    for unused in (
        "qMRMLSliderWidget",
        "qMRMLSpinBox",
        "qMRMLRangeWidget",
        "qSlicerWidget",
        "qMRMLSubjectHierarchyTreeView",
    ):
        setattr(slicer, unused, type(unused, (qt.QWidget,), {}))
