"""Input and output side by side with the same position, zoom and window; their difference; flicker. Leaving restores
the previous state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import qt
import slicer
import vtk
from slicer.i18n import tr as _

from ..scene import colour, legends, slice_views, volumes
from ..scene.layouts import ATTENTION, DIFFERENCE, INPUT, OUTPUT, SIDE_BY_SIDE, SINGLE, Layouts
from ..scene.windows import SameWindow, set_window
from ..signals import connect
from .reveal import Reveal

PRESETS = {"soft": (400, 40), "lung": (1500, -600), "bone": (1800, 400), "brain": (80, 40), "liver": (150, 90)}
"""Window and level in HU."""
DIFFERENCE_RANGE_HU = 50.0
FLICKER_MS = 500


class Comparison:
    """The comparison of one output with its input. onChanged() is called if it ends because a volume was removed."""

    def __init__(self, onChanged: Callable[[], None] = lambda: None) -> None:
        self.onChanged = onChanged
        self.layouts = Layouts()
        self.before: Any = None
        self.after: Any = None
        self.difference: Any = None
        self.reveal = Reveal()
        self.range = DIFFERENCE_RANGE_HU
        self.flickered = False
        self._stamp: tuple[int, ...] = ()
        self._observed: list[tuple[Any, int]] = []
        self._window = SameWindow()
        self._timer = qt.QTimer()
        self._timer.setInterval(FLICKER_MS)
        connect(self._timer, "timeout()", self.flicker)

    @property
    def active(self) -> bool:
        """Whether a comparison is shown."""
        return self.layouts.active

    def start(self, before: Any, after: Any, kind: str = SIDE_BY_SIDE, charts: bool = False) -> None:
        """Compare two volumes in a layout. Raises ValueError if their geometry differs, RuntimeError without views."""
        if kind != SINGLE and not slice_views.same_grid(before, after):
            raise ValueError(
                _("The two volumes have different geometry. Choose the output that was made from this input.")
            )
        offset = _offset(before, after)
        first = not self.active or (before, after) != (self.before, self.after)
        if (before, after) != (self.before, self.after):
            self._forget()
        self._still()
        self.layouts.show(kind, charts)
        self.before, self.after = before, after
        if first:
            self._watch()
        self._fill(fit=True)
        self.setOffset(offset)
        # Qt sizes the widgets of a new layout in its next event loop iteration
        qt.QTimer.singleShot(0, self._fit)

    def leave(self) -> None:
        """Restore the previous layout and remove everything created for the comparison."""
        if not self.active:
            return
        offset = self._current_offset()
        self._still()
        self.layouts.leave()
        self._forget()
        if offset is not None:
            for view in slice_views.on_screen():
                if view.GetOrientation() == "Axial":
                    view.JumpSliceByOffsetting(*offset)

    def setRange(self, hu: float) -> None:
        """Set the difference's color range to ±hu."""
        self.range = hu
        if self.difference is not None:
            self.difference.GetDisplayNode().SetWindowLevel(2 * hu, 0)

    def setOffset(self, ras: Any) -> None:
        """Jump all views of the comparison to a position (RAS mm)."""
        for view in self.layouts.views().values():
            view.JumpSliceByOffsetting(*ras)

    def flicker(self) -> None:
        """Swap input and output in the output's view; call again to swap back."""
        if not self.active or self.after is None:
            return
        self.flickered = not self.flickered
        view = self.layouts.views().get(OUTPUT) or self.layouts.views()[INPUT]
        shown = (
            {True: self.before, False: self.after}
            if OUTPUT in self.layouts.views()
            else {True: self.after, False: self.before}
        )
        slice_views.composite_of(view).SetBackgroundVolumeID(shown[self.flickered].GetID())

    def setFlickering(self, on: bool) -> None:
        """Toggle twice per second."""
        if on and self.active:
            self._timer.start()
        else:
            self._still()

    def volume(self, name: str) -> Any:
        """The volume that belongs in a view of the comparison."""
        return {OUTPUT: self.after, DIFFERENCE: self.difference}.get(name, self.before)

    def composite(self, name: str) -> Any:
        """The composite node of a view of the comparison, None if the layout does not contain it."""
        view = self.layouts.views().get(name)
        return slice_views.composite_of(view) if view is not None else None

    def _still(self) -> None:
        self._timer.stop()
        if self.flickered:
            self.flicker()
        self.reveal.clear()

    def _fill(self, fit: bool) -> None:
        views = self.layouts.views()
        for name, view in views.items():
            view.SetOrientation("Axial")
            if volumes.straight(self.before):
                view.RotateToVolumePlane(self.before)
            composite = slice_views.composite_of(view)
            composite.SetSaveWithScene(False)
            composite.SetDoPropagateVolumeSelection(
                False
            )  # else a newly loaded volume replaces the background of every view
            if name == DIFFERENCE:
                self._make_difference()
            composite.SetBackgroundVolumeID(self.volume(name).GetID())
            if name == DIFFERENCE:
                legends.show(self.difference, [view], _("change, HU"), "%.0f")
            if name != ATTENTION:
                composite.SetForegroundVolumeID(None)
                composite.SetLabelVolumeID(None)
            composite.SetLinkedControl(True)
            composite.SetHotLinkedControl(True)
        if fit:
            self._fit()

    def _fit(self) -> None:
        for view in self.layouts.views().values():
            logic = slicer.app.applicationLogic().GetSliceLogic(view)
            if logic is not None:
                offset = logic.GetSliceOffset()
                logic.FitSliceToBackground()
                logic.SetSliceOffset(offset)

    def _make_difference(self) -> None:
        if self.difference is not None and slicer.mrmlScene.IsNodePresent(self.difference):
            return
        name = _("{name} change").format(name=self.after.GetName())
        self.difference = slice_views.hidden_volume(name, self.before)
        self._update_difference()
        display = self.difference.GetDisplayNode()
        display.SetAutoWindowLevel(False)
        display.SetAndObserveColorNodeID(colour.table(colour.DIFFERENCE).GetID())
        self.setRange(self.range)

    def _update_difference(self) -> None:
        arrays = [slicer.util.arrayFromVolume(node) for node in (self.before, self.after)]
        slicer.util.updateVolumeFromArray(self.difference, difference(*arrays))
        self._stamp = self._voxels_stamp()

    def _watch(self) -> None:
        """Share one window; end if one of the volumes is removed; update the difference when voxels change."""
        if self.after is not None:
            _same_window(self.before, self.after)
            self._window = SameWindow(self.before, self.after)
            for node in (self.before, self.after):
                for event in (vtk.vtkCommand.ModifiedEvent, slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent):
                    self._observed.append((node, node.AddObserver(event, lambda *_: self._voxels_changed())))
        scene = slicer.mrmlScene
        self._observed.append((scene, scene.AddObserver(scene.NodeAboutToBeRemovedEvent, self._node_goes)))
        self._observed.append((scene, scene.AddObserver(scene.StartCloseEvent, lambda *_: self.leave())))

    def _voxels_changed(self) -> None:
        """A node is "modified" for many reasons: check the time stamp of its voxels."""
        if self.difference is None or self._stamp == self._voxels_stamp():
            return
        if slice_views.same_grid(self.before, self.after):
            self._update_difference()

    def _voxels_stamp(self) -> tuple[int, ...]:
        images = [node.GetImageData() for node in (self.before, self.after)]
        return tuple(image.GetMTime() for image in images if image is not None)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _node_goes(self, caller: Any, event: str, node: Any) -> None:
        if node in (self.before, self.after):
            self.leave()
            self.onChanged()

    def _forget(self) -> None:
        for node, tag in self._observed:
            node.RemoveObserver(tag)
        self._observed = []
        self._window.stop()
        node, self.difference = self.difference, None
        if node is not None and slicer.mrmlScene.IsNodePresent(node):
            legends.remove(node)
        slice_views.remove(node)
        self.before = self.after = None

    def _current_offset(self) -> tuple[float, float, float] | None:
        for view in self.layouts.views().values():
            return tuple(view.GetSliceToRAS().GetElement(row, 3) for row in range(3))
        return None


def difference(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """output − input, exact: integers use a type wide enough for every difference."""
    if before.dtype.kind == "f" or after.dtype.kind == "f":
        return after.astype(np.result_type(before, after), copy=False) - before
    change = after.astype(np.int32) - before
    limits = np.iinfo(np.int16)
    fits = change.size and change.min() >= limits.min and change.max() <= limits.max
    return change.astype(np.int16) if fits else change


def _offset(before: Any, after: Any) -> tuple[float, float, float]:
    """The position shown by an axial view of one of the volumes, else the input's centre."""
    for view, _composite in slice_views.showing(before, after):
        if slice_views.axial(view, before):
            return tuple(view.GetSliceToRAS().GetElement(row, 3) for row in range(3))
    bounds = np.zeros(6)
    before.GetRASBounds(bounds)
    return tuple((bounds[::2] + bounds[1::2]) / 2)


def _same_window(source: Any, target: Any) -> None:
    a, b = source.GetDisplayNode(), target.GetDisplayNode()
    if a is not None and b is not None and (a.GetWindow(), a.GetLevel()) != (b.GetWindow(), b.GetLevel()):
        set_window(b, a.GetWindow(), a.GetLevel())
