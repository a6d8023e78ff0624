"""`slicer.app` without Slicer: the scene with its logics, settings in a temporary folder, module and layout managers.

With `main_window=False` it behaves like Slicer with `--no-main-window`: `layoutManager()` is None.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import ctk
import qt
import slicer
import vtk
from PySide6.QtCore import Signal

LOGICS = ["Color", "Volumes", "Markups", "Tables", "Plots", "SubjectHierarchy", "Segmentations", "Units", "Sequences"]
"""Modules whose logic the application provides."""


class Environment:
    """What `startupEnvironment()` returns: QProcessEnvironment, as far as slicer.util uses it."""

    def keys(self) -> list[str]:
        return list(os.environ)

    def value(self, name: str, default: str = "") -> str:
        return os.environ.get(name, default)


class ModuleManager(qt.QObject):
    """The modules loaded so far."""

    STAND_IN = True
    moduleAboutToBeUnloaded = Signal(str)
    SIGNALS = ("moduleAboutToBeUnloaded(QString)",)

    def __init__(self) -> None:
        super().__init__()
        self._modules: dict[str, Any] = {}

    def module(self, name: str) -> Any:
        return self._modules.get(name)

    def modulesNames(self) -> list[str]:
        return list(self._modules)


class IOManager:
    """Reads and writes scenes (.mrb) and volumes with MRML's own readers and writers."""

    def saveNodes(self, file_type: str, properties: dict[str, Any], messages: Any = None) -> bool:
        if file_type != "SceneFile":
            raise NotImplementedError(file_type)
        return bool(slicer.mrmlScene.WriteToMRB(properties["fileName"]))

    def loadNodes(self, file_type: str, properties: dict[str, Any], loaded: Any = None, messages: Any = None) -> bool:
        if file_type == "SceneFile":
            return bool(slicer.mrmlScene.ReadFromMRB(properties["fileName"], properties.get("clear", False)))
        if file_type == "VolumeFile":
            node = slicer.app.volumesLogic.AddArchetypeVolume(properties["fileName"], properties.get("name", "Volume"))
            if node is not None and loaded is not None:
                loaded.AddItem(node)
            return node is not None
        raise NotImplementedError(file_type)


class CommandOptions:
    """The command line of this application."""

    def __init__(self, main_window: bool) -> None:
        self.noMainWindow = not main_window


