"""Slicer's color legends for the volumes that the module shows: in the views where they are, never saved."""

from __future__ import annotations

from typing import Any

import slicer

from . import slice_views


def show(node: Any, views: list[Any], title: str, number: str) -> None:
    """A color bar for a volume in these views (none: no bar). number: format of its labels, such as "%.2f"."""
    logic, display = slicer.vtkSlicerColorLogic, node.GetDisplayNode()
    legend = logic.GetColorLegendDisplayNode(display)
    if legend is None and views:
        legend = logic.AddDefaultColorLegendDisplayNode(display)
        legend.SetSaveWithScene(False)
    if legend is None:
        return
    legend.SetVisibility(bool(views))
    legend.SetTitleText(title)
    legend.SetLabelFormat(number)
    legend.SetNumberOfLabels(3)
    legend.SetSize(0.12, 0.4)
    legend.RemoveAllViewNodeIDs()
    for view in views:
        legend.AddViewNodeID(view.GetID())


def remove(node: Any) -> None:
    """Take a volume's color bar out of the scene."""
    if node is not None and node.GetDisplayNode() is not None:
        slice_views.remove(slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(node.GetDisplayNode()))
