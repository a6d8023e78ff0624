"""The page "Numbers": regions of interest, noise and reference metrics as a table to copy or save."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _

from bioatt.core.errors import InputError
from bioatt.core.noise import noise_map

from ...inspection import numbers
from ...scene import colour, regions, volumes
from ...signals import connect
from .section import Section


class NumbersSection(Section):
    """See the module's docstring."""

    uiFile = "BioAttDenoiseNumbers.ui"
    place = "numbersPage"

    def setup(self) -> None:
        self.lines: list[numbers.Number] = []
        self._measured: Any = ()
        ui = self.ui
        ui.numbersTable.setHorizontalHeaderLabels([_("Quantity"), _("Input"), _("Output"), ""])
        header = ui.numbersTable.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(0, qt.QHeaderView.Stretch)
        ui.numbersTable.verticalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)  # long names wrap
        connect(ui.measureButton, "clicked(bool)", lambda checked: self.onMeasure())
        connect(ui.noiseMapsButton, "clicked(bool)", lambda checked: self.onNoiseMaps())
        connect(ui.errorMapButton, "clicked(bool)", lambda checked: self.onErrorMap())
        connect(ui.copyButton, "clicked(bool)", lambda checked: self.onCopy())
        connect(ui.saveButton, "clicked(bool)", lambda checked: self.onSave())
        for selector in (ui.firstRoiSelector, ui.secondRoiSelector, ui.referenceSelector):
            connect(selector, "currentNodeChanged(vtkMRMLNode*)", lambda node: self.update())
        self.update()

    def nodes(self) -> list[Any]:
        """Input and output, if present."""
        parameters = self.panel.parameters
        if parameters is None:
            return []
        return [
            node
            for node in (parameters.inputVolume, parameters.outputVolume)
            if node is not None and node.GetImageData()
        ]

    def update(self) -> None:
        there = bool(self.nodes())
        if self._measured != volumes.voxels_of(*self.nodes()):
            self.lines, self._measured = [], ()
            self.ui.numbersTable.setRowCount(0)
        self.ui.measureButton.enabled = self.ui.noiseMapsButton.enabled = there
        self.ui.errorMapButton.enabled = len(self.nodes()) == 2 and self.ui.referenceSelector.currentNode() is not None
        self.ui.copyButton.enabled = self.ui.saveButton.enabled = bool(self.lines)

    def onMeasure(self) -> None:
        """Fill the table."""
        self.panel.showStatus("")
        ui, nodes = self.ui, self.nodes()
        first, second = ui.firstRoiSelector.currentNode(), ui.secondRoiSelector.currentNode()
        reference = ui.referenceSelector.currentNode()
        try:
            lines = numbers.roi_numbers(nodes, first, second) if first is not None else []
            lines += numbers.noise_numbers(nodes)
            if reference is not None:
                lines += numbers.reference_numbers(nodes, reference)
        except (ValueError, InputError) as error:
            self.panel.showStatus(f"⚠ {error}")
            return
        self.lines, self._measured = lines, volumes.voxels_of(*nodes)
        self._fill(nodes)
        self.update()

    def onCopy(self) -> None:
        slicer.app.clipboard().setText(numbers.as_csv(self.lines, "\t"))
        self.panel.showStatus(_("Copied."))

    def onSave(self) -> None:
        path = qt.QFileDialog.getSaveFileName(self.widget, _("Save numbers"), "numbers.csv", "CSV (*.csv)")
        path = path[0] if isinstance(path, tuple) else path
        if path:
            self.save(path)

    def save(self, path: str) -> None:
        """Write the table as CSV."""
        try:
            # with a byte order mark, as Excel reads plain UTF-8 as Latin-1
            Path(path).write_text(numbers.as_csv(self.lines), encoding="utf-8-sig")
        except OSError as error:
            self.panel.showStatus(_("⚠ Could not write the file: {text}").format(text=error.strerror))
            return
        self.panel.showStatus(_("Written."))

    def onNoiseMaps(self) -> None:
        """Local σ of input and output as volumes with the same color scale."""
        made = []
        for node in self.nodes():
            axis = regions.axial_axis(volumes.ijk_to_ras(node))
            voxels = np.moveaxis(noise_map(np.moveaxis(slicer.util.arrayFromVolume(node), axis, 0)), 0, axis)
            made.append(_map_volume(_("{name} noise σ").format(name=node.GetName()), node, voxels, colour.NOISE))
        highest = float(np.percentile(slicer.util.arrayFromVolume(made[0]), 98))
        for node in made:
            node.GetDisplayNode().SetWindowLevelMinMax(0, highest)
        self.panel.showStatus(_("Noise maps: {names}.").format(names=", ".join(node.GetName() for node in made)))

    def onErrorMap(self) -> None:
        """Output − reference as a volume."""
        from ...inspection.comparison import DIFFERENCE_RANGE_HU, difference
        from ...scene.slice_views import same_grid

        output, reference = self.nodes()[1], self.ui.referenceSelector.currentNode()
        if not same_grid(output, reference):
            self.panel.showStatus(
                _('⚠ The reference and "{name}" have different geometry.').format(name=output.GetName())
            )
            return
        voxels = difference(slicer.util.arrayFromVolume(reference), slicer.util.arrayFromVolume(output))
        node = _map_volume(_("{name} error").format(name=output.GetName()), output, voxels, colour.DIFFERENCE)
        node.GetDisplayNode().SetWindowLevel(2 * DIFFERENCE_RANGE_HU, 0)
        self.panel.showStatus(_("Error map: {name}.").format(name=node.GetName()))

    def _fill(self, nodes: list[Any]) -> None:
        table = self.ui.numbersTable
        quantities = list(dict.fromkeys((line.quantity, line.unit) for line in self.lines))
        values = {(line.volume, line.quantity): line.text for line in self.lines}
        table.setRowCount(len(quantities))
        for row, (quantity, unit) in enumerate(quantities):
            texts = [quantity, *(values.get((node.GetName(), quantity), "") for node in nodes)]
            for column, text in enumerate([*texts, *[""] * (3 - len(texts)), unit]):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(text)
                item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
                table.setItem(row, column, item)


def _map_volume(name: str, like: Any, voxels: np.ndarray, kind: str) -> Any:
    """A new volume with `like`'s geometry and one of the module's color tables."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.SetAttribute(f"{volumes.ATTRIBUTE}Map", kind)
    node.CopyOrientation(like)
    node.SetAndObserveTransformNodeID(like.GetTransformNodeID())
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(voxels))
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetAutoWindowLevel(False)
    node.GetDisplayNode().SetAndObserveColorNodeID(colour.table(kind).GetID())
    return node
