"""The current slice, denoised and laid over its slice view. The network runs once a slice; strength is blended here, at
once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from . import regions, volumes
from .engine import EngineError
from .engine_process import EngineProcess
from .options import DenoiseOptions


@dataclass
class Shown:
    """A preview on screen: the input, its slice's voxels before and after (float32), and the node that shows them."""

    source: Any
    index: int
    before: np.ndarray
    after: np.ndarray
    node: Any
    layers: list[tuple[Any, str | None, float]]


class Preview:
    """One preview at a time. It is no part of the scene that is saved, and clearing it puts the views back."""

    def __init__(self, logic: Any) -> None:
        self.logic = logic
        self.shown: Shown | None = None
        self.strength = 1.0
        self.p: tuple[float, ...] | None = None  # overrides the prior of a slice

    def request(
        self,
        node: Any,
        options: DenoiseOptions,
        onDone: Callable[[dict[str, Any]], None],
        onError: Callable[[Exception], None],
        onCancelled: Callable[[], None],
    ) -> None:
        """Denoise the slice of `node` that is on screen; onDone gets the engine's reply when it is shown.

        Raises ValueError for a volume that cannot be denoised, EngineError where the engine is busy.
        """
        problem = volumes.problem(node)
        if problem:
            raise ValueError(problem)
        array, matrix = slicer.util.arrayFromVolume(node), volumes.ijk_to_ras(node)
        index = current_slice(node)
        axis = regions.axial_axis(matrix)
        region = regions.Region(axis, index, index + 1, array.shape[axis])
        sent, fields = region.fields(array, matrix)
        first, _last = region.context
        name = f"preview-{time.monotonic_ns()}.npy"
        fields["volume"].update(array=name, acquisition=volumes.acquisition(node))
        before = np.array(array[region.part(index, index + 1)], np.float32)
        kind = "preview" if axis == 0 else "denoise"  # a stack along another axis is one axial slice as a whole
        fields.pop("slices", None)
        if axis == 0:
            fields["slice"] = index - first
            if self.p is not None:
                fields["p"] = list(self.p)

        def prepare(process: EngineProcess) -> dict[str, Any]:
            process.save(name, sent)
            return {}

        def finish(reply: dict[str, Any]) -> None:
            if not slicer.mrmlScene.IsNodePresent(node):
                onError(EngineError("input", _("The input volume was removed meanwhile.")))
                return
            self._show(node, region, before, np.asarray(reply["array"], np.float32))
            onDone(reply)

        fields = {**options.request(), "strength": 1.0, **fields}
        self.logic.request(kind, fields, on_result=finish, on_error=onError, on_cancelled=onCancelled, prepare=prepare)

    def set_strength(self, strength: float) -> None:
        """Blend anew, 0 … 1; takes no computation."""
        self.strength = strength
        if self.shown is not None:
            self._blend()

    def clear(self) -> None:
        """Take the preview away and give every view back its former foreground."""
        shown, self.shown = self.shown, None
        if shown is None:
            return
        for composite, foreground, opacity in shown.layers:
            if slicer.mrmlScene.IsNodePresent(composite) and composite.GetForegroundVolumeID() == shown.node.GetID():
                composite.SetForegroundVolumeID(foreground)
                composite.SetForegroundOpacity(opacity)
        if slicer.mrmlScene.IsNodePresent(shown.node):
            slicer.mrmlScene.RemoveNode(shown.node)

    def _show(self, source: Any, region: regions.Region, before: np.ndarray, after: np.ndarray) -> None:
        self.clear()
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScalarVolumeNode")
        node.UnRegister(None)
        node.SetName(_("{name} preview").format(name=source.GetName()))
        node.SetHideFromEditors(True)
        node.SetSaveWithScene(False)
        node = slicer.mrmlScene.AddNode(node)
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().SetSaveWithScene(False)
        node.SetIJKToRASMatrix(_shifted(source, region))
        node.SetAndObserveTransformNodeID(source.GetTransformNodeID())
        if source.GetDisplayNode() is not None:
            volumes.copy_look(source.GetDisplayNode(), node.GetDisplayNode())
        self.shown = Shown(source, region.start, before, after, node, [])
        self._blend()
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            if composite.GetBackgroundVolumeID() == source.GetID():
                self.shown.layers.append(
                    (composite, composite.GetForegroundVolumeID(), composite.GetForegroundOpacity())
                )
                composite.SetForegroundVolumeID(node.GetID())
                composite.SetForegroundOpacity(1.0)

    def _blend(self) -> None:
        shown = self.shown
        values = shown.before + np.float32(self.strength) * (shown.after - shown.before)
        dtype = slicer.util.arrayFromVolume(shown.source).dtype
        slicer.util.updateVolumeFromArray(shown.node, regions.cast(values, dtype))


def current_slice(node: Any) -> int:
    """Index, along the volume's axial axis, of the slice on screen: in a view that shows the volume axially, else the
    middle one.
    """
    matrix = volumes.ijk_to_ras(node)
    axis = regions.axial_axis(matrix)
    count = slicer.util.arrayFromVolume(node).shape[axis]
    view = axial_view(node)
    if view is None:
        return count // 2
    centre = [view.GetSliceToRAS().GetElement(row, 3) for row in range(3)]
    parent = node.GetParentTransformNode()
    if parent is not None:
        from_world = vtk.vtkGeneralTransform()
        parent.GetTransformFromWorld(from_world)
        centre = from_world.TransformPoint(centre)
    ijk = np.linalg.inv(matrix) @ [*centre, 1.0]
    return int(np.clip(np.rint(ijk[2 - axis]), 0, count - 1))


def axial_view(node: Any) -> Any:
    """The slice node of a view that shows `node` in the plane of its axial slices; None where there is none."""
    matrix = volumes.ijk_to_ras(node)
    normal = matrix[:3, 2 - regions.axial_axis(matrix)]
    normal = normal / np.linalg.norm(normal)
    for view in sorted(slicer.util.getNodesByClass("vtkMRMLSliceNode"), key=lambda view: not view.IsMappedInLayout()):
        composite = _composite(view)
        if composite is None or composite.GetBackgroundVolumeID() != node.GetID():
            continue
        across = np.array([view.GetSliceToRAS().GetElement(row, 2) for row in range(3)])
        if abs(across @ normal) > 0.7 * np.linalg.norm(across):
            return view
    return None


def _composite(view: Any) -> Any:
    """The composite node of a slice view: the one with the same layout name."""
    for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        if node.GetLayoutName() == view.GetLayoutName():
            return node
    return None


def _shifted(source: Any, region: regions.Region) -> vtk.vtkMatrix4x4:
    """IJK to RAS of the region's slices alone."""
    matrix = volumes.ijk_to_ras(source)
    offset = np.zeros(3)
    offset[2 - region.axis] = region.start
    matrix[:3, 3] += matrix[:3, :3] @ offset
    return slicer.util.vtkMatrixFromArray(matrix)
