"""The button "Export to DICOM": writes the selected output as a DICOM series derived from its input series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..engine import requests
from ..engine.errors import EngineError
from ..engine.job import Kind
from ..scene import dicom, volumes
from ..signals import connect
from . import results


class DicomExport:
    """Owns the button. The engine writes the series; the original series is never modified."""

    def __init__(self, panel: Any) -> None:
        self.panel, self.button = panel, panel.ui.exportButton
        connect(self.button, "clicked(bool)", lambda checked: self.onExport())

    def update(self) -> None:
        output = self._output()
        self.button.visible = output is not None
        self.button.enabled = self.panel.idle and output is not None

    def onExport(self) -> None:
        """Ask for missing information, and write."""
        output = self._output()
        if output is None:
            return
        if output.GetAttribute(f"{volumes.ATTRIBUTE}Region") != volumes.WHOLE:
            text = _("Only part of this volume was denoised: denoise the whole volume to export a DICOM series.")
            self.panel.showStatus(f"⚠ {text}")
            return
        source = output.GetNodeReference(volumes.INPUT_ROLE)
        series = dicom.source_series(source)
        if series is None:
            folder = _folder(
                _("Folder with the DICOM series that {name} was loaded from").format(name=source.GetName())
            )
            series = (Path(folder), volumes.series_uid(source)) if folder else None
        if series is None:
            return
        place = _folder(_("Folder in which to create the folder of the derived series"))
        if place:
            self.write(output, *series, _free(Path(place) / volumes.file_name(output)))

    def write(self, output: Any, source: Path, series: str, folder: Path) -> None:
        """Write an output to a new folder, derived from a series in a folder (empty: the longest)."""
        panel = self.panel

        def again() -> None:
            self.write(output, source, series, folder)

        def done(reply: dict[str, Any]) -> None:
            images = results.images(reply["slices"])
            lines = [_("Written: {images} in {folder}.").format(images=images, folder=folder.name)]
            panel.showStatus("\n".join([*lines, *(f"⚠ {text}." for text in reply["warnings"])]))
            question = _("Add the derived series to Slicer's DICOM database?")
            if dicom.database() is not None and slicer.util.confirmYesNoDisplay(question, "BioAttDenoise"):
                added = dicom.take_in(folder)
                panel.showStatus(
                    lines[0] + " " + (_("Added to the database.") if added else _("It could not be added."))
                )

        def failed(error: Exception) -> None:
            panel.fail(error, again)

        def start() -> None:
            panel.progress.begin(_("Writing the DICOM series…"))
            try:
                panel.logic.submit(
                    Kind.FILES,
                    requests.export(output, source, series, folder),
                    on_result=done,
                    on_error=failed,
                    on_cancelled=lambda: panel.showStatus(_("Cancelled.")),
                )
            except EngineError as error:
                failed(error)

        panel.prepare(Kind.FILES, start, again, "maps")

    def _output(self) -> Any:
        """The selected output, if it is one and its input is in the scene."""
        output = self.panel.parameters.outputVolume if self.panel.parameters is not None else None
        made = output is not None and output.GetAttribute(f"{volumes.ATTRIBUTE}Model")
        return output if made and output.GetNodeReference(volumes.INPUT_ROLE) is not None else None


def _folder(title: str) -> str:
    return str(qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), title) or "")


def _free(folder: Path) -> Path:
    """The folder, with a number appended if it exists."""
    number, found = 1, folder
    while found.exists():
        number += 1
        found = folder.with_name(f"{folder.name} {number}")
    return found
