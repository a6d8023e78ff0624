"""The page "Batch": every CT volume of the scene, a sequence, or a folder like `bioatt batch`, with progress in the
panel.
"""

from __future__ import annotations

from typing import Any

import ctk
import qt
from slicer.i18n import tr as _

from ...batch import Outcome, finished, report
from ...engine.errors import EngineError
from ...engine.job import Kind
from ...engine.options import options_of
from ...scene import volumes
from ...signals import connect
from .. import results
from .organs import OrgansSection
from .section import Section


class BatchSection(Section):
    """See the module's docstring. Model, strength and device come from the panel, and for volumes in the scene the
    source of anatomy too; a folder's rules file takes precedence. Whole volumes are denoised.
    """

    uiFile = "BioAttDenoiseBatch.ui"
    place = "batchPage"

    def setup(self) -> None:
        ui = self.ui
        ui.rulesLineEdit.filters = ctk.ctkPathLineEdit.Files
        ui.rulesLineEdit.nameFilters = ["TOML (*.toml)"]
        for line in (ui.inputFolderLineEdit, ui.outputFolderLineEdit):
            line.filters = ctk.ctkPathLineEdit.Dirs
            connect(line, "currentPathChanged(QString)", lambda path: self.update())
            connect(
                line, "validInputChanged(bool)", lambda valid: self.update()
            )  # the only signal of a cleared line edit
        connect(ui.allVolumesButton, "clicked(bool)", lambda checked: self.onAllVolumes())
        connect(ui.sequenceButton, "clicked(bool)", lambda checked: self.onSequence())
        connect(ui.sequenceSelector, "currentNodeChanged(vtkMRMLNode*)", lambda node: self.update())
        connect(ui.folderButton, "clicked(bool)", lambda checked: self.onFolder())
        self.update()

    def update(self) -> None:
        idle = self.panel.parameters is not None and self.panel.idle
        ui = self.ui
        ui.allVolumesButton.enabled = idle
        ui.sequenceButton.enabled = idle and ui.sequenceSelector.currentNode() is not None
        ui.sequenceSelector.enabled = idle
        lines = (ui.inputFolderLineEdit, ui.outputFolderLineEdit)
        ui.folderButton.enabled = idle and all(line.currentPath for line in lines)
        for line in (*lines, ui.rulesLineEdit):
            line.enabled = idle

    def onAllVolumes(self) -> None:
        if not volumes.ct_volumes():
            self.panel.showStatus(_("There is no CT volume to denoise: load one first."))
            return
        self.panel.runBatch(self.panel.logic.denoiseAllAsync, self._volumesDone, Kind.DENOISE)

    def onSequence(self) -> None:
        sequence, logic = self.ui.sequenceSelector.currentNode(), self.panel.logic
        self.panel.runBatch(
            lambda **more: logic.denoiseSequenceAsync(sequence, **more), self._sequenceDone, Kind.DENOISE
        )

    def onFolder(self) -> None:
        ui = self.ui
        folders = ui.inputFolderLineEdit.currentPath, ui.outputFolderLineEdit.currentPath
        if not all(folders):  # Python turns an empty path into the current folder
            self.panel.showStatus(_("Choose the input and output folders."))
            return
        self.panel.prepare(
            Kind.FILES, lambda: self._denoiseFolder(*folders, ui.rulesLineEdit.currentPath), self.onFolder, "embedded"
        )

    def _denoiseFolder(self, source: str, target: str, rules: str) -> None:
        panel = self.panel
        panel.progress.begin(_("Looking for scans…"))
        options = options_of(panel.parameters)
        try:
            panel.logic.denoiseFolderAsync(
                source,
                target,
                rules,
                model=options.model,
                strength=options.strength,
                device=options.device,
                organStrength=panel.section(OrgansSection).table.strengths(),
                onDone=self._folderDone,
                onError=self._folderFailed,
                onCancelled=lambda: panel.showStatus(_("Cancelled. Finished scans are kept; start again to resume.")),
                onProgress=panel.progress.show,
            )
        except EngineError as error:
            self._folderFailed(error)

    def _folderDone(self, reply: dict[str, Any]) -> None:
        counts = ", ".join(f"{count} {results.status(name)}" for name, count in reply["report"]["counts"].items())
        self.panel.showStatus(_("Scans: {counts}. Report: {page}").format(counts=counts, page=reply["page"]))
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(reply["page"]))

    def _folderFailed(self, error: Exception) -> None:
        self.panel.fail(error, self.onFolder)

    def _volumesDone(self, outcomes: list[Outcome]) -> str:
        done = finished(outcomes)
        self._select([outcome.result for outcome in outcomes if outcome.error is None])
        names = ", ".join(outcome.result.GetName() for outcome in done)
        text = _("Done, {volumes}: {names}.") if done else _("Done, no volumes.")
        return report(outcomes, text.format(volumes=results.volumes(len(done)), names=names))

    def _sequenceDone(self, outcomes: list[Outcome]) -> str:
        done = finished(outcomes)
        text = _("Done, {volumes}: {names}.") if done else _("Done, no volumes.")
        name = done[0].result.GetName() if done else ""
        return report(outcomes, text.format(volumes=results.volumes(len(done)), names=name))

    def _select(self, outputs: list[Any]) -> None:
        """Select an output, preferably of the selected input, and show it in place of its input."""
        made_from = {output.GetNodeReference(volumes.INPUT_ROLE): output for output in reversed(outputs)}
        parameters = self.panel.parameters
        if parameters is None or not made_from:
            return
        source = parameters.inputVolume if parameters.inputVolume in made_from else next(reversed(made_from))
        parameters.inputVolume = source
        parameters.outputVolume = made_from[source]
        volumes.show_instead(source, made_from[source])
