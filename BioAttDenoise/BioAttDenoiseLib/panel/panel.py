"""The module's panel: binds the widgets to the scene's parameters, starts and cancels denoisings, and says how they
went.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from ..batch import Outcome, finished
from ..engine import catalogue
from ..engine.jobs import HINTS, EngineError, as_engine_error
from ..engine.readiness import Readiness
from ..scene import volumes
from ..scene.parameters import Region, options, release, takes_descriptors
from . import results
from .advanced_section import AdvancedSection
from .batch_section import BatchSection
from .choices import choices_of
from .compare_section import CompareSection
from .live import LivePreview
from .numbers_section import NumbersSection
from .overlay_section import AttentionSection

SECTIONS = (CompareSection, AttentionSection, NumbersSection, BatchSection, AdvancedSection)
"""Collapsible parts below the result, in this order (see `section.Section`)."""


class State(Enum):
    """What the panel is doing."""

    IDLE = "idle"
    PREPARING = "preparing"
    RUNNING = "running"
    FILES = "files"
    """As RUNNING, on files alone: those of a model come or go, or a folder is denoised. No matter of the scene."""
    CANCELLING = "cancelling"


class Panel(VTKObservationMixin):
    """One panel on one logic. entered() says whether the module is on screen."""

    def __init__(
        self, layout: Any, logic: Any, resourcePath: Callable[[str], str], entered: Callable[[], bool]
    ) -> None:
        super().__init__()
        self.logic, self.resourcePath, self.entered = logic, resourcePath, entered
        self.parameters: Any = None
        self.lastResult: Any = None
        self.state = State.IDLE
        self._guiTag: Any = None
        self._input: Any = None
        self.readiness = Readiness(logic, Path(resourcePath("requirements.txt")).parent, self._readinessChanged)
        uiWidget = slicer.util.loadUI(resourcePath("UI/BioAttDenoise.ui"))
        layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.choices = choices_of(self.ui, self.showStatus)
        self.live = LivePreview(self)
        self.sections = [section(self) for section in SECTIONS]
        for section in self.sections:
            self.ui.sectionsWidget.layout().addWidget(section.widget)
        self.refreshChoices()
        self.ui.denoiseButton.connect("clicked(bool)", lambda checked: self.onDenoiseButton())
        self.ui.roiSelector.connect("nodeAddedByUser(vtkMRMLNode*)", self.onRoiAdded)
        for event, callback in (
            (slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose),
            (slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose),
            (slicer.mrmlScene.EndImportEvent, self.onSceneEndImport),
            (slicer.mrmlScene.NodeAddedEvent, lambda caller, event: self._nodeAdded()),
            (slicer.mrmlScene.NodeAboutToBeRemovedEvent, self.onNodeGoes),
        ):
            self.addObserver(slicer.mrmlScene, event, callback)
        self.initializeParameters()

    # --- life of the panel and of the scene

    def enter(self) -> None:
        """The module comes on screen: find out in the background what this computer has."""
        if self.parameters is None:
            self.initializeParameters()
        self.selectCurrentVolume()
        self.update()
        if not slicer.app.testingEnabled() and not self.readiness.devices and not self.logic.engine.busy:
            self.readiness.ensure(self.parameters.prior, self._foundOut, lambda error: self.update(), install=False)

    def _foundOut(self) -> None:
        self.update()
        if self.parameters is not None and self.parameters.inputVolume is not None:
            self.readiness.warm(options(self.parameters).request())

    def exit(self) -> None:
        """Another module comes on screen; what runs goes on."""
        self.live.clear()

    def cleanup(self) -> None:
        """The panel goes away."""
        self.readiness.drop()
        self.live.clear()
        self.setParameters(None)
        self.removeObservers()
        for section in self.sections:
            section.cleanup()
        self.logic.shutdown()

    def onSceneStartClose(self, caller: Any, event: Any) -> None:
        self.readiness.drop()
        if self.state is State.RUNNING:
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
        """A scene was loaded: its parameters are shown, now or when the module comes on screen."""
        self.setParameters(None)
        if self.entered():
            self.initializeParameters()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeGoes(self, caller: Any, event: Any, node: Any) -> None:
        if self.parameters is not None:
            release(self.parameters, node)

    def initializeParameters(self) -> None:
        """Bind to the scene's parameters; choose the volume on screen where none is chosen."""
        self.setParameters(self.logic.getParameterNode())
        self.selectCurrentVolume()

    def setParameters(self, parameters: Any) -> None:
        """Bind every widget to a parameter node, or release them (None)."""
        if self.parameters is not None:
            self.parameters.disconnectGui(self._guiTag)
            self.removeObserver(self.parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersModified)
        self.parameters = parameters
        self._input = parameters.inputVolume if parameters is not None else None
        if parameters is not None:
            self._guiTag = parameters.connectGui(self.ui)
            self.addObserver(parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersModified)
        for choice in self.choices:
            choice.setParameters(parameters)
        for section in self.sections:
            section.connectParameters(parameters)
        self.update()

    def selectCurrentVolume(self) -> None:
        """Where no input is chosen, take the volume that the slice views show, else the first CT volume."""
        if self.parameters is None or self.parameters.inputVolume is not None or slicer.mrmlScene.IsBatchProcessing():
            return
        candidates = volumes.ct_volumes()
        shown = [node.GetBackgroundVolumeID() for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")]
        chosen = next((node for node in candidates if node.GetID() in shown), candidates[0] if candidates else None)
        if chosen is not None:
            self.parameters.inputVolume = chosen

    def _nodeAdded(self) -> None:
        """Slicer's readers add a volume first and say afterwards what it is: CT, MR or PET."""
        qt.QTimer.singleShot(0, self.selectCurrentVolume)

    def onParametersModified(self, caller: Any, event: Any) -> None:
        if self.parameters.inputVolume is not self._input:
            self._inputChanged()
        self.live.parametersChanged()
        self.update()

    def _inputChanged(self) -> None:
        """An output that was not made from this input is chosen no longer: another scan's place, name and patient."""
        self._input = self.parameters.inputVolume
        output = self.parameters.outputVolume
        if self._input is not None and output is not None and not volumes.takes_output(output, self._input):
            self.parameters.outputVolume = None

    # --- what the panel shows

    def onRoiAdded(self, roi: Any) -> None:
        """A region that the user makes starts in the middle of the volume, half as wide, to be moved from there."""
        if self.parameters is not None and self.parameters.inputVolume is not None:
            volumes.place_in_the_middle(roi, self.parameters.inputVolume)

    def refreshChoices(self) -> None:
        """Offer the models and sources of anatomy that there are now."""
        self.choices[0].setEntries(catalogue.model_choices())
        self.choices[1].setEntries(catalogue.prior_choices())
        self.choices[2].setEntries([("", _("The model's own"), _("The words that the model was trained with."), True)])

    @property
    def idle(self) -> bool:
        """Whether something can be started."""
        return self.state is State.IDLE and not self.readiness.installing

    def update(self) -> None:
        """Show what can be done now and what is going on."""
        problem = self._problem()
        idle, installing = self.idle, self.readiness.installing
        node = self.parameters.inputVolume if self.parameters is not None else None
        self.ui.inputMessageLabel.text = problem if node is not None else ""
        self.ui.inputMessageLabel.visible = node is not None and bool(problem)
        self.ui.sliceRangeWidget.visible = self.parameters is not None and self.parameters.region is Region.SLICES
        self.ui.roiWidget.visible = self.parameters is not None and self.parameters.region is Region.ROI
        own = self.parameters is not None and takes_descriptors(self.parameters.prior)
        self.ui.descriptorsLabel.visible = self.ui.descriptorsComboBox.visible = own
        self.ui.denoiseButton.enabled = not (installing or self.state is State.CANCELLING or (idle and problem))
        texts = {State.IDLE: _("Denoise"), State.CANCELLING: _("Cancelling…")}
        self.ui.denoiseButton.text = _("Installing…") if installing else texts.get(self.state, _("Cancel"))
        ready = _("Denoise the volume. Slicer stays usable meanwhile.")
        stop = _("An installation cannot be cancelled.") if installing else _("Stop. The scene stays as it is.")
        self.ui.denoiseButton.toolTip = (problem or ready) if idle else stop
        self.ui.progressBar.visible = self.state is not State.IDLE
        for widget in (self.ui.inputsCollapsibleButton, self.ui.denoisingCollapsibleButton):
            for child in widget.children():
                if hasattr(child, "enabled"):
                    child.enabled = idle
        self._showDevices()
        for choice in self.choices:
            choice.update()
        self.live.update()
        for section in self.sections:
            section.update()

    def showStatus(self, text: str) -> None:
        """A sentence below the buttons; empty takes it away."""
        self.ui.statusLabel.text = text
        self.ui.statusLabel.visible = bool(text)

    def _problem(self) -> str:
        """Why nothing can be denoised now; empty where it can."""
        if self.parameters is None:
            return _("The scene is closing.")
        if self.parameters.region is Region.ROI and self.parameters.roi is None:
            return _("Choose the region of interest, or the whole volume.")
        return volumes.problem(self.parameters.inputVolume)

    def _showDevices(self) -> None:
        found = [device["label"] for device in self.readiness.devices]
        text = _("Found: {devices}.").format(devices="; ".join(found)) if found else ""
        self.ui.deviceFoundLabel.text = text
        self.ui.deviceFoundLabel.visible = bool(text)

    def _readinessChanged(self) -> None:
        if self.readiness.installing:
            self.showStatus(_("Installing packages… This cannot be cancelled."))
        self.update()

    # --- denoising

    def onDenoiseButton(self) -> None:
        """Start, or while something runs, cancel."""
        if self.state is State.IDLE:
            self.live.interrupt(self._start)
        elif self.state is State.PREPARING:
            self.readiness.drop()
        else:
            self._cancel()

    def _cancel(self) -> None:
        self._enterState(State.CANCELLING, "")
        self.logic.cancel()

    def _start(self) -> None:
        problem = self._problem()
        if problem:
            self.showStatus(problem)
            return
        self._prepare(self._denoise)

    def _denoise(self) -> None:
        chosen, parameters = options(self.parameters), self.parameters
        region: dict[str, Any] = {}
        if parameters.region is Region.SLICES:
            region["slices"] = (parameters.firstSlice, parameters.lastSlice)
        elif parameters.region is Region.ROI:
            region["roi"] = parameters.roi
        for section in self.sections:
            region.update(section.denoiseOptions())
        try:
            self.logic.denoiseAsync(
                parameters.inputVolume,
                parameters.outputVolume,
                **region,
                **vars(chosen),
                onDone=self._done,
                onError=self._failed,
                onCancelled=self._cancelled,
                onProgress=self._showProgress,
            )
        except Exception as error:  # memory for the snapshot too
            self._failed(error)
            return
        self._enterState(State.RUNNING, "")

    def runBatch(self, begin: Callable[..., Any], done: Callable[[list[Outcome]], str], ofScene: bool = True) -> None:
        """Start a batch with the panel's settings: begin(callbacks and options) as `Batch.denoiseAllAsync`; Denoise is
        Cancel meanwhile. done(outcomes) says how it went. A batch that is not of the scene goes on when that is closed.
        """
        state = State.RUNNING if ofScene else State.FILES
        ended: list[Outcome] = []

        def cancelled() -> None:
            kept = _("Cancelled. What was done before stays: {count}.").format(count=len(finished(ended)))
            self._enterState(State.IDLE, kept)

        def start() -> None:
            self._enterState(state, "")
            try:
                begin(
                    onEach=ended.append,
                    onDone=lambda outcomes: self._enterState(State.IDLE, done(outcomes)),
                    onCancelled=cancelled,
                    onProgress=self._showProgress,
                    **vars(options(self.parameters)),
                )
            except Exception as error:
                self._failed(error)

        self.live.interrupt(lambda: self._prepare(start))

    def manage(self, begin: Callable[..., Any], text: str, done: Callable[[], str], prior: str = "") -> None:
        """Bring or delete a model's files: begin(callbacks of `Engine.submit`); Denoise is Cancel meanwhile. done()
        says how it went. prior: a source of anatomy whose packages must be there first.
        """

        def start() -> None:
            self._enterState(State.FILES, text)
            self.ui.progressBar.setRange(0, 0)  # how far it is, nobody says
            try:
                begin(
                    on_result=lambda reply: self._enterState(State.IDLE, done()),
                    on_error=failed,
                    on_cancelled=lambda: self._enterState(State.IDLE, _("Cancelled.")),
                )
            except EngineError as error:
                failed(error)

        def failed(error: Exception) -> None:
            self._enterState(State.IDLE, f"⚠ {error}")

        self.live.interrupt((lambda: self._prepare(start, prior)) if prior else start)

    def _prepare(self, then: Callable[[], None], prior: str = "") -> None:
        """See that everything is installed for a source of anatomy (empty: the chosen one), then go on."""
        if self.parameters is None or self.readiness.installing:  # the scene closes, or a script asks too early
            return
        self.readiness.drop()  # who waits there says so now, not after the next line
        self._enterState(State.PREPARING, _("Checking the installation…"))
        self._showProgress({"fraction": 0.0, "done": 0, "slices": 0, "eta_s": None})
        prior = prior or self.parameters.prior
        self.readiness.ensure(prior, then, self._failed, install=True, onCancelled=self._cancelled)

    def _showProgress(self, progress: dict[str, Any]) -> None:
        bar = self.ui.progressBar
        bar.setRange(0, 100)
        bar.value = round(100 * progress["fraction"])
        left = results.time_left(progress["eta_s"])
        slices = _("slice {done} of {slices}").format(**progress) if progress["slices"] else _("starting")
        if "volume" in progress:
            slices = _("volume {volume}").format(**progress) + f" · {slices}"
        bar.setFormat(f"%p % · {slices} · {left}" if left and progress["fraction"] < 1 else f"%p % · {slices}")

    def _done(self, result: Any) -> None:
        self.lastResult = result
        self._enterState(State.IDLE, _("Done: «{name}».").format(name=result.volume.GetName()))
        self.live.clear()
        volumes.show_instead(result.volume.GetNodeReference(volumes.INPUT_ROLE), result.volume)
        if self.parameters is not None:
            self.parameters.outputVolume = result.volume
        self.ui.resultLabel.text = results.summary(result)
        self.ui.resultCollapsibleButton.visible = True
        for section in self.sections:
            section.resultArrived(result)

    def _cancelled(self) -> None:
        self._enterState(State.IDLE, _("Cancelled. The scene is as it was."))

    def _failed(self, error: Exception) -> None:
        error = as_engine_error(error)
        self._enterState(State.IDLE, f"⚠ {error}")
        if isinstance(error, EngineError) and error.kind != "input":
            # Slicer logs the text of a message, not its details: names of files and patients belong there
            slicer.util.errorDisplay(
                HINTS.get(error.kind, HINTS["internal"]),
                windowTitle="BioAttDenoise",
                detailedText=f"{error}\n\n{self.logic.engine.log}".strip(),
            )

    def _enterState(self, state: State, text: str) -> None:
        self.state = state
        self.showStatus(text)
        self.update()
