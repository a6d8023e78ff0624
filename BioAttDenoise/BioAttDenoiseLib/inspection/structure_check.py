"""The structure check in the scene: searches the difference for anatomy in the background, and marks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _

from bioatt.core.structure import StructureMap, StructureSearch

from ..scene import colour, regions, slice_views, volumes
from ..signals import connect


class StructureCheck:
    """One search at a time, one slice per iteration of Slicer's event loop."""

    def __init__(self) -> None:
        self.found: StructureMap | None = None
        self.node: Any = None
        self._pair: tuple[Any, Any] | None = None
        self._search: Any = None
        self._steps: Any = None
        self._timer = qt.QTimer()
        self._timer.setInterval(0)
        connect(self._timer, "timeout()", self._step)

    @property
    def running(self) -> bool:
        return self._steps is not None

    def start(
        self,
        before: Any,
        after: Any,
        onDone: Callable[[], None],
        onProgress: Callable[[float], None] = lambda fraction: None,
    ) -> None:
        """Search before − after; onDone() is called when `found` is set. Raises ValueError if the geometry differs."""
        if not slice_views.same_grid(before, after):
            raise ValueError(
                _("The two volumes have different geometry. Choose the output that was made from this input.")
            )
        self.stop()
        self.forget()
        self._pair, self._on_done, self._on_progress = (before, after), onDone, onProgress
        self._axis = regions.axial_axis(volumes.ijk_to_ras(before))
        hu, denoised = (np.moveaxis(slicer.util.arrayFromVolume(node), self._axis, 0) for node in (before, after))
        along, *rest = self._order()
        spacing = before.GetSpacing()[::-1]  # of the array's axes (k, j, i)
        self._search = StructureSearch(hu, denoised, (spacing[rest[1]], spacing[rest[0]], spacing[along]))
        self._steps = self._search.run()
        self._timer.start()

    def run(self, before: Any, after: Any) -> StructureMap:
        """Run the search synchronously, for scripts."""
        self.start(before, after, lambda: None)
        while self.running:
            self._step()
        assert self.found is not None, "a volume was removed"
        return self.found

    def stop(self) -> None:
        """Stop a running search."""
        self._timer.stop()
        self._pair = self._search = self._steps = None

    def forget(self) -> None:
        """Remove the marks from the scene."""
        self.found, node, self.node = None, self.node, None
        slice_views.remove(node)

    def show(self, composites: list[Any]) -> None:
        """Outline the marks in these views."""
        for composite in composites:
            composite.SetLabelVolumeID(self.node.GetID() if self.node is not None else None)
            composite.SetLabelOpacity(1.0)
        names = {composite.GetLayoutName() for composite in composites}
        for view in slice_views.on_screen():
            if view.GetLayoutName() in names:
                view.SetUseLabelOutline(True)

    def worst(self) -> tuple[float, float, float] | None:
        """The position on screen (RAS mm) of the strongest mark; None if nothing was found."""
        if self.found is None or not self.found.alarm:
            return None
        at = np.unravel_index(np.argmax(self.found.significance), self.found.significance.shape)
        kji = np.empty(3)
        kji[self._order()] = at
        place = (volumes.ijk_to_ras(self.node) @ [*kji[::-1], 1.0])[:3]
        return tuple(volumes.to_world(self.node, [place])[0])

    def _order(self) -> list[int]:
        """The array's axes, with the axis of the axial slices first."""
        return [self._axis, *(axis for axis in range(3) if axis != self._axis)]

    def _step(self) -> None:
        if self._pair is None or not all(slicer.mrmlScene.IsNodePresent(node) for node in self._pair):
            self.stop()
            return
        before, after = self._pair
        fraction = next(self._steps, None)
        if fraction is not None:
            self._on_progress(fraction)
            return
        self.found = self._search.result()
        self.stop()
        self._mark(before, after, self.found.marks)
        self._on_done()

    def _mark(self, before: Any, after: Any, found: np.ndarray) -> None:
        name = _("{name}: structure removed").format(name=after.GetName())
        self.node = slice_views.hidden_volume(name, before, "vtkMRMLLabelMapVolumeNode")
        marks = np.moveaxis(found, 0, self._axis)
        slicer.util.updateVolumeFromArray(self.node, np.ascontiguousarray(marks, np.uint8))
        self.node.GetDisplayNode().SetAndObserveColorNodeID(colour.table(colour.MARKS).GetID())
