"""The page "Attention": organs in the current slice, their maps, charts, and the prior set by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _

from bioatt.core.errors import InputError

from ...engine.errors import EngineError
from ...engine.job import Kind
from ...engine.options import options_of
from ...inspection.attention_maps import UNIFIED
from ...inspection.inspection import inspection_of
from ...scene import layouts, regions, slice_views, volumes
from ...scene.parameters import MapOrgans, MapStages, MapView, Stage
from ...signals import connect
from .prior_by_hand import PriorByHand
from .section import Section

STAGES = tuple(stage.value for stage in Stage)  # in the order of the combo boxes
VIEWS = tuple(view.value for view in MapView)
MOST_PROBABLE = 5
BAR = 12
"""Number of characters of a bar of probability 1."""


class AttentionSection(Section):
    """See the module's docstring."""

    uiFile = "BioAttDenoiseAttention.ui"
    place = "attentionPage"

    def setup(self) -> None:
        self.inspection = inspection_of(self.panel)
        self.index = -1
        self._binding = False
        self._input: Any = None
        self._names: list[str] = []
        ui = self.ui
        ui.organTable.setHorizontalHeaderLabels([_("Structure"), _("Probability")])
        ui.organTable.horizontalHeader().setStretchLastSection(True)
        connect(ui.organTable, "cellDoubleClicked(int,int)", self.onOrgan)
        connect(ui.computeMapsButton, "clicked(bool)", lambda checked: self.onCompute())
        connect(ui.showOverlayCheckBox, "toggled(bool)", lambda checked: self.onShow())
        for box in (ui.stageComboBox, ui.mapViewComboBox):
            connect(box, "currentIndexChanged(int)", lambda index: self.onShow())
        connect(ui.mapComboBox, "activated(int)", lambda index: self.onMap())
        connect(ui.opacitySlider, "valueChanged(double)", lambda value: self.inspection.overlay.setOpacity(value / 100))
        connect(ui.thresholdSlider, "valueChanged(double)", self.inspection.overlay.setThreshold)
        connect(ui.legendCheckBox, "toggled(bool)", self.inspection.overlay.setLegend)
        connect(ui.keepMapButton, "clicked(bool)", lambda checked: self.onKeep())
        connect(ui.chartsCheckBox, "toggled(bool)", self.onCharts)
        ui.overrideScrollArea.visible = False
        connect(ui.overrideGroupBox, "toggled(bool)", lambda checked: ui.overrideScrollArea.setVisible(checked))
        self.byHand = PriorByHand(ui.overrideGroupBox, ui.overrideWidget, self.panel.live)
        self.inspection.chart.onOrgan = self.showOrgan
        self.scrolling = slice_views.Scrolling(self.scrolled)
        self.update()

    @property
    def computing(self) -> bool:
        """Whether maps are being computed, or waiting."""
        return self.panel.logic.jobs.find(Kind.MAPS) is not None

    # --- what is shown

    def update(self) -> None:
        parameters = self.panel.parameters
        node = parameters.inputVolume if parameters is not None else None
        overlay = self.inspection.overlay
        if node is not self._input:
            self._input = node
            self.byHand.reset()
        if overlay.source is not None and overlay.source is not node:
            overlay.setMaps(node, None)
        self._follow(node)
        maps = overlay.maps
        ui = self.ui
        possible = self.computing or self.panel.idle
        ui.computeMapsButton.enabled = node is not None and possible and not self.panel.readiness.installing
        ui.computeMapsButton.text = _("Cancel") if self.computing else _("Compute maps")
        for widget in (ui.showOverlayCheckBox, ui.stageComboBox, ui.mapComboBox, ui.mapViewComboBox, ui.keepMapButton):
            widget.enabled = maps is not None
        ui.chartsCheckBox.enabled = self.inspection.prior() is not None
        ui.overrideGroupBox.enabled = self.inspection.prior() is not None
        ui.mapSizeLabel.text = self._size(node)
        self.scrolling.refresh()
        self.index = -1
        self.scrolled()

    def _follow(self, node: Any) -> None:
        """For another input, load its own prior, saved with its newest output that has one."""
        chart = self.inspection.chart
        if chart.prior is not None and chart.source is not node:
            chart.clear()
        if chart.prior is not None or node is None:
            return
        chosen = self.panel.parameters.outputVolume
        outputs = slice_views.outputs_of(node)
        outputs = [*([chosen] if chosen in outputs else []), *reversed(outputs)]
        next((output for output in outputs if chart.restore(output)), None)

    def scrolled(self) -> None:
        """The current slice may have changed: list its organs."""
        node = self._node()
        if node is None or node.GetImageData() is None:
            self._list([])
            return
        index = slice_views.current_slice(node)
        if index == self.index:
            return
        self.index = index
        self.inspection.chart.update(index)
        prior = self.inspection.prior()
        self._list(prior.rows(index) if prior is not None else [])
        self.byHand.show(prior, index)

    def resultArrived(self, result: Any) -> None:
        self.inspection.resultArrived(result)
        self._offer_maps()
        if result.attention:
            self._announce()
        self.update()
        if self.ui.chartsCheckBox.checked:
            self.inspection.chart.show()

    def cleanup(self) -> None:
        self.scrolling.stop()
        self.inspection.clear()

    def connectParameters(self, parameters: Any) -> None:
        self._binding = True  # refilling the combo boxes passes through other entries
        super().connectParameters(parameters)
        self._binding = False
        if parameters is None:  # the scene is closing
            self.inspection.clear()
            self.byHand.reset()
            self.ui.showOverlayCheckBox.checked = False
        elif self.inspection.overlay.shown is not None:
            self.onShow()

    def denoiseOptions(self) -> dict[str, Any]:
        """Request maps in the same run as the denoising, if enabled."""
        return {"attention": self._request()} if self.ui.withDenoisingCheckBox.checked else {}

    # --- the overlay

    def onCompute(self) -> None:
        """Start, or cancel."""
        logic = self.panel.logic
        if self.computing:
            logic.jobs.cancel(Kind.MAPS)
            return
        logic.jobs.make_room(Kind.MAPS)
        self.panel.showStatus(_("Computing attention maps…"))
        index = slice_views.current_slice(self._node()) if self.ui.mapSlicesComboBox.currentIndex == 0 else None
        logic.ensure(
            Kind.MAPS,
            self.panel.parameters.prior,
            lambda: self._compute(self._request(), index, self._computed),
            self._failed,
            self._cancelled,
        )

    def _compute(self, request: dict[str, Any], index: int | None, computed: Callable[[Any], None]) -> None:
        try:
            self.inspection.computeMaps(
                self._node(),
                options_of(self.panel.parameters),
                request,
                index,
                computed,
                self._failed,
                self._cancelled,
                self._progress,
            )
        except (ValueError, EngineError) as error:
            self._failed(error)

    def _announce(self) -> None:
        for section in self.panel.sections:
            section.mapsArrived()

    def _progress(self, progress: dict[str, Any]) -> None:
        self.panel.showStatus(_("Attention maps: slice {done} of {slices}").format(**progress))

    def _computed(self, maps: Any) -> None:
        self._offer_maps()
        self._announce()
        self.panel.showStatus(_("Attention maps are ready: double-click a structure or select a map."))
        self.ui.showOverlayCheckBox.checked = True
        self.onShow()

    def _failed(self, error: Exception) -> None:
        self.panel.fail(error, self.onCompute)

    def _cancelled(self) -> None:
        self.panel.showStatus(_("Cancelled."))

    def _offer_maps(self) -> None:
        """The available maps: A' first, then the organs by probability."""
        maps = self.inspection.overlay.maps
        names = maps.names(maps.stages[0]) if maps is not None and maps.stages else ()
        prior = maps.prior if maps is not None else None
        strength = dict(zip(prior.descriptors, prior.p.mean(axis=0).tolist(), strict=True)) if prior is not None else {}
        self._names = sorted(names, key=lambda name: -strength.get(name, 2.0))
        box = self.ui.mapComboBox
        box.blockSignals(True)
        box.clear()
        for name in self._names:
            box.addItem(_("all together (A')") if name == UNIFIED else name)
        chosen = self.panel.parameters.mapName if self.panel.parameters is not None else UNIFIED
        if chosen in self._names:
            box.currentIndex = self._names.index(chosen)
        box.blockSignals(False)

    def onOrgan(self, row: int, column: int) -> None:
        """Double click in the list: show this structure's map."""
        self.showOrgan(self.ui.organTable.item(row, 0).text())

    def want(self, name: str, view: str) -> None:
        """Show a structure's map as `view` (raw, contribution); if missing, compute it for the current slice."""
        self.ui.mapViewComboBox.currentIndex = VIEWS.index(view)
        if name in self._names:
            self.showOrgan(name)
            return
        if self.computing:
            return
        request = {"stages": [Stage.LAST.value], "descriptors": [name], "unified": True}
        logic, index = self.panel.logic, slice_views.current_slice(self._node())
        logic.jobs.make_room(Kind.MAPS)
        self.panel.showStatus(_("Computing attention maps…"))

        def computed(maps: Any) -> None:
            self._computed(maps)
            if name in self._names:
                self.showOrgan(name)

        logic.ensure(
            Kind.MAPS,
            self.panel.parameters.prior,
            lambda: self._compute(request, index, computed),
            self._failed,
            self._cancelled,
        )

    def showOrgan(self, name: str) -> None:
        """Overlay a structure's map on the slice views."""
        if name not in self._names:
            self.panel.showStatus(_('There is no map of "{name}" yet: press "Compute maps".').format(name=name))
            return
        self.ui.mapComboBox.currentIndex = self._names.index(name)
        self.onMap()

    def onMap(self) -> None:
        """A map was selected: store it with the scene, and show it."""
        self.panel.parameters.mapName = self._names[max(self.ui.mapComboBox.currentIndex, 0)]
        self.ui.showOverlayCheckBox.checked = True
        self.onShow()

    def onShow(self) -> None:
        """Show or remove the overlay of the selected map."""
        overlay = self.inspection.overlay
        if self._binding or (overlay.shows_organ_map and not self.ui.showOverlayCheckBox.checked):
            return
        if not self.ui.showOverlayCheckBox.checked or overlay.maps is None or not self._names:
            overlay.clear()
            return
        stage = STAGES[self.ui.stageComboBox.currentIndex]
        if stage not in overlay.maps.stages:
            self.ui.stageComboBox.currentIndex = STAGES.index(overlay.maps.stages[0])  # which calls this again
            return
        name = self._names[max(self.ui.mapComboBox.currentIndex, 0)]
        view = VIEWS[self.ui.mapViewComboBox.currentIndex]
        self.panel.live.clear()
        overlay.opacity, overlay.threshold = self.ui.opacitySlider.value / 100, self.ui.thresholdSlider.value
        overlay.legend = self.ui.legendCheckBox.checked
        try:
            shown = overlay.show(stage, name, view, self.inspection.composites(self._node()))
            if not slicer.util.arrayFromVolume(shown).any():
                text = _('The map of "{name}" is 0 everywhere: the network does not attend to it.')
                self.panel.showStatus(text.format(name=name))
        except InputError as error:
            self.panel.showStatus(f"⚠ {error}")

    def onKeep(self) -> None:
        if self.inspection.overlay.node is not None:
            kept = self.inspection.overlay.keep()
            self.panel.showStatus(_('Saved as volume "{name}".').format(name=kept.GetName()))

    def onCharts(self, checked: bool) -> None:
        """Show plot views next to the slice views."""
        comparison, node = self.inspection.comparison, self._node()
        try:
            if checked:
                kind = comparison.layouts.kind or layouts.SINGLE
                output = self.panel.parameters.outputVolume
                comparison.start(node, output if slice_views.same_grid(output, node) else node, kind, charts=True)
                self.inspection.chart.show()
            elif comparison.layouts.kind == layouts.SINGLE and not comparison.reveal.active:
                comparison.leave()
            elif comparison.active:
                comparison.start(comparison.before, comparison.after, comparison.layouts.kind or layouts.SINGLE)
        except (ValueError, RuntimeError) as error:
            self.panel.showStatus(f"⚠ {error}")
        self.update()  # follow the views of the new layout
        self.onShow()

    # --- small things

    def _node(self) -> Any:
        return self.panel.parameters.inputVolume if self.panel.parameters is not None else None

    def _request(self) -> dict[str, Any]:
        kept = tuple(MapStages)[self.ui.mapStagesComboBox.currentIndex]
        stages = list(STAGES) if kept is MapStages.BOTH else [kept.value]
        organs = tuple(MapOrgans)[self.ui.organsComboBox.currentIndex]
        prior = self.inspection.prior()
        descriptors: list[str] | None = None if organs is MapOrgans.ALL else []
        if organs is MapOrgans.PROBABLE:
            descriptors = None
            if prior is not None:
                strongest = np.argsort(-prior.p.max(axis=0))[:MOST_PROBABLE]
                descriptors = [prior.descriptors[n] for n in sorted(strongest)]
        return {"stages": stages, "descriptors": descriptors, "unified": True}

    def _size(self, node: Any) -> str:
        if node is None or node.GetImageData() is None:
            return ""
        array = slicer.util.arrayFromVolume(node)
        one = array.size / (
            array.shape[regions.axial_axis(volumes.ijk_to_ras(node))]
            if self.ui.mapSlicesComboBox.currentIndex == 0
            else 1
        )
        request = self._request()
        organs = 17 if request["descriptors"] is None else len(request["descriptors"])
        megabytes = one * len(request["stages"]) * (organs + 1) / 1e6
        return _("Takes about {size:.0f} MB of memory.").format(size=max(megabytes, 1))

    def _list(self, rows: list[tuple[str, float]]) -> None:
        table = self.ui.organTable
        table.setRowCount(len(rows))
        for row, (name, p) in enumerate(rows):
            for column, text in enumerate((name, f"{100 * p:3.0f} %  {'█' * round(BAR * p)}")):
                item = qt.QTableWidgetItem(text)
                item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
                table.setItem(row, column, item)
