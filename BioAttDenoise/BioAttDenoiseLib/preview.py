"""The current slice, denoised and overlaid on a slice view: the output's if there is one, else the input's.

The network runs once per slice, twice if organs have individual strengths; strength is blended here instantly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from .engine import requests
from .engine.errors import EngineError
from .engine.job import Kind
from .engine.options import EngineOptions
from .scene import regions, slice_views, volumes
from .scene.windows import SameWindow


@dataclass
class Shown:
    """A displayed preview: the input, its slice's voxels at strength 0 and 1 (float32), and the node that shows them.
    With strengths by organ, strength applies to everything else.
    """

    source: Any
    index: int
    none: np.ndarray
    all: np.ndarray
    node: Any
    layers: list[tuple[Any, str | None, float]]
    window: SameWindow


class Preview:
    """One preview at a time. It is not saved with the scene, and clearing it restores the views."""

    def __init__(self, logic: Any) -> None:
        self.logic = logic
        self.shown: Shown | None = None
        self.strength = 1.0
        self.p: dict[str, float] | None = None  # overrides the prior of a slice: probabilities by descriptor

    def request(
        self,
        node: Any,
        options: EngineOptions,
        organs: dict[str, Any],
        onDone: Callable[[dict[str, Any]], None],
        onError: Callable[[Exception], None],
        onCancelled: Callable[[], None],
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        """Denoise the current slice of `node`; onDone receives the engine's reply when it is shown. If the reply is no
        longer `wanted` when it arrives, it is dropped and onCancelled is called. organs: {organStrength, anatomy} as in
        `DenoiseLogic.denoiseAsync`, empty for none.

        Raises ValueError for a volume that cannot be denoised, EngineError if the engine is busy.
        """
        problem = volumes.problem(node)
        if problem:
            raise ValueError(problem)
        array, index = slicer.util.arrayFromVolume(node), slice_views.current_slice(node)
        axis = regions.axial_axis(volumes.ijk_to_ras(node))
        region = regions.Region(axis, index, index + 1, array.shape[axis])
        by_organ = {"organ_strength": organs["organStrength"], "anatomy": organs["anatomy"]} if organs else {}
        known = [] if organs else [np.array(array[region.part(index, index + 1)], np.float32)]
        seconds = 0.0

        def ask(strength: float) -> None:
            self.logic.submit(
                Kind.PREVIEW,
                requests.preview(node, region, replace(options, strength=strength), self.p, **by_organ),
                on_result=finish,
                on_error=onError,
                on_cancelled=onCancelled,
            )

        def finish(reply: dict[str, Any]) -> None:
            if not slicer.mrmlScene.IsNodePresent(node):
                onError(EngineError("input", _("The input volume was removed during the preview.")))
                return
            if not wanted():
                onCancelled()
                return
            nonlocal seconds
            seconds += reply["seconds"]
            known.append(np.moveaxis(np.asarray(reply["array"], np.float32), 0, axis))
            if len(known) == 2:
                self._show(node, region, *known)
                onDone({**reply, "seconds": seconds})
            elif self.logic.jobs.waiting is not None:  # another slice was requested meanwhile
                onCancelled()
            else:
                ask(1.0)

        ask(0.0 if organs else 1.0)

    def set_strength(self, strength: float) -> None:
        """Set the strength, 0 … 1, and blend again without running the network."""
        self.strength = strength
        if self.shown is not None:
            self._blend()

    def clear(self) -> None:
        """Remove the preview and restore every view's previous foreground."""
        shown, self.shown = self.shown, None
        if shown is None:
            return
        shown.window.stop()
        for composite, foreground, opacity in shown.layers:
            if slicer.mrmlScene.IsNodePresent(composite) and composite.GetForegroundVolumeID() == shown.node.GetID():
                composite.SetForegroundVolumeID(foreground)
                composite.SetForegroundOpacity(opacity)
        slice_views.remove(shown.node)

    def _show(self, source: Any, region: regions.Region, none: np.ndarray, all_: np.ndarray) -> None:
        self.clear()
        node = slice_views.hidden_volume(_("{name} preview").format(name=source.GetName()), source)
        matrix = regions.from_slice(region.start, region.axis, volumes.ijk_to_ras(source))
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
        if source.GetDisplayNode() is not None:
            volumes.copy_look(source.GetDisplayNode(), node.GetDisplayNode())
        outputs = slice_views.outputs_of(source)
        views = slice_views.showing(*outputs) or slice_views.showing(source)
        covered = [slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID()) for _view, composite in views]
        self.shown = Shown(source, region.start, none, all_, node, [], SameWindow(node, source, *covered))
        self._blend()
        for _view, composite in views:
            self.shown.layers.append((composite, composite.GetForegroundVolumeID(), composite.GetForegroundOpacity()))
            composite.SetForegroundVolumeID(node.GetID())
            composite.SetForegroundOpacity(1.0)

    def _blend(self) -> None:
        shown = self.shown
        assert shown is not None
        values = shown.none + np.float32(self.strength) * (shown.all - shown.none)
        dtype = slicer.util.arrayFromVolume(shown.source).dtype
        slicer.util.updateVolumeFromArray(shown.node, regions.cast(values, dtype))
