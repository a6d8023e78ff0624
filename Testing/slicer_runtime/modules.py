"""Loads scripted modules as Slicer does: imports the file by its path and creates its classes with their parents."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import qt
import slicer


class ScriptedModule:
    """Stands in for `slicer.modules.NAME`: description, logic and widget of a loaded module."""

    def __init__(self, path: Path) -> None:
        self.name, self.path = path.stem, str(path)
        self.title, self.helpText, self.acknowledgementText = "", "", ""
        self.categories, self.contributors, self.dependencies = [], [], []
        self.associatedNodeTypes, self.extensions = [], {}
        self.index, self.hidden, self.icon = -1, False, None
        self.widgetRepresentationCreationEnabled = True
        self._scene, self._logic, self._widget = slicer.mrmlScene, object(), None
        self.python = _import(path)
        self.instance = getattr(self.python, self.name)(self)

    def logic(self) -> Any:
        return self._logic

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene
        if self._widget is not None:
            self._widget.setMRMLScene(scene)

    def createNewWidgetRepresentation(self) -> Any:
        """A new panel, set up as when the user first opens the module."""
        parent = ModulePanel()
        parent.setMRMLScene(self._scene)
        widget = getattr(self.python, f"{self.name}Widget")(parent)
        parent._python = widget
        setattr(slicer.modules, f"{self.name}Widget", widget)
        widget.setup()
        return parent

    def widgetRepresentation(self) -> Any:
        if self._widget is None:
            self._widget = self.createNewWidgetRepresentation()
        return self._widget

    def unload(self) -> None:
        """Simulate application exit: the manager announces it and the widget cleans up."""
        slicer.app.moduleManager().moduleAboutToBeUnloaded.emit(self.name)
        if self._widget is not None:
            self._widget.release()
            self._widget = None


class ModulePanel(slicer.qMRMLWidget):
    """Parent of a module's widget: the panel in Slicer's left column."""

    def __init__(self) -> None:
        super().__init__()
        self._entered = False
        self._python = None
        column = qt.QVBoxLayout(self)
        column.setContentsMargins(6, 6, 6, 6)

    @property
    def isEntered(self) -> bool:
        return self._entered

    def self(self) -> Any:
        return self._python

    def release(self) -> None:
        """Close the panel for good; its widgets stop observing the scene."""
        self.close()
        for box in self.findChildren(slicer.qMRMLNodeComboBox):
            box.setMRMLScene(None)
        self.deleteLater()

    def enter(self) -> None:
        self._entered = True
        if hasattr(self._python, "enter"):
            self._python.enter()

    def exit(self) -> None:
        self._entered = False
        if hasattr(self._python, "exit"):
            self._python.exit()


def _import(path: Path) -> ModuleType:
    """Import a module file with its folder on sys.path, as Slicer does with additional module paths."""
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    specification = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(specification)
    sys.modules[path.stem] = module
    specification.loader.exec_module(module)
    return module


def load(path: Path) -> ScriptedModule:
    """Load the scripted module at `path` and register it as `slicer.modules.<name in lower case>`."""
    module = ScriptedModule(Path(path))
    if not isinstance(getattr(slicer, "modules", None), SimpleNamespace):
        slicer.modules = SimpleNamespace()
    setattr(slicer.modules, module.name.lower(), module)
    setattr(slicer.modules, f"{module.name}Instance", module.instance)
    slicer.app.moduleManager()._modules[module.name] = module
    return module
