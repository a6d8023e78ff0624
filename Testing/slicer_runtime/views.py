"""Slice views without a window: Slicer's slice pipeline, drawn off screen, and a layout manager that holds them.

`SliceView.image()` is the blended slice as the pipeline gives it and needs no OpenGL; `SliceView.render()` draws it
with everything Slicer's displayable managers add (markups, color legend, ruler). Both are (rows, columns, 4) uint8, top
row first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from slicer_runtime.plot_view import PlotView

DEFAULT_SIZE = (320, 320)


class SliceView:
    """Stands in for qMRMLSliceWidget, as far as scripts use it: a slice node, its logic and an off-screen window."""

    def __init__(self, node: Any, application_logic: Any, size: tuple[int, int] = DEFAULT_SIZE) -> None:
        self._node = node
        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLApplicationLogic(application_logic)
        self._logic.SetMRMLScene(slicer.mrmlScene)
        self._logic.SetSliceNode(node)
        application_logic.GetSliceLogics().AddItem(self._logic)
        self._window: Any = None
        self.resize(*size)

    def mrmlSliceNode(self) -> Any:
        return self._node

    def sliceLogic(self) -> Any:
        return self._logic

    def mrmlSliceCompositeNode(self) -> Any:
        return self._logic.GetSliceCompositeNode()

    def sliceView(self) -> SliceView:
        return self

    def fitSliceToBackground(self) -> None:
        self._logic.FitSliceToBackground()

    def resize(self, width: int, height: int) -> None:
        """Set the size of the view in pixels; the field of view keeps its scale."""
        self._size = (width, height)
        self._logic.ResizeSliceNode(width, height)
        if self._window is not None:
            self._window.SetSize(width, height)

    def image(self) -> np.ndarray:
        """The blended slice (rows, columns, RGBA); transparent outside the volumes."""
        port = self._logic.GetImageDataConnection()
        if port is None:
            return np.zeros((self._size[1], self._size[0], 4), np.uint8)
        port.GetProducer().Update()
        image = port.GetProducer().GetOutputDataObject(port.GetIndex())
        columns, rows, _ = image.GetDimensions()
        return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(rows, columns, -1)[::-1].copy()

    def render(self) -> np.ndarray:
        """The view as it would appear on screen."""
        self._make_window()
        port = self._logic.GetImageDataConnection()
        if port is not None:
            self._mapper.SetInputConnection(port)
        self._actor.SetVisibility(port is not None)
        self._window.Render()
        pixels = vtk.vtkUnsignedCharArray()
        self._window.GetRGBACharPixelData(0, 0, self._size[0] - 1, self._size[1] - 1, 1, pixels)
        return vtk_to_numpy(pixels).reshape(self._size[1], self._size[0], 4)[::-1].copy()

    def _make_window(self) -> None:
        if self._window is not None:
            return
        self._window = vtk.vtkRenderWindow()
        self._window.SetOffScreenRendering(1)
        self._window.SetMultiSamples(0)
        self._window.SetNumberOfLayers(2)
        self._window.SetSize(*self._size)
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        self._actor = vtk.vtkActor2D()
        self._actor.SetMapper(self._mapper)
        background, overlay = vtk.vtkRenderer(), vtk.vtkRenderer()
        background.AddViewProp(self._actor)
        overlay.SetLayer(1)
        self._window.AddRenderer(background)
        self._window.AddRenderer(overlay)
        self._interactor = vtk.vtkRenderWindowInteractor()
        self._interactor.SetRenderWindow(self._window)
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        if not factory.GetMRMLApplicationLogic():
            factory.SetMRMLApplicationLogic(slicer.app.applicationLogic())
            for kind in ("Markups", "ColorLegend", "Ruler", "Crosshair"):
                factory.RegisterDisplayableManager(f"vtkMRML{kind}DisplayableManager")
            factory.RegisterDisplayableManager("vtkMRMLSegmentationsDisplayableManager2D")
        self._managers = slicer.vtkMRMLDisplayableManagerGroup()
        self._managers.Initialize(factory, overlay)
        self._managers.SetMRMLDisplayableNode(self._node)
        self._logic.SetDisplayableManagerGroup(self._managers)


class LayoutManager:
    """Stands in for `slicer.app.layoutManager()`: shows layouts by creating their slice and plot views."""

    def __init__(self, application_logic: Any) -> None:
        self._application_logic = application_logic
        if application_logic.GetSliceLogics() is None:
            self._slice_logics = vtk.vtkCollection()
            application_logic.SetSliceLogics(self._slice_logics)
        self._logic = slicer.vtkMRMLLayoutLogic()
        self._logic.SetMRMLApplicationLogic(application_logic)
        self._logic.SetMRMLScene(slicer.mrmlScene)
        self._views: dict[str, SliceView] = {}
        self._plot_views: list[PlotView] = []
        self.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)

    def layoutLogic(self) -> Any:
        return self._logic

    def mrmlSliceLogics(self) -> Any:
        return self._application_logic.GetSliceLogics()

    @property
    def layout(self) -> int:
        return self._logic.GetLayoutNode().GetViewArrangement()

    def setLayout(self, layout: int) -> None:
        self._logic.GetLayoutNode().SetViewArrangement(layout)
        shown = [node for node in self._logic.GetViewNodes() if node is not None]
        for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            node.SetMappedInLayout(1 if node in shown else 0)
        for node in shown:
            if node.IsA("vtkMRMLSliceNode") and node.GetLayoutName() not in self._views:
                self._views[node.GetLayoutName()] = SliceView(node, self._application_logic)
        kept = {view.mrmlPlotViewNode(): view for view in self._plot_views}
        plots = [node for node in shown if node.IsA("vtkMRMLPlotViewNode")]
        self._plot_views = [kept.get(node) or PlotView(node) for node in plots]

    def sliceViewNames(self) -> list[str]:
        return [name for name, view in self._views.items() if view.mrmlSliceNode().IsMappedInLayout()]

    def sliceWidget(self, name: str) -> SliceView | None:
        return self._views.get(name)

    @property
    def plotViewCount(self) -> int:
        return len(self._plot_views)

    def plotWidget(self, index: int) -> PlotView | None:
        return self._plot_views[index] if 0 <= index < len(self._plot_views) else None

    def resetSliceViews(self) -> None:
        for name in self.sliceViewNames():
            self._views[name].fitSliceToBackground()

    def threeDViewCount(self) -> int:
        return 0
