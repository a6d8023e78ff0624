"""The section "Advanced": memory, models on this computer, installation, log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ctk
import qt
import slicer
from slicer.i18n import tr as _

import bioatt

from ..engine import catalogue, install, requests
from ..engine.errors import EngineError
from ..engine.job import Kind
from ..engine.settings import models_folder, set_models_folder
from ..signals import connect
from .section import Section

BIOMEDCLIP_SIZE = "790 MB"
BIOMEDCLIP_SOURCE = "huggingface.co/microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224"


class AdvancedSection(Section):
    """See BioAttDenoiseAdvanced.ui."""

    uiFile = "BioAttDenoiseAdvanced.ui"

    def setup(self) -> None:
        self._log = ""
        self.ui.modelsFolderLineEdit.filters = ctk.ctkPathLineEdit.Dirs
        self.ui.modelsFolderLineEdit.currentPath = str(models_folder())
        connect(self.ui.modelsFolderLineEdit, "currentPathChanged(QString)", self.onModelsFolder)
        connect(self.ui.manageComboBox, "currentIndexChanged(int)", lambda index: self._showManaged())
        connect(self.ui.downloadButton, "clicked(bool)", lambda checked: self.onDownload())
        connect(self.ui.importButton, "clicked(bool)", lambda checked: self.onImport())
        connect(self.ui.removeButton, "clicked(bool)", lambda checked: self.onRemove())
        connect(self.ui.checkButton, "clicked(bool)", lambda checked: self.onCheck())
        connect(self.ui.folderInstallButton, "clicked(bool)", lambda checked: self.onInstallFolder())
        connect(self.ui.copyLogButton, "clicked(bool)", lambda checked: self.onCopyLog())
        self._notes: list[str] = []
        self.refresh()

    def refresh(self) -> None:
        """List what can be managed: BiomedCLIP and the imported models."""
        self._managed = [catalogue.BIOMEDCLIP, *(entry.value for entry in catalogue.models() if entry.imported)]
        self.ui.manageComboBox.blockSignals(True)
        self.ui.manageComboBox.clear()
        self.ui.manageComboBox.addItem("BiomedCLIP")
        for value in self._managed[1:]:
            self.ui.manageComboBox.addItem(Path(value).stem)
        self.ui.manageComboBox.blockSignals(False)
        self._showManaged()

    def update(self) -> None:
        self._showManaged()
        self.ui.folderInstallButton.enabled = self.panel.idle and not self.panel.logic.jobs.busy
        self.ui.versionsLabel.text = self._versions()
        self._showLog()

    def onModelsFolder(self, path: str) -> None:
        """The models are kept elsewhere from now on; the engine learns it when it starts next."""
        folder = Path(path)
        if not folder.parent.is_dir() or folder == models_folder():
            return  # it is still being typed
        set_models_folder(folder)
        if not self.panel.logic.jobs.busy:
            self.panel.logic.shutdown()
        self.panel.refreshChoices()
        self.refresh()

    def onDownload(self) -> None:
        text = _(
            "BiomedCLIP ({size}) is fetched from the Hugging Face hub ({source}) into the models folder. Its licence "
            "is MIT; its authors mean it for research. No data of yours is sent.\n\nWithout internet here: carry the "
            "folder from another computer and press Import.\n\nDownload it now?"
        ).format(size=BIOMEDCLIP_SIZE, source=BIOMEDCLIP_SOURCE)
        if slicer.util.confirmOkCancelDisplay(text, _("BioAttDenoise: download")):
            self._manage("download", _("Downloading BiomedCLIP…"), prior=catalogue.BIOMEDCLIP)

    def onImport(self) -> None:
        """A model file is copied; for BiomedCLIP a folder is taken in by the engine."""
        if self._current() == catalogue.BIOMEDCLIP and slicer.util.confirmYesNoDisplay(
            _("Import BiomedCLIP from a folder? Choose No to import a model file."), _("BioAttDenoise: import")
        ):
            folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("BiomedCLIP folder"))
            if folder:
                self._manage("import", _("Importing BiomedCLIP…"), folder=str(folder))
            return
        path = qt.QFileDialog.getOpenFileName(
            slicer.util.mainWindow(), _("Model file"), "", "BioAtt model (*.safetensors)"
        )
        path = path[0] if isinstance(path, tuple) else path  # Qt gives a text in PythonQt
        if path:
            self.importModel(Path(path))

    def importModel(self, path: Path) -> None:
        """Copy a model file into the models folder and choose it."""
        try:
            imported = catalogue.import_model(path)
        except (OSError, ValueError) as error:
            self._failed(error)
            return
        self.panel.refreshChoices()
        self.refresh()
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
        self.panel.refreshChoices()
        self.refresh()

    def onCheck(self) -> None:
        """Look again at what is installed and say it in the log."""
        if self.panel.logic.jobs.busy or not self.panel.idle:
            self.panel.showStatus(_("Wait until what runs now has ended."))
            return
        self.panel.readiness.forget()
        self.panel.logic.shutdown()
        self.panel.showStatus(_("Checking the installation…"))
        prior = self.panel.parameters.prior if self.panel.parameters is not None else "embedded"
        self.panel.logic.ensure(Kind.BACKGROUND, prior, self._checked, self._checkFailed, install=False)

    def onInstallFolder(self) -> None:
        """Take packages and models from a folder that was brought here."""
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Folder made by bundle.py"))
        if not folder:
            return
        self.panel.logic.shutdown()  # a library that is loaded cannot be replaced on Windows
        self.panel.readiness.forget()
        self.panel.showStatus(_("Installing packages… This cannot be cancelled."))
        try:
            models = install.install_folder(Path(str(folder)))
        except EngineError as error:
            self.panel.fail(error, self.onInstallFolder)
            return
        self.panel.refreshChoices()
        self.refresh()
        text = _("Installed. Models that are new: {names}.").format(names=", ".join(models) or "0")
        self.panel.showStatus(text)

    def _versions(self) -> str:
        """Extension, models, and the packages that the engine's process found."""
        parts = [("BioAttDenoise", bioatt.__version__), *catalogue.versions()]
        parts += [(package["name"], package["version"]) for package in self.panel.readiness.packages]
        return " · ".join(f"{name} {version or '-'}" for name, version in parts)

    def onCopyLog(self) -> None:
        slicer.app.clipboard().setText(self.ui.logTextEdit.toPlainText())

    def _checked(self) -> None:
        self._note(self._found())
        self.panel.showStatus(_("Everything that is needed is installed."))
        self.panel.update()

    def _checkFailed(self, error: Exception) -> None:
        self._note(self._found())
        self._failed(error)
        self.panel.update()

    def _found(self) -> str:
        packages = [f"{p['name']} {p['version'] or '-'}: {p['state']}" for p in self.panel.readiness.packages]
        devices = [f"{d['name']}: {d['label']}" for d in self.panel.readiness.devices]
        version = getattr(slicer.app, "applicationVersion", "")
        return "\n".join([f"Slicer {version}, {self.panel.logic.python}", *packages, *devices])

    def _manage(self, action: str, text: str, prior: str = "", **fields: Any) -> None:
        """Bring or delete BiomedCLIP's files; the panel's Denoise is Cancel meanwhile. prior: a source of anatomy whose
        packages must be there first.
        """
        panel = self.panel

        def again() -> None:
            self._manage(action, text, prior, **fields)

        def done(reply: dict[str, Any]) -> None:
            panel.refreshChoices()
            self.refresh()
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

    def showLog(self) -> None:
        """Bring the log into view."""
        self.ui.advancedCollapsibleButton.collapsed = False
        self._showLog()
        qt.QTimer.singleShot(0, self._scrollToLog)  # the widgets below the fold get their places first

    def _scrollToLog(self) -> None:
        parent = self.widget.parent()
        while parent is not None and not hasattr(parent, "ensureWidgetVisible"):
            parent = parent.parent()
        if parent is not None:
            parent.ensureWidgetVisible(self.ui.logTextEdit)
        self.ui.logTextEdit.setFocus()

    def _failed(self, error: Exception) -> None:
        self.panel.showStatus(f"⚠ {error}")

    def _current(self) -> str:
        return self._managed[max(self.ui.manageComboBox.currentIndex, 0)]

    def _showManaged(self) -> None:
        biomedclip = self._current() == catalogue.BIOMEDCLIP
        here = catalogue.biomedclip_present() if biomedclip else True
        idle = self.panel.idle and not self.panel.logic.jobs.busy
        self.ui.manageStateLabel.text = _("On this computer.") if here else _("Not on this computer.")
        self.ui.downloadButton.enabled = idle and biomedclip and not here
        self.ui.importButton.enabled = idle
        self.ui.removeButton.enabled = idle and here

    def _note(self, text: str) -> None:
        self._notes.append(text)
        self._showLog()

    def _showLog(self) -> None:
        log = "\n".join([*self._notes[-3:], self.panel.logic.jobs.log]).strip()
        if log != self._log:
            self._log = log
            self.ui.logTextEdit.setPlainText(log)
            bar = self.ui.logTextEdit.verticalScrollBar()
            bar.setValue(bar.maximum)
