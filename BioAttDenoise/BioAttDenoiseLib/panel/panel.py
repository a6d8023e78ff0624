"""The module's panel: binds the widgets to the scene's parameters, starts and cancels denoising, shows the outcome."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from ..batch import Outcome, finished
from ..engine import requests
from ..engine.errors import EngineError, as_engine_error, hint
from ..engine.job import Kind, Phase
from ..engine.options import options_of
from ..engine.readiness import Readiness
from ..scene import sample_data, slice_views, volumes
from ..scene.parameters import Region, release, renew
from ..signals import connect
from . import results
from .choices import name_in_tool_tip
from .export import DicomExport
from .live import LivePreview
from .progress import Progress
from .recovery import Recovery
from .sections.attention import AttentionSection
from .sections.batch import BatchSection
from .sections.compare import CompareSection
from .sections.computing import ComputingSection
from .sections.installation import InstallationSection
from .sections.models import ModelsSection
from .sections.numbers import NumbersSection
from .sections.organs import OrgansSection
from .sections.study import StudySection
from .strength import StrengthControl

SECTIONS = (
    CompareSection,
    OrgansSection,
    AttentionSection,
    NumbersSection,
    StudySection,
    ComputingSection,
    BatchSection,
    ModelsSection,
    InstallationSection,
)
"""Collapsible parts of the panel (see `section.Section`); BioAttDenoise.ui has their placeholders."""


class Panel(VTKObservationMixin):
    """One panel on one logic. entered() returns whether the module is shown."""

    def __init__(
        self, layout: Any, logic: Any, resourcePath: Callable[[str], str], entered: Callable[[], bool]
    ) -> None:
        super().__init__()
        self.logic, self.resourcePath, self.entered = logic, resourcePath, entered
        self.parameters: Any = None
        self.lastResult: Any = None
        self._guiTag: Any = None
        self._input: Any = None
        self._again: Callable[[], None] = lambda: None
        self.readiness = Readiness(logic, Path(resourcePath("requirements.txt")).parent, self._installing)
        logic.jobs.gate = self.readiness
        uiWidget = slicer.util.loadUI(resourcePath("UI/BioAttDenoise.ui"))
        layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.progress = Progress(self.ui.progressBar, self.showStatus)
        self.recovery = Recovery(self, lambda: self.section(InstallationSection).showLog())
        self.strength = StrengthControl(self)
        self.live = LivePreview(self)
        self.export = DicomExport(self)
        self.sections = [section(self) for section in SECTIONS]
        connect(self.ui.denoiseButton, "clicked(bool)", lambda checked: self.onDenoiseButton())
        connect(self.ui.sampleButton, "clicked(bool)", lambda checked: sample_data.load())
        connect(self.ui.roiSelector, "nodeAddedByUser(vtkMRMLNode*)", self.onRoiAdded)
        for event, callback in (
            (slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose),
            (slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose),
            (slicer.mrmlScene.EndImportEvent, self.onSceneEndImport),
            # Slicer's readers add a volume before they set its modality: CT, MR or PET
            (slicer.mrmlScene.NodeAddedEvent, lambda *_: qt.QTimer.singleShot(0, self.selectCurrentVolume)),
            (slicer.mrmlScene.NodeAboutToBeRemovedEvent, self.onNodeGoes),
        ):
            self.addObserver(slicer.mrmlScene, event, callback)
        self.initializeParameters()
        logic.jobs.on_change = self.update

    # --- life of the panel and of the scene

    def enter(self) -> None:
        """The module is shown: check packages and devices in the background."""
        if self.parameters is None:
            self.initializeParameters()
        self.selectCurrentVolume()
        self.update()
        if not slicer.app.testingEnabled() and not self.readiness.devices and not self.logic.jobs.busy:
            prior = self.parameters.prior
            self.logic.ensure(Kind.BACKGROUND, prior, self._foundOut, lambda error: None, install=False)

    def _foundOut(self) -> None:
        """Preload the model. Errors are reported when it is needed."""
        if self.parameters is not None and self.parameters.inputVolume is not None and not self.logic.jobs.busy:
            self.logic.jobs.ask(requests.load(options_of(self.parameters)), lambda reply: None, lambda error: None)

    def exit(self) -> None:
        """Another module is shown; running jobs continue."""
        self.live.clear()

    def cleanup(self) -> None:
        """The panel is closed."""
        self.logic.jobs.drop()
        self.logic.jobs.on_change = lambda: None
        self.live.clear()
        self.setParameters(None)
        self.removeObservers()
        for section in self.sections:
            section.cleanup()
        self.logic.shutdown()

    def onSceneStartClose(self, caller: Any, event: Any) -> None:
        self.logic.jobs.drop()
        if self.logic.jobs.find(Kind.DENOISE) is not None:
            self._cancel()
        self.live.clear()
        self.setParameters(None)

    def onSceneEndClose(self, caller: Any, event: Any) -> None:
        self.lastResult = None
        self.ui.resultCollapsibleButton.visible = False
        if self.entered():
            self.initializeParameters()
        self.update()

    def onSceneEndImport(self, caller: Any, event: Any) -> None:
        """A scene was loaded: show its parameters, now or when the module is shown."""
        self.setParameters(None)
        if self.entered():
            self.initializeParameters()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeGoes(self, caller: Any, event: Any, node: Any) -> None:
        if self.parameters is not None:
            release(self.parameters, node)

    def initializeParameters(self) -> None:
        """Bind to the scene's parameters; select the displayed volume if none is selected."""
        self.setParameters(self.logic.getParameterNode())
        self.selectCurrentVolume()

    def setParameters(self, parameters: Any) -> None:
        """Bind every widget to a parameter node, or release them (None)."""
        if self.parameters is not None:
            self.parameters.disconnectGui(self._guiTag)
            self.removeObserver(self.parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersModified)
        if parameters is not None:
            renew(parameters)
        self.parameters = parameters
        self.strength.setParameters(parameters)
        self._input = parameters.inputVolume if parameters is not None else None
        if parameters is not None:
            self._guiTag = parameters.connectGui(self.ui)
            self.addObserver(parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersModified)
        for section in self.sections:
            section.connectParameters(parameters)
        self.update()

    def selectCurrentVolume(self) -> None:
        """If no input is selected, select the volume in the slice views, else the first CT volume."""
        if self.parameters is None or self.parameters.inputVolume is not None or slicer.mrmlScene.IsBatchProcessing():
            return
        chosen = slice_views.ct_on_screen()
        if chosen is not None:
            self.parameters.inputVolume = chosen

    def onParametersModified(self, caller: Any, event: Any) -> None:
        if self.parameters.inputVolume is not self._input:
            self._inputChanged()
        elif self._input is not None:
            reference = self.parameters.referenceVolume
            self._input.SetNodeReferenceID(volumes.REFERENCE_ROLE, reference.GetID() if reference is not None else None)
        self.strength.parametersChanged()
        self.live.parametersChanged()
        self.update()

    def _inputChanged(self) -> None:
        """Clear an output or reference of another input (position, name and patient differ), and messages about the
        previous input.
        """
        if self.idle:
            self.showStatus("")
        former, self._input = self._input, self.parameters.inputVolume
        if former is not None and self._input is not None:
            self.parameters.referenceVolume = self._input.GetNodeReference(volumes.REFERENCE_ROLE)
        output = self.parameters.outputVolume
        if self._input is not None and output is not None and not volumes.takes_output(output, self._input):
            self.parameters.outputVolume = None
        made_from = self.lastResult.volume.GetNodeReference(volumes.INPUT_ROLE) if self.lastResult is not None else None
        self.ui.resultCollapsibleButton.visible = made_from is not None and made_from is self._input

    # --- what the panel shows

    def onRoiAdded(self, roi: Any) -> None:
        """A new ROI starts in the centre of the volume at half its width, for the user to move."""
        if self.parameters is not None and self.parameters.inputVolume is not None:
            volumes.place_in_the_middle(roi, self.parameters.inputVolume)

    def section(self, kind: type) -> Any:
        """The section of a class."""
        return next(section for section in self.sections if isinstance(section, kind))

    def refreshModels(self) -> None:
        """Update the lists of models and sources of anatomy."""
        for kind in (ComputingSection, ModelsSection):
            self.section(kind).refresh()

    @property
    def idle(self) -> bool:
        """Whether a job can be started."""
        return self.state is Phase.IDLE and not self.readiness.installing

    @property
    def state(self) -> Phase:
        """Show the progress of the denoising, batch or file job."""
        return self.logic.jobs.phase

    def update(self) -> None:
        """Update buttons and progress to the current state."""
        problem = self._problem()
        idle, installing = self.idle, self.readiness.installing
        node = self.parameters.inputVolume if self.parameters is not None else None
        name_in_tool_tip(self.ui.inputSelector, self.ui.inputLabel)
        name_in_tool_tip(self.ui.outputSelector, self.ui.outputLabel)
        self.ui.inputMessageLabel.text = problem if node is not None else ""
        self.ui.inputMessageLabel.visible = node is not None and bool(problem)
        self.ui.sampleButton.visible = self.parameters is not None and node is None
        self.ui.sliceRangeWidget.visible = self.parameters is not None and self.parameters.region is Region.SLICES
        self.ui.roiWidget.visible = self.parameters is not None and self.parameters.region is Region.ROI
        self.ui.denoiseButton.enabled = not (installing or self.state is Phase.CANCELLING or (idle and problem))
        texts = {Phase.IDLE: _("&Denoise"), Phase.CANCELLING: _("Cancelling…")}
        self.ui.denoiseButton.text = _("Installing…") if installing else texts.get(self.state, _("Cancel"))
        ready = _("Denoise the volume in the background.")
        stop = _("An installation cannot be cancelled.") if installing else _("Cancel. The scene is not changed.")
        self.ui.denoiseButton.toolTip = (problem or ready) if idle else stop
        self.ui.progressBar.visible = self.state is not Phase.IDLE
        self.progress.follow(self.logic.jobs.running if self.state is Phase.RUNNING else None)
        for widget in (self.ui.inputsCollapsibleButton, self.ui.denoisingWidget):
            for child in widget.children():
                if hasattr(child, "enabled"):
                    child.enabled = idle
        self.strength.update()
        self.live.update()
        self.export.update()
        for section in self.sections:
            section.update()

    def showStatus(self, text: str) -> None:
        """Show a message below the buttons; empty removes it. Recovery buttons of an earlier error are removed."""
        self.recovery.clear()
        self.ui.statusLabel.text = text
        self.ui.statusLabel.visible = bool(text)

    def _problem(self) -> str:
        """Why nothing can be denoised now; empty if it can."""
        if self.parameters is None:
            return _("The scene is closing.")
        if self.parameters.region is Region.ROI and self.parameters.roi is None:
            return _("Choose a ROI, or set Region to the whole volume.")
        return volumes.problem(self.parameters.inputVolume)

    def _installing(self) -> None:
        self.showStatus(_("Installing packages… This cannot be cancelled."))
        self.update()

    # --- denoising

    def onDenoiseButton(self) -> None:
        """Start, or cancel the running job."""
        if self.state is Phase.IDLE:
            self.denoise()
        else:
            self._cancel()

    def _cancel(self) -> None:
        self.showStatus("")
        self.logic.cancel()

    def denoise(self, then: Callable[[], None] = lambda: None) -> None:
        """Start with the panel's settings. then() is called when the output exists."""
        problem = self._problem()
        if problem:
            self.showStatus(problem)
        else:
            self.prepare(Kind.DENOISE, lambda: self._denoise(then), lambda: self.denoise(then))

    def _denoise(self, then: Callable[[], None]) -> None:
        parameters = self.parameters
        region: dict[str, Any] = {}
        if parameters.region is Region.SLICES:
            region["slices"] = (parameters.firstSlice, parameters.lastSlice)
        elif parameters.region is Region.ROI:
            region["roi"] = parameters.roi
        for section in self.sections:
            region.update(section.denoiseOptions())
        self.showStatus("")
        try:
            self.logic.denoiseAsync(
                parameters.inputVolume,
                parameters.outputVolume,
                **region,
                **vars(options_of(parameters)),
                onDone=lambda result: self._done(result, then),
                onError=self._failed,
                onCancelled=self._cancelled,
                onProgress=self.progress.show,
            )
        except Exception as error:  # including a MemoryError for the snapshot
            self._failed(error)

    def runBatch(self, begin: Callable[..., Any], done: Callable[[list[Outcome]], str], kind: Kind) -> None:
        """Start a batch with the panel's settings: begin takes callbacks and options like `Batch.denoiseAllAsync`.
        Denoise becomes Cancel during the run. done(outcomes) returns the summary. kind: the kind of its jobs.
        """
        ended: list[Outcome] = []

        def cancelled() -> None:
            self.showStatus(_("Cancelled. Volumes denoised before: {count}.").format(count=len(finished(ended))))

        def start() -> None:
            self.showStatus("")
            try:
                begin(
                    onEach=ended.append,
                    onDone=lambda outcomes: self.showStatus(done(outcomes)),
                    onCancelled=cancelled,
                    onProgress=self.progress.show,
                    organStrength=self.section(OrgansSection).table.strengths(),
                    **vars(options_of(self.parameters)),
                )
            except Exception as error:
                self._failed(error)

        self.prepare(kind, start, lambda: self.runBatch(begin, done, kind))

    def prepare(self, kind: Kind, then: Callable[[], None], again: Callable[[], None], prior: str = "") -> None:
        """Check that everything is installed for a source of anatomy (empty: the selected one), then continue. again()
        repeats everything after a failure.
        """
        self._again = again
        if self.parameters is None or self.readiness.installing:  # the scene is closing, or a script calls too early
            return
        try:
            self.logic.jobs.make_room(kind)
        except EngineError as error:
            self._failed(error)
            return
        self.progress.begin(_("Checking the installation…"))
        self.logic.ensure(kind, prior or self.parameters.prior, then, self._failed, self._cancelled)

    def _done(self, result: Any, then: Callable[[], None]) -> None:
        self.lastResult = result
        self.showStatus(_("Done: {name}.").format(name=result.volume.GetName()))
        self.live.clear()
        volumes.show_instead(result.volume.GetNodeReference(volumes.INPUT_ROLE), result.volume)
        if self.parameters is not None:
            self.parameters.outputVolume = result.volume
        self.strength.resultArrived(result)
        self.ui.resultLabel.text = results.summary(result)
        self.ui.resultCollapsibleButton.visible = True
        for section in self.sections:
            section.resultArrived(result)
        then()

    def _cancelled(self) -> None:
        self.showStatus(_("Cancelled. The scene is unchanged."))

    def fail(self, error: Exception, again: Callable[[], None]) -> None:
        """Show an error below the buttons, with a remedy. again() repeats the action."""
        self.showStatus(f"⚠ {error}")
        self.recovery.offer(error, again)

    def _failed(self, error: Exception) -> None:
        error = as_engine_error(error)
        self.fail(error, self._again)
        if isinstance(error, EngineError) and error.kind != "input":
            # Slicer logs a message's text but not its details, so file and patient names go into the details
            slicer.util.errorDisplay(
                hint(error.kind) or hint("internal"),
                windowTitle="BioAttDenoise",
                detailedText=f"{error}\n\n{self.logic.jobs.log}".strip(),
            )
