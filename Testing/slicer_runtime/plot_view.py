"""A plot view without a window: the chart node drawn by VTK's own chart, which takes clicks as in Slicer's plot view.

A left click selects what it hits (Slicer's modes "pan view" and "select points"), and the view emits
`dataSelected(series ids, selected rows)`.
"""

from __future__ import annotations

from typing import Any

import qt
import slicer
import vtk
from PySide6.QtCore import Signal

SIZE = (420, 320)


class PlotView(qt.QObject):
    """Stands in for qMRMLPlotView and the qMRMLPlotWidget around it, as far as scripts use them."""

    STAND_IN = True
    dataSelected = Signal(object, object)
    SIGNALS = ("dataSelected(vtkStringArray*,vtkCollection*)",)

    def __init__(self, node: Any) -> None:
        super().__init__()
        self._node, self._plots = node, []
        self._view = vtk.vtkContextView()
        self._window = self._view.GetRenderWindow()
        self._window.SetOffScreenRendering(1)
        self._window.SetSize(*SIZE)
        self._chart = vtk.vtkChartXY()
        self._view.GetScene().AddItem(self._chart)
        left = vtk.vtkContextMouseEvent.LEFT_BUTTON
        self._chart.SetActionToButton(vtk.vtkChart.PAN, left)
        self._chart.SetClickActionToButton(vtk.vtkChart.SELECT, left)
        self._chart.AddObserver("SelectionChangedEvent", lambda *_: self._selected())
        self._interactor = vtk.vtkGenericRenderWindowInteractor()
        self._interactor.SetRenderWindow(self._window)
        self._style = vtk.vtkContextInteractorStyle()
        self._style.SetScene(self._view.GetScene())
        self._interactor.SetInteractorStyle(self._style)

    def plotView(self) -> PlotView:
        return self

    def mrmlPlotViewNode(self) -> Any:
        return self._node

    def draw(self) -> None:
        """Draw the current state of the chart node."""
        self._chart.ClearPlots()
        self._plots = []
        node = self._node.GetPlotChartNode()
        for index in range(node.GetNumberOfPlotSeriesNodes() if node is not None else 0):
            series = node.GetNthPlotSeriesNode(index)
            table = series.GetTableNode().GetTable()
            bars = series.GetPlotType() == slicer.vtkMRMLPlotSeriesNode.PlotTypeBar
            plot = vtk.vtkPlotBar() if bars else vtk.vtkPlotLine()
            plot.SetUseIndexForXSeries(bars)
            y = series.GetYColumnName()
            plot.SetInputData(table, y if bars else series.GetXColumnName(), y)
            self._chart.AddPlot(plot)
            self._plots.append((plot, series))
        self._window.Render()

    def click(self, x: float, y: float, double: bool = False) -> None:
        """Press and release the left button at a position in chart coordinates."""
        self.draw()
        place = [self._pixel(axis, value) for axis, value in ((vtk.vtkAxis.BOTTOM, x), (vtk.vtkAxis.LEFT, y))]
        self._interactor.SetEventInformation(*place, 0, 0, "0", 0, None)
        self._style.OnMouseMove()
        for press in (self._style.OnLeftButtonDown, self._style.OnLeftButtonDoubleClick)[: 1 + double]:
            press()
            self._style.OnLeftButtonUp()

    def _pixel(self, axis: int, value: float) -> int:
        coordinate = int(axis == vtk.vtkAxis.LEFT)
        low, high = self._chart.GetPoint1()[coordinate], self._chart.GetPoint2()[coordinate]
        drawn = self._chart.GetAxis(axis)
        return round(low + (value - drawn.GetMinimum()) / (drawn.GetMaximum() - drawn.GetMinimum()) * (high - low))

    def _selected(self) -> None:
        names, rows = vtk.vtkStringArray(), vtk.vtkCollection()
        for plot, series in self._plots:
            selection = plot.GetSelection()
            if selection is not None and selection.GetNumberOfValues():
                rows.AddItem(selection)
                names.InsertNextValue(series.GetID())
        self.dataSelected.emit(names, rows)
