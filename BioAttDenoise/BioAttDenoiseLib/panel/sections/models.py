"""The page "Models": the models on this computer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from ...engine import catalogue, requests
from ...engine.errors import EngineError
from ...engine.job import Kind
from ...engine.settings import models_folder, set_models_folder
from ...signals import connect
from .section import Section

BIOMEDCLIP_SIZE = "790 MB"
BIOMEDCLIP_SOURCE = "huggingface.co/microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224"


class ModelsSection(Section):
    """See BioAttDenoiseModels.ui."""

    uiFile = "BioAttDenoiseModels.ui"
    place = "modelsPage"

    def setup(self) -> None:
        ui = self.ui
        ui.modelsFolderLineEdit.filters = ctk.ctkPathLineEdit.Dirs
        ui.modelsFolderLineEdit.currentPath = str(models_folder())
        connect(ui.modelsFolderLineEdit, "currentPathChanged(QString)", self.onModelsFolder)
        connect(ui.manageComboBox, "currentIndexChanged(int)", lambda index: self.update())
        connect(ui.downloadButton, "clicked(bool)", lambda checked: self.onDownload())
        connect(ui.importButton, "clicked(bool)", lambda checked: self.onImport())
        connect(ui.removeButton, "clicked(bool)", lambda checked: self.onRemove())
        self.refresh()

    def refresh(self) -> None:
        """List BiomedCLIP and the imported models."""
        self._managed = [catalogue.BIOMEDCLIP, *(entry.value for entry in catalogue.models() if entry.imported)]
        self.ui.manageComboBox.blockSignals(True)
        self.ui.manageComboBox.clear()
        self.ui.manageComboBox.addItem("BiomedCLIP")
        for value in self._managed[1:]:
            self.ui.manageComboBox.addItem(Path(value).stem)
        self.ui.manageComboBox.blockSignals(False)
        self.update()

    def update(self) -> None:
        biomedclip = self._current() == catalogue.BIOMEDCLIP
        here = catalogue.biomedclip_present() if biomedclip else True
        idle = self.panel.idle and not self.panel.logic.jobs.busy
        self.ui.manageStateLabel.text = _("On this computer.") if here else _("Not on this computer.")
        self.ui.downloadButton.enabled = idle and biomedclip and not here
        self.ui.importButton.enabled = idle
        self.ui.removeButton.enabled = idle and here

    def onModelsFolder(self, path: str) -> None:
        """The models folder changed; the engine uses it from its next start."""
        folder = Path(path)
        if not folder.parent.is_dir() or folder == models_folder():
            return  # still being typed
        set_models_folder(folder)
        if not self.panel.logic.jobs.busy:
            self.panel.logic.shutdown()
        self.panel.refreshModels()

    def onDownload(self) -> None:
        text = _(
            "BiomedCLIP ({size}) will be downloaded from the Hugging Face hub ({source}) to the models folder. Its "
            "license is MIT; its authors intend it for research. None of your data is sent.\n\nOffline: copy the "
            "folder from another computer and press Import.\n\nDownload it now?"
        ).format(size=BIOMEDCLIP_SIZE, source=BIOMEDCLIP_SOURCE)
        if slicer.util.confirmOkCancelDisplay(text, _("BioAttDenoise: download")):
            self._manage("download", _("Downloading BiomedCLIP…"), prior=catalogue.BIOMEDCLIP)

    def onImport(self) -> None:
        """Copy a model file; for BiomedCLIP the engine imports a folder."""
        if self._current() == catalogue.BIOMEDCLIP and slicer.util.confirmYesNoDisplay(
            _("Import BiomedCLIP from a folder? Choose No to import a model file."), _("BioAttDenoise: import")
        ):
            folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("BiomedCLIP folder"))
            if folder:
                self._manage("import", _("Importing BiomedCLIP…"), folder=str(folder))
            return
        path = qt.QFileDialog.getOpenFileName(
            slicer.util.mainWindow(), _("Model file"), "", _("BioAtt model (*.safetensors)")
        )
        path = path[0] if isinstance(path, tuple) else path  # Qt gives a text in PythonQt
        if path:
            self.importModel(Path(path))

    def importModel(self, path: Path) -> None:
        """Copy a model file to the models folder and select it."""
        try:
            imported = catalogue.import_model(path)
        except (OSError, ValueError) as error:
            self.panel.showStatus(f"⚠ {error}")
            return
        self.panel.refreshModels()
        if self.panel.parameters is not None:
            self.panel.parameters.model = str(imported)
        self.panel.showStatus(_("Imported {name}.").format(name=path.name))

    def onRemove(self) -> None:
        value = self._current()
        if not slicer.util.confirmOkCancelDisplay(
            _("Delete {name} from this computer?").format(name=self.ui.manageComboBox.currentText)
        ):
            return
        if value == catalogue.BIOMEDCLIP:
            self._manage("remove", _("Removing BiomedCLIP…"))
            return
        if self.panel.parameters is not None and self.panel.parameters.model == value:
            self.panel.parameters.model = "auto"
        catalogue.remove_model(value)
        self.panel.refreshModels()

    def _manage(self, action: str, text: str, prior: str = "", **fields: Any) -> None:
        """Download, import or delete BiomedCLIP's files; Denoise becomes Cancel meanwhile. prior: a source of anatomy
        whose packages must be installed first.
        """
        panel = self.panel

        def again() -> None:
            self._manage(action, text, prior, **fields)

        def done(reply: dict[str, Any]) -> None:
            panel.refreshModels()
            panel.showStatus(_("Done."))

        def failed(error: Exception) -> None:
            panel.fail(error, again)

        def start() -> None:
            panel.progress.begin(text)
            try:
                panel.logic.submit(
                    Kind.FILES,
                    requests.models(action, catalogue.BIOMEDCLIP, **fields),
                    on_result=done,
                    on_error=failed,
                    on_cancelled=lambda: panel.showStatus(_("Cancelled.")),
                )
            except EngineError as error:
                failed(error)

        if prior:
            panel.prepare(Kind.FILES, start, again, prior)
        else:
            start()

    def _current(self) -> str:
        return self._managed[max(self.ui.manageComboBox.currentIndex, 0)]
