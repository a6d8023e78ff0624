"""Swipe and spyglass: the output in a part of the input's slice view; its other voxels are transparent."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk

from ..scene import regions, slice_views, volumes
from ..scene.windows import SameWindow

HIDDEN = -32768.0
"""Value of the hidden voxels; the display threshold excludes them."""
LINE = 4095.0
"""Value of the voxels along the border: white in every window, but low enough that interpolation does not widen the
line.
"""


class Reveal:
    """Shows `after` over the view of `before`: to the right of a line, or within a circle around the mouse."""

    def __init__(self) -> None:
        self.node: Any = None
        self.fraction = 0.5
        self.radius_mm = 30.0
        self._centre: np.ndarray | None = None
        self._state: tuple[Any, Any, Any, Any] | None = None
        self._window = SameWindow()
        self._scrolling: slice_views.Scrolling | None = None
        self._crosshair: tuple[Any, int] | None = None

    @property
    def active(self) -> bool:
        return self._state is not None

    def start(self, before: Any, after: Any, view: Any, follow: bool = False) -> None:
        """Reveal in a slice view; follow: around the mouse instead of right of the line."""
        self.clear()
        composite = slice_views.composite_of(view)
        self._state = (before, after, view, composite)
        self.node = slice_views.hidden_volume(after.GetName(), before)
        volumes.copy_look(before.GetDisplayNode(), self.node.GetDisplayNode())
        display = self.node.GetDisplayNode()
        display.SetApplyThreshold(True)
        display.SetThreshold(HIDDEN / 8, 1e6)
        self._window = SameWindow(before, self.node)
        composite.SetForegroundVolumeID(self.node.GetID())
        composite.SetForegroundOpacity(1.0)
        self._scrolling = slice_views.Scrolling(self.update)
        if follow:
            crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
            if crosshair is not None:
                tag = crosshair.AddObserver(slicer.vtkMRMLCrosshairNode.CursorPositionModifiedEvent, self._mouse_moved)
                self._crosshair = (crosshair, tag)
            self.lookAt(*_centre_of(before))
        else:
            self.swipeTo(self.fraction)

    def swipeTo(self, fraction: float) -> None:
        """Set the line's position, 0 (left edge of the image: all output) to 1."""
        self.fraction, self._centre = fraction, None
        self.update()

    def lookAt(self, r: float, a: float, s: float) -> None:
        """Set the circle's centre on screen, in RAS mm."""
        self._centre = np.array([r, a, s])
        self.update()

    def update(self) -> None:
        """Update to the current slice."""
        if self._state is None:
            return
        before, after, view, _composite = self._state
        matrix = volumes.ijk_to_ras(before)
        axis = regions.axial_axis(matrix)
        index = slice_views.slice_index(view, before)
        array = slicer.util.arrayFromVolume(after)
        region = regions.Region(axis, index, index + 1, array.shape[axis])
        signed = array.dtype.kind == "i" and array.dtype.itemsize > 1
        part = np.array(array[region.part(index, index + 1)], array.dtype if signed else np.float32)
        shifted = regions.from_slice(index, axis, matrix)
        centre = None if self._centre is None else volumes.from_world(before, [self._centre])[0]
        revealed = self._revealed(part.shape, shifted, centre)
        part[~revealed] = HIDDEN
        part[_border(revealed, axis)] = LINE
        self.node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(shifted))
        slicer.util.updateVolumeFromArray(self.node, part)

    def clear(self) -> None:
        """Remove the output from the view."""
        if self._scrolling is not None:
            self._scrolling.stop()
        self._window.stop()
        if self._crosshair is not None:
            self._crosshair[0].RemoveObserver(self._crosshair[1])
        state, self._state, self._scrolling, self._crosshair = self._state, None, None, None
        if state is not None and self.node is not None and state[3].GetForegroundVolumeID() == self.node.GetID():
            state[3].SetForegroundVolumeID(None)
        node, self.node = self.node, None
        slice_views.remove(node)

    def _revealed(self, shape: tuple[int, ...], matrix: np.ndarray, centre: np.ndarray | None) -> np.ndarray:
        k, j, i = np.indices(shape, sparse=True)
        if centre is None:  # right of the line on screen is the patient's left: R falls
            r = matrix[0, 0] * i + matrix[0, 1] * j + matrix[0, 2] * k
            return np.broadcast_to(r <= r.max() - self.fraction * (r.max() - r.min()), shape)
        place = [matrix[w, 0] * i + matrix[w, 1] * j + matrix[w, 2] * k + matrix[w, 3] for w in range(2)]
        inside = (place[0] - centre[0]) ** 2 + (place[1] - centre[1]) ** 2 < self.radius_mm**2
        return np.broadcast_to(inside, shape)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _mouse_moved(self, crosshair: Any, event: str, data: Any = None) -> None:
        ras = [0.0, 0.0, 0.0]
        if crosshair.GetCursorPositionRAS(ras):
            self.lookAt(*ras)


def _border(revealed: np.ndarray, axis: int) -> np.ndarray:
    """The revealed voxels of a slice (one voxel thick along `axis`) that border a hidden one."""
    border = np.zeros(revealed.shape, bool)
    for along in {0, 1, 2} - {axis}:
        count = revealed.shape[along]
        index = np.arange(count)
        for step in (-1, 1):
            border |= ~revealed.take(np.clip(index + step, 0, count - 1), axis=along)
    return border & revealed


def _centre_of(node: Any) -> np.ndarray:
    bounds = np.zeros(6)
    node.GetRASBounds(bounds)
    return (bounds[::2] + bounds[1::2]) / 2
