"""Slice views through their MRML nodes: which are visible, what they show, and at which position."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import slicer
import vtk

from . import regions, volumes


def composite_of(view: Any) -> Any:
    """The composite node of a slice node, None if it has none yet."""
    for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        if node.GetLayoutName() == view.GetLayoutName():
            return node
    return None


def all_views() -> list[Any]:
    """Every slice node of the scene."""
    return slicer.util.getNodesByClass("vtkMRMLSliceNode")


def on_screen() -> list[Any]:
    """The slice nodes of the current layout."""
    return [view for view in all_views() if view.IsMappedInLayout()]


def showing(*nodes: Any) -> list[tuple[Any, Any]]:
    """(slice node, composite node) of the visible views whose background is one of the volumes."""
    wanted = {node.GetID() for node in nodes if node is not None}
    found = [(view, composite_of(view)) for view in on_screen()]
    return [
        (view, composite)
        for view, composite in found
        if composite is not None and composite.GetBackgroundVolumeID() in wanted
    ]


def ct_on_screen() -> Any:
    """The CT volume that the slice views show, else the scene's first, None if there is none."""
    candidates = volumes.ct_volumes()
    shown = [node.GetBackgroundVolumeID() for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")]
    return next((node for node in candidates if node.GetID() in shown), candidates[0] if candidates else None)


def slice_index(view: Any, node: Any) -> int:
    """Index, along the volume's axial axis, of the slice that a view shows."""
    matrix = volumes.ijk_to_ras(node)
    axis = regions.axial_axis(matrix)
    centre = [view.GetSliceToRAS().GetElement(row, 3) for row in range(3)]
    ijk = np.linalg.inv(matrix) @ [*volumes.from_world(node, [centre])[0], 1.0]
    return int(np.clip(np.rint(ijk[2 - axis]), 0, slicer.util.arrayFromVolume(node).shape[axis] - 1))


def edges(view: Any) -> str:
    """The patient's directions at the left, right, upper and lower edge of a view: "RLAP" of an axial one."""
    found = []
    for column in (0, 1):
        along = [view.GetSliceToRAS().GetElement(row, column) for row in range(3)]
        axis = int(np.argmax(np.abs(along)))
        pair = ("LR", "PA", "IS")[axis]
        found.append(pair if along[axis] > 0 else pair[::-1])
    return found[0] + found[1][::-1]


def axial(view: Any, node: Any) -> bool:
    """Whether a view shows the volume's axial slices (within 45°)."""
    matrix = volumes.ijk_to_ras(node)
    middle = volumes.middle(node)
    ends = volumes.to_world(node, np.array([middle, middle + matrix[:3, 2 - regions.axial_axis(matrix)]]))
    normal = ends[1] - ends[0]
    across = np.array([view.GetSliceToRAS().GetElement(row, 2) for row in range(3)])
    return bool(abs(across @ normal) > 0.7 * np.linalg.norm(across) * np.linalg.norm(normal))


def outputs_of(node: Any) -> list[Any]:
    """The denoised outputs of this volume."""
    return [
        other
        for other in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        if other.GetNodeReference(volumes.INPUT_ROLE) is node and same_grid(other, node)
    ]


def current_slice(node: Any) -> int:
    """The current slice of a volume: from an axial view that shows it or an output of it, else the middle one."""
    for view, _composite in showing(node, *outputs_of(node)):
        if axial(view, node):
            return slice_index(view, node)
    matrix = volumes.ijk_to_ras(node)
    return slicer.util.arrayFromVolume(node).shape[regions.axial_axis(matrix)] // 2


def same_grid(a: Any, b: Any) -> bool:
    """Whether two volumes have the same voxel grid."""
    if a is None or b is None or a.GetImageData() is None or b.GetImageData() is None:
        return False
    same_place = np.allclose(volumes.ijk_to_ras(a), volumes.ijk_to_ras(b), atol=1e-4)
    return same_place and a.GetImageData().GetDimensions() == b.GetImageData().GetDimensions()


def hidden_volume(name: str, like: Any, kind: str = "vtkMRMLScalarVolumeNode") -> Any:
    """A hidden, unsaved volume node with `like`'s geometry. Voxels are not set."""
    node = hidden_node(name, kind)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetSaveWithScene(False)
    matrix = vtk.vtkMatrix4x4()
    like.GetIJKToRASMatrix(matrix)
    node.SetIJKToRASMatrix(matrix)
    node.SetAndObserveTransformNodeID(like.GetTransformNodeID())
    return node


def hidden_node(name: str, kind: str) -> Any:
    """A hidden, unsaved node of a class."""
    node = slicer.mrmlScene.CreateNodeByClass(kind)
    node.UnRegister(None)
    node.SetName(name)
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    return slicer.mrmlScene.AddNode(node)


def remove(node: Any) -> None:
    """Remove a node from the scene if it is still there."""
    if node is not None and slicer.mrmlScene.IsNodePresent(node):
        slicer.mrmlScene.RemoveNode(node)


class Scrolling:
    """Calls back when any slice view moves, until `stop()`."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback = callback
        self._observed: list[tuple[Any, int]] = []
        self.refresh()

    def refresh(self) -> None:
        """Observe the current views."""
        self.stop()
        for view in all_views():
            self._observed.append(
                (view, view.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda caller, event: self.callback()))
            )

    def stop(self) -> None:
        for view, tag in self._observed:
            view.RemoveObserver(tag)
        self._observed = []