class qSlicerApplication(qt.QApplication):
    """The application object. `testing` is Slicer's `--testing`."""

    STAND_IN = True
    startupCompleted = Signal()
    SIGNALS = ("startupCompleted()",)

    applicationVersion = "5.12.3"
    majorVersion, minorVersion = 5, 12
    testing = False
    dialogs_answer = True
    restarts = 0

    def __init__(self, main_window: bool = True) -> None:
        super().__init__(["Slicer"])
        self._folder = tempfile.TemporaryDirectory(prefix="slicer-runtime-")
        folder = Path(self._folder.name)
        self.setOrganizationName("NA-MIC")
        self.setApplicationName("Slicer")
        qt.QSettings.setDefaultFormat(qt.QSettings.IniFormat)
        qt.QSettings.setPath(qt.QSettings.IniFormat, qt.QSettings.UserScope, str(folder / "settings"))
        self._settings = ctk.ctkSettings()
        self._temporary_path = str(folder / "temporary")
        os.makedirs(self._temporary_path)
        os.makedirs(folder / "share" / "ColorFiles")
        self._main_window = main_window
        self._modules, self._io, self._layout_manager = ModuleManager(), IOManager(), None
        self._make_logics(str(folder))

    def _make_logics(self, home: str) -> None:
        scene = slicer.mrmlScene = slicer.vtkMRMLScene()
        self._logic = slicer.vtkSlicerApplicationLogic() if hasattr(slicer, "vtkSlicerApplicationLogic") else None
        self._logic = self._logic or slicer.vtkMRMLApplicationLogic()
        self._logic.SetMRMLScene(scene)
        for setter, value in (("SetHomeDirectory", home), ("SetShareDirectory", "share"), ("SetTemporaryPath", home)):
            getattr(self._logic, setter)(value)
        self._logics = {"Application": self._logic}
        for name in (
            "Color",
            "Volumes",
            "Markups",
            "Tables",
            "Plots",
            "SubjectHierarchy",
            "Segmentations",
            "Units",
            "Sequences",
        ):
            for spelling in (f"vtkSlicer{name}Logic", f"vtkSlicer{name}ModuleLogic", f"vtkMRML{name}Logic"):
                if hasattr(slicer, spelling):
                    logic = getattr(slicer, spelling)()
                    logic.SetMRMLApplicationLogic(self._logic)
                    logic.SetMRMLScene(scene)
                    self._logics[name] = logic
                    self._logic.SetModuleLogic("Colors" if name == "Color" else name, logic)
                    break
        self._wire_bundles(scene, home)
        scene.AddObserver(scene.NodeAddedEvent, self._node_added)
        scene.AddObserver(scene.NodeAboutToBeRemovedEvent, self._node_about_to_be_removed)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _node_added(self, scene: Any, event: str, node: Any) -> None:
        """Slicer's Qt layer gives every displayable node a subject hierarchy item."""
        if (
            isinstance(node, slicer.vtkMRMLDisplayableNode)
            and not node.GetHideFromEditors()
            and not scene.IsImporting()
        ):
            tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
            if not tree.GetItemByDataNode(node):
                tree.CreateItem(tree.GetSceneItemID(), node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _node_about_to_be_removed(self, scene: Any, event: str, node: Any) -> None:
        if isinstance(node, slicer.vtkMRMLDisplayableNode) and not scene.IsClosing():
            tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
            if item := tree.GetItemByDataNode(node):
                tree.RemoveItem(item, False, False)

    def _wire_bundles(self, scene: Any, home: str) -> None:
        """Scenes in one .mrb file need the cache and data managers that the application owns."""
        self._cache, self._data = slicer.vtkCacheManager(), slicer.vtkDataIOManager()
        Path(home, ".slicer-cache").touch()  # marks the folder as one that the cache may clear
        self._cache.SetRemoteCacheDirectory(home)
        scene.SetCacheManager(self._cache)
        self._data.SetCacheManager(self._cache)
        scene.SetDataIOManager(self._data)
        remote = self._logics["RemoteIO"] = slicer.vtkMRMLRemoteIOLogic()
        remote.SetMRMLScene(scene)
        remote.AddDataIOToScene()

    @property
    def temporaryPath(self) -> str:
        return self._temporary_path

    @temporaryPath.setter
    def temporaryPath(self, path: str) -> None:
        self._temporary_path = path

    @property
    def volumesLogic(self) -> Any:
        return self._logics["Volumes"]

    slicerHome = property(lambda self: self._folder.name)
    os = property(lambda self: "linux")

    def mrmlScene(self) -> Any:
        return slicer.mrmlScene

    def applicationLogic(self) -> Any:
        return self._logic

    def moduleLogic(self, name: str) -> Any:
        return self._logics.get(name)

    def moduleManager(self) -> ModuleManager:
        return self._modules

    def coreIOManager(self) -> IOManager:
        return self._io

    ioManager = coreIOManager

    def layoutManager(self) -> Any:
        if not self._main_window:
            return None
        if self._layout_manager is None:
            from slicer_runtime.views import LayoutManager

            self._layout_manager = LayoutManager(self._logic)
        return self._layout_manager

    def settings(self) -> Any:
        return self._settings

    userSettings = revisionUserSettings = settings

    def startupEnvironment(self) -> Environment:
        return Environment()

    def commandOptions(self) -> CommandOptions:
        return CommandOptions(self._main_window)

    def testingEnabled(self) -> bool:
        return type(self).testing

    def extensionsManagerModel(self) -> None:
        return None

    def dicomDatabase(self) -> None:
        return None

    def restart(self) -> None:
        type(self).restarts += 1

    def translate(self, context: str, text: str) -> str:
        return text

    def moduleDocumentationUrl(self, name: str) -> str:
        return f"https://slicer.readthedocs.io/en/latest/user_guide/modules/{name.lower()}.html"

    def setOverrideCursor(self, shape: Any) -> None:
        qt.QGuiApplication.setOverrideCursor(qt.QCursor(shape))

    def restoreOverrideCursor(self) -> None:
        qt.QGuiApplication.restoreOverrideCursor()
