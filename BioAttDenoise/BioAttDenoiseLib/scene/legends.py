"""Slicer's color legends for the module's volumes: only in the views that show them, never saved."""

from __future__ import annotations

from typing import Any

import slicer

from . import slice_views


def show(node: Any, views: list[Any], title: str, number: str) -> None:
    """Show a color legend for a volume in these views (none: no legend). number: label format, such as "%.2f"."""
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
    """Remove a volume's color legend from the scene."""
    if node is not None and node.GetDisplayNode() is not None:
        slice_views.remove(slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(node.GetDisplayNode()))
