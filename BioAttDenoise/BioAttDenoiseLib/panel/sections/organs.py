"""The page "Organs": a table of measurements by organ, outlines and maps, and strength by organ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from bioatt.anatomy.descriptors import ANATOMY_SET, load_descriptor_set

from ...engine import requests
from ...engine.errors import EngineError
from ...engine.job import Kind
from ...inspection.inspection import inspection_of
from ...scene import segmentations, slice_views, volumes
from ...scene.parameters import OrganSource, OrganView
from ...signals import connect
from .attention import AttentionSection
from .organs_table import OrgansTable
from .section import Section

MUSCLE = "muscle"


class OrgansSection(Section):
    """See the module's docstring."""

    uiFile = "BioAttDenoiseOrgans.ui"
    place = "organsPage"

    def setup(self) -> None:
        self.inspection = inspection_of(self.panel)
        self.organs = self.inspection.organs
        ui = self.ui
        self.table = OrgansTable(ui.organsTable, self.onOrgan, self.onStrength)
        self._references = [MUSCLE, *load_descriptor_set(ANATOMY_SET).descriptors]
        for name in self._references:
            ui.cnrComboBox.addItem(name)
        ui.labelsLineEdit.filters = ctk.ctkPathLineEdit.Files
        connect(ui.labelsLineEdit, "currentPathChanged(QString)", self.onFile)
        connect(ui.cnrComboBox, "activated(int)", self.onReference)
        connect(ui.measureOrgansButton, "clicked(bool)", lambda checked: self.onMeasure())
        connect(ui.denoiseAndMeasureButton, "clicked(bool)", lambda checked: self.panel.denoise(then=self.measure))
        connect(ui.organViewComboBox, "currentIndexChanged(int)", lambda index: self.onView())
        connect(ui.outlinesCheckBox, "toggled(bool)", lambda checked: self._outline())
        connect(ui.surfacesCheckBox, "clicked(bool)", self.onSurfaces)
        connect(ui.saveOrgansButton, "clicked(bool)", lambda checked: self.onSave())
        connect(ui.keepOrgansButton, "clicked(bool)", lambda checked: self.onKeep())
        connect(ui.removeOrgansButton, "clicked(bool)", lambda checked: self.remove())
        self.update()

    @property
    def computing(self) -> bool:
        """Whether organs are being measured, or waiting."""
        return self.panel.logic.jobs.find(Kind.ORGANS) is not None

    # --- what is shown

    def update(self) -> None:
        parameters, ui = self.panel.parameters, self.ui
        node = parameters.inputVolume if parameters is not None else None
        if self.organs.source is not None and self.organs.source is not node:
            self.remove()
        source = parameters.organSource if parameters is not None else OrganSource.MAPS
        ui.labelsLineEdit.visible = source is OrganSource.FILE
        ui.segmentationSelector.visible = source is OrganSource.SEGMENTATION
        idle = self.panel.idle and not self.panel.readiness.installing
        possible = node is not None and not volumes.problem(node) and (idle or self.computing)
        ui.measureOrgansButton.enabled = possible
        ui.measureOrgansButton.text = _("Cancel") if self.computing else _("Measure organs")
        ui.denoiseAndMeasureButton.visible = self._after() is None
        ui.denoiseAndMeasureButton.enabled = possible and not self.computing
        there = self.organs.node is not None
        for widget in (ui.organViewComboBox, ui.outlinesCheckBox, ui.surfacesCheckBox, ui.saveOrgansButton):
            widget.enabled = there
        ui.keepOrgansButton.enabled = there and not self.organs.kept
        ui.removeOrgansButton.enabled = there

    def connectParameters(self, parameters: Any) -> None:
        super().connectParameters(parameters)
        if parameters is None:
            self.remove()
            return
        self.ui.labelsLineEdit.currentPath = parameters.organFile
        if parameters.organReference in self._references:
            self.ui.cnrComboBox.currentIndex = self._references.index(parameters.organReference)
        self.table.setStrengths(parameters.organStrengths)

    def cleanup(self) -> None:
        self.organs.clear()

    def denoiseOptions(self) -> dict[str, Any]:
        """Strengths by organ, if any are set."""
        strengths = self.table.strengths()
        if not strengths:
            return {}
        return {"organStrength": strengths, "anatomy": self._anatomy()}

    def strengthKey(self) -> tuple[Any, ...]:
        """The settings that strength by organ depends on; empty if none is set."""
        parameters, strengths = self.panel.parameters, self.table.strengths()
        source = parameters.organSource, parameters.organFile, parameters.organSegmentation
        return (*strengths.items(), *source) if strengths else ()

    # --- measuring

    def onMeasure(self) -> None:
        """Start, or cancel."""
        if self.computing:
            self.panel.logic.jobs.cancel(Kind.ORGANS)
        else:
            self.measure()

    def measure(self) -> None:
        """Fill the table."""

        def take(node: Any, reply: dict[str, Any]) -> None:
            self.organs.take(node, reply)
            self.table.fill(self.organs.table, reply["segments"])
            warnings = reply["table"]["warnings"]
            self.ui.organWarningsLabel.text = "\n".join(f"⚠ {text[:1].upper() + text[1:]}." for text in warnings)
            self.ui.organWarningsLabel.visible = bool(warnings)
            self.ui.surfacesCheckBox.checked = False
            self._outline()
            if self.organs.rows:
                self.panel.showStatus(_("Organs measured: select one to show it in the slice views."))
            else:
                self.panel.showStatus(_("No organ was found."))

        self._ask((), take, self.measure)

    def _ask(
        self, maps: tuple[str, ...], take: Callable[[Any, dict[str, Any]], None], again: Callable[[], None]
    ) -> None:
        """Have the engine find the organs, then call take(volume, reply)."""
        node, logic, parameters = self._node(), self.panel.logic, self.panel.parameters

        def failed(error: Exception) -> None:
            self.panel.fail(error, again)

        def cancelled() -> None:
            self.panel.showStatus(_("Cancelled."))

        def finish(reply: dict[str, Any]) -> None:
            if self._node() is not node or not slicer.mrmlScene.IsNodePresent(node):
                self.panel.showStatus(_("Another volume was selected meanwhile: measure again."))
                return
            take(node, reply)
            self.update()

        def ask() -> None:
            try:
                request = requests.organs(
                    node, self._after(), self._anatomy(), parameters.device.value, parameters.organReference, maps
                )
                logic.submit(Kind.ORGANS, request, on_result=finish, on_error=failed, on_cancelled=cancelled)
            except (ValueError, EngineError) as error:
                failed(error)

        try:
            logic.jobs.make_room(Kind.ORGANS)
            self._anatomy()  # report its problems before anything starts
        except (ValueError, EngineError) as error:
            failed(error)
            return
        self.panel.showStatus(_("Finding organs…"))
        logic.ensure(Kind.ORGANS, "maps", ask, failed, cancelled)

    def _node(self) -> Any:
        return self.panel.parameters.inputVolume if self.panel.parameters is not None else None

    def _after(self) -> Any:
        """The selected output, if it was made from the input."""
        output = self.panel.parameters.outputVolume if self.panel.parameters is not None else None
        return output if slice_views.same_grid(self._node(), output) else None

    def _anatomy(self) -> requests.Anatomy:
        """The source of the organs. Raises ValueError if nothing is selected, or the segmentation names no organ."""
        parameters = self.panel.parameters
        if parameters.organSource is OrganSource.FILE:
            if not parameters.organFile:
                raise ValueError(_("Choose the label file with the organs."))
            return f"segmentation:{parameters.organFile}"
        if parameters.organSource is OrganSource.SEGMENTATION:
            if parameters.organSegmentation is None:
                raise ValueError(_("Choose the segmentation with the organs."))
            return segmentations.labels_of(parameters.organSegmentation, parameters.inputVolume)
        return "maps"

    # --- settings

    def onFile(self, path: str) -> None:
        if self.panel.parameters is not None:
            self.panel.parameters.organFile = path

    def onReference(self, index: int) -> None:
        """The reference organ of the contrast changed: refill the table if there is one."""
        if self.panel.parameters is None:
            return
        self.panel.parameters.organReference = self._references[index]
        if self.organs.rows and not self.computing:
            self.measure()

    def onStrength(self, text: str) -> None:
        """Strengths by organ were set (JSON)."""
        if self.panel.parameters is not None:
            self.panel.parameters.organStrengths = text

    # --- the views

    def onOrgan(self, name: str) -> None:
        """A row was selected: jump to the organ, and show the selected overlay."""
        place = self.organs.centre(name)
        for view in slice_views.on_screen() if place is not None else ():
            view.JumpSliceByOffsetting(*place)
        self._outline()
        self.onView()

    def onView(self) -> None:
        """Overlay the organ map, the attention or the contribution of the selected organ on the slice views."""
        name, node, overlay = self.table.selected(), self._node(), self.inspection.overlay
        if not name or self.organs.node is None or self.panel.parameters is None:
            return
        view = tuple(OrganView)[self.ui.organViewComboBox.currentIndex]
        self.panel.parameters.organView = view  # before other parameters change, which would reset the box
        attention = next(section for section in self.panel.sections if isinstance(section, AttentionSection))
        attention.ui.showOverlayCheckBox.checked = False
        if view in (OrganView.ATTENTION, OrganView.CONTRIBUTION):
            attention.want(name, view.value)
            return
        overlay.clear()
        if view is OrganView.OUTLINES:
            return
        p = self.organs.map(name)
        if p is None:
            self._ask((name,), self._takeMap, self.onView)
            return
        self.panel.live.clear()
        overlay.showOrganMap(node, name, p, self.inspection.composites(node))

    def _takeMap(self, node: Any, reply: dict[str, Any]) -> None:
        self.organs.takeMaps(reply)
        self.panel.showStatus("")
        if self.organs.map(self.table.selected()) is not None:
            self.onView()

    def onSurfaces(self, checked: bool) -> None:
        if self.organs.node is not None:
            segmentations.show_surfaces(self.organs.node, checked)

    def _outline(self) -> None:
        if self.organs.node is not None:
            segmentations.show_outlines(self.organs.node, self.ui.outlinesCheckBox.checked, self.table.selected())

    # --- keeping and removing

    def onSave(self) -> None:
        path = qt.QFileDialog.getSaveFileName(self.widget, _("Save organs"), "organs.csv", "CSV (*.csv)")
        path = path[0] if isinstance(path, tuple) else path
        if path:
            self.save(path)

    def save(self, path: str) -> None:
        """Write the table as CSV."""
        try:
            self.organs.save(path)
        except OSError as error:
            self.panel.showStatus(_("⚠ Could not write the file: {text}").format(text=error.strerror))
            return
        self.panel.showStatus(_("Written."))

    def onKeep(self) -> None:
        kept = self.organs.keep()
        self.panel.showStatus(_('Kept as segmentation "{name}".').format(name=kept.GetName()))
        self.update()

    def remove(self) -> None:
        """Remove the table, the segmentation (unless kept) and the organ map."""
        if self.inspection.overlay.shows_organ_map:
            self.inspection.overlay.clear()
        self.organs.clear()
        self.table.clear()
        self.ui.organWarningsLabel.visible = False
        self.ui.surfacesCheckBox.checked = False
        self.update()
