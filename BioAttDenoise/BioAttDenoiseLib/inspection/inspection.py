"""State shared by the sections on attention, comparison and numbers: one overlay, comparison, chart and structure
check.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import slicer
from slicer.i18n import tr as _

from ..engine import requests
from ..engine.job import Kind
from ..engine.options import EngineOptions
from ..scene import layouts, regions, slice_views, volumes
from .attention_maps import AttentionMaps, SlicePrior, maps_of_reply, slice_prior
from .chart import PriorChart
from .comparison import Comparison
from .organs import Organs
from .overlay import Overlay
from .structure_check import StructureCheck

_made: WeakKeyDictionary[Any, Inspection] = WeakKeyDictionary()


def inspection_of(panel: Any) -> Inspection:
    """The panel's inspection state."""
    if panel not in _made:
        _made[panel] = Inspection(panel.logic)
    return _made[panel]


class Inspection:
    """The input, its output, and the prior and maps of the denoising."""

    def __init__(self, logic: Any) -> None:
        self.logic = logic
        self.overlay, self.chart = Overlay(), PriorChart()
        self.structure_check = StructureCheck()
        self.organs = Organs()
        self.comparison = Comparison()

    def resultArrived(self, result: Any) -> None:
        """Set the prior and maps of a denoising."""
        source = result.volume.GetNodeReference(volumes.INPUT_ROLE)
        matrix = volumes.ijk_to_ras(source)
        if result.prior is not None:
            self.chart.setPrior(source, result.volume, slice_prior(result.prior, result.region, matrix))
        if result.attention:
            shape = slicer.util.arrayFromVolume(source).shape
            reply = {"prior": result.prior, "attention": result.attention}
            self.overlay.setMaps(source, maps_of_reply(reply, result.region, shape, matrix))

    def computeMaps(
        self,
        node: Any,
        options: EngineOptions,
        request: dict[str, Any],
        index: int | None,
        onDone: Callable[[AttentionMaps], None],
        onError: Callable[[Exception], None],
        onCancelled: Callable[[], None],
        onProgress: Callable[[dict[str, Any]], None],
    ) -> None:
        """Compute the network's maps of a volume, or of its slice `index`.

        request: {stages, descriptors (None: all), unified}. Raises ValueError for a volume that cannot be denoised,
        EngineError if the engine is busy.
        """
        problem = volumes.problem(node)
        if problem:
            raise ValueError(problem)
        shape, matrix = slicer.util.arrayFromVolume(node).shape, volumes.ijk_to_ras(node)
        region = regions.whole_region(shape, matrix)
        if index is not None:
            region = regions.Region(region.axis, index, index + 1, region.count)

        def finish(reply: dict[str, Any]) -> None:
            if not slicer.mrmlScene.IsNodePresent(node):
                onError(ValueError(_("The input volume was removed during the computation.")))
                return
            maps = maps_of_reply(reply, region, shape, matrix)
            self.overlay.setMaps(node, maps)
            if maps.prior is not None and index is None:
                self.chart.setPrior(node, None, maps.prior)
            onDone(maps)

        self.logic.submit(
            Kind.MAPS,
            requests.attention_maps(node, region, options, request),
            on_result=finish,
            on_error=onError,
            on_cancelled=onCancelled,
            on_progress=onProgress,
        )

    def composites(self, node: Any) -> list[Any]:
        """Views for the overlay: the comparison's dedicated view, else every view that shows the volume or an output of
        it.
        """
        own = self.comparison.composite(layouts.ATTENTION)
        shown = slice_views.showing(node, *slice_views.outputs_of(node))
        return [own] if own is not None else [composite for _view, composite in shown]

    def prior(self) -> SlicePrior | None:
        """The known prior."""
        if self.chart.prior is not None:
            return self.chart.prior
        return self.overlay.maps.prior if self.overlay.maps is not None else None

    def clear(self) -> None:
        """Remove everything from the views."""
        self.structure_check.stop()
        self.overlay.clear()
        self.overlay.maps = None
        self.organs.clear()
        self.comparison.leave()
        self.structure_check.forget()
        self.chart.deafen()
        self.chart.clear()
