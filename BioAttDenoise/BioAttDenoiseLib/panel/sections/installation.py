"""The page "Installation": versions, Python packages and the engine's log."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

import bioatt

from ...engine import catalogue, install
from ...engine.errors import EngineError
from ...engine.job import Kind
from ...signals import connect
from .section import Section


class InstallationSection(Section):
    """See BioAttDenoiseInstallation.ui."""

    uiFile = "BioAttDenoiseInstallation.ui"
    place = "installationPage"

    def setup(self) -> None:
        self._log = ""
        self._notes: list[str] = []
        connect(self.ui.checkButton, "clicked(bool)", lambda checked: self.onCheck())
        connect(self.ui.upgradeButton, "clicked(bool)", lambda checked: self.onUpgrade())
        connect(self.ui.openVinoButton, "clicked(bool)", lambda checked: self.onInstallOpenVino())
        connect(self.ui.folderInstallButton, "clicked(bool)", lambda checked: self.onInstallFolder())
        connect(self.ui.copyLogButton, "clicked(bool)", lambda checked: self.onCopyLog())

    def update(self) -> None:
        idle = self.panel.idle and not self.panel.logic.jobs.busy
        self.ui.upgradeButton.enabled = self.ui.folderInstallButton.enabled = idle
        optional = self.panel.readiness.optional
        installed = bool(optional) and all(package["state"] == "ok" for package in optional)
        self.ui.openVinoButton.enabled = idle and bool(optional) and not installed
        self.ui.openVinoButton.text = _("OpenVINO is installed") if installed else _("Install OpenVINO")
        self.ui.versionsLabel.text = self._versions()
        self._showLog()

    def onCheck(self) -> None:
        """Check the installation again and write the result to the log."""
        if self.panel.logic.jobs.busy or not self.panel.idle:
            self.panel.showStatus(_("Wait until the current job has finished."))
            return
        self.panel.readiness.forget()
        self.panel.logic.shutdown()
        self.panel.showStatus(_("Checking the installation…"))
        self.panel.logic.ensure(Kind.BACKGROUND, self._prior(), self._checked, self._checkFailed, install=False)

    def onUpgrade(self) -> None:
        """Upgrade the packages, then check the installation."""
        panel = self.panel

        def upgrade() -> None:
            wanted = install.requirements(panel.readiness.resources, self._prior())
            panel.showStatus("")
            if install.upgrade(wanted, panel.logic.python):
                self.onCheck()

        self._install(upgrade, self.onUpgrade)

    def onInstallOpenVino(self) -> None:
        """Install an optional inference runtime, then check the installation."""
        panel = self.panel

        def add() -> None:
            wanted = install.optional(panel.readiness.resources)
            panel.showStatus("")
            if install.install_optional(wanted, panel.logic.python):
                self.onCheck()

        self._install(add, self.onInstallOpenVino)

    def onInstallFolder(self) -> None:
        """Install packages and models from a folder copied to this computer."""
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Folder created by bundle.py"))
        if not folder:
            return

        def bring() -> None:
            models = install.install_folder(Path(str(folder)))
            self.panel.refreshModels()
            text = _("Installed. New models: {names}.").format(names=", ".join(models) or "0")
            self.panel.showStatus(text)

        self._install(bring, self.onInstallFolder)

    def onCopyLog(self) -> None:
        slicer.app.clipboard().setText(self.ui.logTextEdit.toPlainText())

    def showLog(self) -> None:
        """Show the log."""
        self.panel.ui.advancedCollapsibleButton.collapsed = False
        self.panel.ui.advancedTabs.setCurrentWidget(self.panel.ui.installationPage)
        self._showLog()
        qt.QTimer.singleShot(0, self._scrollToLog)  # lay out the widgets of the section first

    def _install(self, work: Callable[[], None], again: Callable[[], None]) -> None:
        """Run work(), which calls pip, with the engine process stopped: Windows cannot replace a loaded library."""
        self.panel.logic.shutdown()
        self.panel.readiness.forget()
        self.panel.showStatus(_("Installing packages… This cannot be cancelled."))
        try:
            work()
        except EngineError as error:
            self.panel.fail(error, again)

    def _prior(self) -> str:
        return self.panel.parameters.prior if self.panel.parameters is not None else "maps"

    def _versions(self) -> str:
        """Versions of extension, engine and models, and the packages found by the engine process."""
        readiness = self.panel.readiness
        parts = [("BioAttDenoise", bioatt.__version__), (_("engine"), readiness.version), *catalogue.versions()]
        parts += [(package["name"], package["version"]) for package in [*readiness.packages, *readiness.optional]]
        return " · ".join(f"{name} {version or '-'}" for name, version in parts)

    def _checked(self) -> None:
        self._note()
        self.panel.showStatus(_("All required packages are installed."))
        self.panel.update()

    def _checkFailed(self, error: Exception) -> None:
        self._note()
        self.panel.showStatus(f"⚠ {error}")
        self.panel.update()

    def _note(self) -> None:
        """Write the findings to the log."""
        readiness = self.panel.readiness
        found = [*readiness.packages, *readiness.optional]
        packages = [f"{p['name']} {p['version'] or '-'}: {p['state']}" for p in found]
        devices = [f"{d['name']}: {d['label']}" for d in readiness.devices]
        version = getattr(slicer.app, "applicationVersion", "")
        self._notes.append("\n".join([f"Slicer {version}, {self.panel.logic.python}", *packages, *devices]))
        self._showLog()

    def _scrollToLog(self) -> None:
        parent = self.widget.parent()
        while parent is not None and not hasattr(parent, "ensureWidgetVisible"):
            parent = parent.parent()
        if parent is not None:
            parent.ensureWidgetVisible(self.ui.logTextEdit)
        self.ui.logTextEdit.setFocus()

    def _showLog(self) -> None:
        log = "\n".join([*self._notes[-3:], self.panel.logic.jobs.log]).strip()
        if log != self._log:
            self._log = log
            self.ui.logTextEdit.setPlainText(log)
            bar = self.ui.logTextEdit.verticalScrollBar()
            bar.setValue(bar.maximum)
