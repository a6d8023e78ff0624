"""An attention map over the slice views: color, opacity, threshold, legend. Removing it restores the views."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from ..scene import colour, legends, slice_views
from .attention_maps import CONTRAST, CONTRIBUTION, RAW, UNIFIED, AttentionMaps

MAP_ATTRIBUTE = "BioAttDenoise.AttentionMap"
ORGAN_MAP, PROBABILITY = "organ map", "p"
"""Stage and view that denote an organ's probability instead of an attention map."""


class Overlay:
    """Shows one map at a time in one hidden volume node; the other maps stay small in memory (uint8)."""

    def __init__(self) -> None:
        self.source: Any = None
        self.maps: AttentionMaps | None = None
        self.shown: tuple[str, str, str] | None = None
        self.node: Any = None
        self.opacity, self.threshold, self.legend = 0.5, 0.0, True
        self._former: list[tuple[Any, str | None, float]] = []

    @property
    def shows_organ_map(self) -> bool:
        """Whether an organ's probability is shown instead of an attention map."""
        return self.shown is not None and self.shown[0] == ORGAN_MAP

    def setMaps(self, source: Any, maps: AttentionMaps | None) -> None:
        """Replace the maps and hide the one shown."""
        self.clear()
        self.source, self.maps = source, maps

    def show(self, stage: str, name: str, view: str, composites: list[Any]) -> Any:
        """Show a map in the views of these composite nodes; returns its volume. Raises ValueError if no maps were
        computed, and the errors of `AttentionMaps.voxels`.
        """
        if self.maps is None:
            raise ValueError(_('There are no attention maps yet: press "Compute maps".'))
        self._lay(self.maps.voxels(stage, name, view), (stage, name, view), composites)
        return self.node

    def showOrganMap(self, source: Any, name: str, p: np.ndarray, composites: list[Any]) -> Any:
        """Show an organ's probability p (k, j, i), 0 … 1, of a volume in the views of these composite nodes; returns
        its volume.
        """
        if self.source is not source:
            self.setMaps(source, None)
        self._lay(p, (ORGAN_MAP, name, PROBABILITY), composites)
        return self.node

    def _lay(self, voxels: np.ndarray, shown: tuple[str, str, str], composites: list[Any]) -> None:
        if self.node is None or not slicer.mrmlScene.IsNodePresent(self.node):
            self.node = slice_views.hidden_volume(_("{name} attention").format(name=self.source.GetName()), self.source)
        slicer.util.updateVolumeFromArray(self.node, voxels)
        self.node.SetName(title(self.source.GetName(), *shown))
        self.node.SetAttribute(MAP_ATTRIBUTE, "/".join(shown))
        self.shown = shown
        self._style(self.node.GetDisplayNode(), *shown[1:], float(voxels.max()))
        self._put_into(composites)
        self._show_legend()

    def setOpacity(self, opacity: float) -> None:
        """0 … 1."""
        self.opacity = opacity
        for composite, _foreground, _opacity in self._former:
            if self._is_ours(composite):
                composite.SetForegroundOpacity(opacity)

    def setThreshold(self, threshold: float) -> None:
        """Values below it are transparent, as are voxels outside the map (0)."""
        self.threshold = threshold
        if self.node is not None:
            self.node.GetDisplayNode().SetLowerThreshold(max(threshold, 1e-6))

    def setLegend(self, visible: bool) -> None:
        """Show or hide the color legend."""
        self.legend = visible
        self._show_legend()

    def keep(self) -> Any:
        """Copy the displayed map to a regular volume node of the scene."""
        assert self.shown is not None
        kept = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", self.node.GetName())
        kept.CopyOrientation(self.node)
        kept.SetAndObserveTransformNodeID(self.node.GetTransformNodeID())
        slicer.util.updateVolumeFromArray(kept, slicer.util.arrayFromVolume(self.node).copy())
        kept.CreateDefaultDisplayNodes()
        self._style(kept.GetDisplayNode(), *self.shown[1:], 1.0)
        kept.SetAttribute(MAP_ATTRIBUTE, self.node.GetAttribute(MAP_ATTRIBUTE))
        return kept

    def clear(self) -> None:
        """Restore every view's previous foreground and remove the map's node."""
        former, self._former = self._former, []
        for composite, foreground, opacity in former:
            if self._is_ours(composite):
                composite.SetForegroundVolumeID(foreground)
                composite.SetForegroundOpacity(opacity)
        node, self.node, self.shown = self.node, None, None
        legends.remove(node)
        slice_views.remove(node)

    def _is_ours(self, composite: Any) -> bool:
        present = self.node is not None and slicer.mrmlScene.IsNodePresent(composite)
        return present and composite.GetForegroundVolumeID() == self.node.GetID()

    def _put_into(self, composites: list[Any]) -> None:
        """Show in these views only; each view's previous foreground is remembered once."""
        kept = []
        for entry in self._former:
            composite, foreground, opacity = entry
            if composite in composites:
                kept.append(entry)
            elif self._is_ours(composite):
                composite.SetForegroundVolumeID(foreground)
                composite.SetForegroundOpacity(opacity)
        self._former = kept
        known = [entry[0] for entry in kept]
        for composite in composites:
            if composite not in known:
                self._former.append((composite, composite.GetForegroundVolumeID(), composite.GetForegroundOpacity()))
            composite.SetForegroundVolumeID(self.node.GetID())
            composite.SetForegroundOpacity(self.opacity)

    def _style(self, display: Any, name: str, view: str, highest: float) -> None:
        # contributions are small: scale each to the full range, as the legend shows
        high = max(highest, 0.01) if view == CONTRIBUTION and name != UNIFIED else 1.0
        display.SetAutoWindowLevel(False)
        display.SetWindowLevelMinMax(0.0, high)
        display.SetAndObserveColorNodeID(colour.table(colour.ATTENTION).GetID())
        display.SetInterpolate(True)
        display.SetAutoThreshold(False)
        display.SetApplyThreshold(True)
        display.SetThreshold(max(self.threshold, 1e-6), 2.0)

    def _show_legend(self) -> None:
        if self.node is None or self.shown is None:
            return
        names = {entry[0].GetLayoutName() for entry in self._former}
        views = [view for view in slice_views.all_views() if view.GetLayoutName() in names]
        legends.show(self.node, views if self.legend else [], _label(*self.shown), "%.2f")


def title(volume: str, stage: str, name: str, view: str) -> str:
    """The node name of a map."""
    if stage == ORGAN_MAP:
        return _("{volume} organ map {name}").format(volume=volume, name=name)
    shown = name if view == RAW else f"{name} {view}"
    return _("{volume} attention {stage} {name}").format(volume=volume, stage=stage, name=shown)


def _label(stage: str, name: str, view: str) -> str:
    """Title of a color bar: organ map p, attention A, contribution p A (A' for all organs together)."""
    if stage == ORGAN_MAP:
        return f"{name}\n" + _("organ map p")
    kind = {CONTRAST: _("A - mean"), CONTRIBUTION: _("contribution p A")}.get(view, _("attention A"))
    if name == UNIFIED:
        kind = _("attention A'")
    return f"{name}\n{stage} {kind}"
