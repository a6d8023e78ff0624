"""The prior as table and plot nodes: bars for the current slice, and each organ's probability along z."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import qt
import slicer
import vtk
from slicer.i18n import tr as _

from ..scene import layouts, regions, slice_views, volumes
from ..signals import connect
from .attention_maps import SlicePrior

CURVES = 6
"""Number of organs plotted along z, most probable first."""
PRIOR_ROLE = "BioAttDenoisePrior"
SOURCE_ATTRIBUTE, START_ATTRIBUTE = "BioAttDenoise.PriorSource", "BioAttDenoise.PriorStart"
COLORS = (
    (0.90, 0.62, 0.0),
    (0.34, 0.71, 0.91),
    (0.0, 0.62, 0.45),
    (0.84, 0.37, 0.0),
    (0.80, 0.47, 0.65),
    (0.0, 0.45, 0.70),
)
"""Okabe and Ito's colors, distinguishable for color-blind readers."""
SELECTED = "dataSelected(vtkStringArray*, vtkCollection*)"
"""Signal of Slicer's plot view when a bar is clicked (VTK's chart does not select points of a line by a click). It has
no signal for double clicks; the first click of one counts as a click.
"""


class PriorChart:
    """Tables and charts of one volume's prior. The table along z is saved with the scene; the charts are recreated.

    onOrgan(name) is called when an organ's bar is clicked.
    """

    def __init__(self, onOrgan: Callable[[str], None] = lambda name: None) -> None:
        self.onOrgan = onOrgan
        self._heard: list[Any] = []
        self.source: Any = None
        self.prior: SlicePrior | None = None
        self.along_z: Any = None
        self._nodes: dict[str, Any] = {}
        self.index: int | None = None

    def setPrior(self, source: Any, output: Any, prior: SlicePrior) -> None:
        """Set the prior: `source` gives the slice positions; the table is kept with `output` (or None)."""
        self.clear()
        self.source, self.prior = source, prior
        self.along_z = table_along_z(source, prior)
        if output is None:
            self.along_z.SetHideFromEditors(True)
            self.along_z.SetSaveWithScene(False)
            self._nodes["table"] = self.along_z
        else:
            former = output.GetNodeReference(PRIOR_ROLE)
            if former is not None:
                slicer.mrmlScene.RemoveNode(former)
            output.SetNodeReferenceID(PRIOR_ROLE, self.along_z.GetID())

    def restore(self, output: Any) -> bool:
        """Load the prior saved with an output volume, for its input; whether there was one."""
        table = output.GetNodeReference(PRIOR_ROLE) if output is not None else None
        if table is None:
            return False
        self.clear()
        self.source = output.GetNodeReference(volumes.INPUT_ROLE)
        self.along_z, self.prior = table, prior_of_table(table)
        return True

    def update(self, index: int) -> None:
        """Update the bars for another slice."""
        self.index = index
        bars = self._nodes.get("bar table")
        if bars is None:
            return
        rows = self.prior.rows(index) if self.prior is not None else []
        table = bars.GetTable()
        modified = bars.StartModify()
        table.SetNumberOfRows(len(rows))
        for row, (name, p) in enumerate(rows):
            table.SetValue(row, 0, vtk.vtkVariant(name))
            table.SetValue(row, 1, vtk.vtkVariant(p))
        table.Modified()
        bars.EndModify(modified)
        self._nodes["bar chart"].SetTitle(_("Slice {number}").format(number=index + 1))

    def show(self) -> None:
        """Show the charts in the plot views of the comparison's layout."""
        if self.prior is None:
            return
        if "bar chart" not in self._nodes:
            self._make_bars()
            self._make_curves(self.prior)
        self.update(self.index or 0)
        for name, chart in ((layouts.BARS, "bar chart"), (layouts.CURVES, "curve chart")):
            view = slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLPlotViewNode")
            if view is not None:
                view.SetPlotChartNodeID(self._nodes[chart].GetID())
        self._listen()

    def clear(self) -> None:
        """Remove the charts from the scene; the table along z stays if an output references it."""
        for node in reversed(self._nodes.values()):
            slice_views.remove(node)
        self._nodes, self.source, self.prior, self.along_z, self.index = {}, None, None, None, None

    def deafen(self) -> None:
        """Stop listening to clicks: the views may be deleted."""
        for view in self._heard:
            view.disconnect(SELECTED, self._selected)
        self._heard = []

    def _listen(self) -> None:
        manager = slicer.app.layoutManager()
        for widget in (manager.plotWidget(number) for number in range(manager.plotViewCount)):
            view, shown = widget.plotView(), widget.mrmlPlotViewNode().GetPlotChartNode()
            if view not in self._heard and shown is self._nodes["bar chart"]:
                connect(view, SELECTED, self._selected)
                self._heard.append(view)

    def _selected(self, series: Any, selections: Any) -> None:
        """series: ids of plot series; selections: the selected rows of each."""
        for number in range(min(series.GetNumberOfValues(), selections.GetNumberOfItems())):
            node, rows = slicer.mrmlScene.GetNodeByID(series.GetValue(number)), selections.GetItemAsObject(number)
            if node is None or node is not self._nodes.get("bar series") or not rows.GetNumberOfValues():
                continue
            name = self._nodes["bar table"].GetTable().GetValue(rows.GetValue(0), 0).ToString()
            rows.SetNumberOfTuples(0)  # else VTK repeats it at the next button press, wherever that is
            qt.QTimer.singleShot(0, lambda name=name: self.onOrgan(name))  # the chart is still processing the click

    def _make_bars(self) -> None:
        node = self._add("bar table", "vtkMRMLTableNode", _("Probability by organ"))
        for name, kind in ((_("organ"), vtk.vtkStringArray), ("p", vtk.vtkDoubleArray)):
            column = kind()
            column.SetName(name)
            node.AddColumn(column)
        series = self._add("bar series", "vtkMRMLPlotSeriesNode", "p")
        series.SetAndObserveTableNodeID(node.GetID())
        series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeBar)
        series.SetLabelColumnName(_("organ"))
        series.SetYColumnName("p")
        series.SetColor(*COLORS[1])
        chart = self._chart("bar chart", [series])
        chart.SetXAxisTitle("")
        chart.SetYAxisRangeAuto(False)
        chart.SetYAxisRange(0, 1)
        chart.SetLegendVisibility(False)

    def _make_curves(self, prior: SlicePrior) -> None:
        strongest = np.argsort(-prior.p.max(axis=0))[:CURVES]
        made = []
        for number, n in enumerate(strongest):
            name = prior.descriptors[n]
            series = self._add(name, "vtkMRMLPlotSeriesNode", name)
            series.SetAndObserveTableNodeID(self.along_z.GetID())
            series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
            series.SetXColumnName("z")
            series.SetYColumnName(name)
            series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone)
            series.SetLineWidth(2)
            series.SetColor(*COLORS[number % len(COLORS)])
            made.append(series)
        chart = self._chart("curve chart", made)
        chart.SetTitle(_("Probability along the body"))
        chart.SetXAxisTitle(_("z (mm)"))
        chart.SetYAxisRangeAuto(False)
        chart.SetYAxisRange(0, 1)
        chart.SetLegendVisibility(True)

    def _chart(self, key: str, series: list[Any]) -> Any:
        chart = self._add(key, "vtkMRMLPlotChartNode", f"BioAttDenoise {key}")
        for node in series:
            chart.AddAndObservePlotSeriesNodeID(node.GetID())
        chart.SetYAxisTitle("p")
        return chart

    def _add(self, key: str, kind: str, name: str) -> Any:
        self._nodes[key] = slice_views.hidden_node(name, kind)
        return self._nodes[key]


def table_along_z(source: Any, prior: SlicePrior) -> Any:
    """A table node: z (RAS mm of the slices' centres) and a column of probabilities for each organ."""
    node = slicer.mrmlScene.AddNewNodeByClass(
        "vtkMRMLTableNode", _("{name} anatomy prior").format(name=source.GetName())
    )
    matrix = volumes.ijk_to_ras(source)
    axis = regions.axial_axis(matrix)
    shape = slicer.util.arrayFromVolume(source).shape
    kji = np.tile((np.array(shape) - 1) / 2, (len(prior.p), 1))
    kji[:, axis] = np.arange(prior.start, prior.start + len(prior.p))
    z = volumes.to_world(source, kji[:, ::-1] @ matrix[:3, :3].T + matrix[:3, 3])[:, 2]
    for name, values in (("z", z), *zip(prior.descriptors, prior.p.T, strict=True)):
        column = vtk.vtkDoubleArray()
        column.SetName(name)
        for value in values:
            column.InsertNextValue(float(value))
        node.AddColumn(column)
    node.SetUseColumnTitleAsColumnHeader(True)
    node.SetAttribute(SOURCE_ATTRIBUTE, prior.source)
    node.SetAttribute(START_ATTRIBUTE, str(prior.start))
    return node


def prior_of_table(node: Any) -> SlicePrior:
    """The prior stored in a table along z."""
    table = node.GetTable()
    columns = [table.GetColumn(index) for index in range(1, table.GetNumberOfColumns())]
    p = np.array(
        [[column.GetVariantValue(row).ToDouble() for column in columns] for row in range(table.GetNumberOfRows())]
    )
    names = tuple(column.GetName() for column in columns)
    start = int(node.GetAttribute(START_ATTRIBUTE) or 0)
    return SlicePrior(names, p.astype(np.float32), start, node.GetAttribute(SOURCE_ATTRIBUTE) or "")
