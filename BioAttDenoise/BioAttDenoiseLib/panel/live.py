"""The preview controls: the button, and the check box "Live", which follows scrolling and settings."""

from __future__ import annotations

from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from ..engine.errors import EngineError
from ..engine.job import Kind
from ..engine.options import options_of, unblended
from ..preview import Preview
from ..scene import slice_views
from ..signals import connect
from .sections.organs import OrgansSection

SETTLE_MS = 150
"""Idle time after scrolling or typing before the next live preview starts."""


class LivePreview(VTKObservationMixin):
    """Owns the Preview."""

    def __init__(self, panel: Any) -> None:
        super().__init__()
        self.panel, self.ui = panel, panel.ui
        self.preview = Preview(panel.logic)
        self._shownFor: Any = None
        self._said = ""
        self._settle = qt.QTimer()
        self._settle.setSingleShot(True)
        self._settle.setInterval(SETTLE_MS)
        connect(self._settle, "timeout()", self.request)
        connect(self.ui.previewButton, "clicked(bool)", self.onButton)
        connect(self.ui.livePreviewCheckBox, "clicked(bool)", self.onLive)

    @property
    def computing(self) -> bool:
        """Whether a preview is running or waiting."""
        return self.panel.logic.jobs.find(Kind.PREVIEW) is not None

    def onButton(self, checked: bool) -> None:
        """Show or remove the preview."""
        if checked:
            self.request()
        else:
            self.clear()

    def onLive(self, checked: bool) -> None:
        if checked:
            self.request()

    def parametersChanged(self) -> None:
        """Blend a new strength immediately; any other setting makes the preview stale."""
        if self.panel.parameters is None:
            return
        self.preview.set_strength(self.panel.strength.number)
        if self.preview.shown is None or self._key() == self._shownFor:
            return
        if self.panel.parameters.livePreview:
            self._settle.start()
        else:
            self.clear()

    def request(self) -> None:
        """Preview the current slice when the engine is free."""
        parameters = self.panel.parameters
        if parameters is None or parameters.inputVolume is None or not self.panel.idle:
            return
        logic = self.panel.logic
        logic.jobs.make_room(Kind.PREVIEW)
        self.panel.showStatus(_("Computing the preview…"))
        logic.ensure(Kind.PREVIEW, parameters.prior, self._compute, self._failed, self._cancelled)

    def clear(self) -> None:
        """Remove the preview."""
        self._settle.stop()
        self.removeObservers()
        self.preview.clear()
        self._shownFor = None
        self.ui.previewButton.checked = False
        if self._said and self.ui.statusLabel.text == self._said:
            self.panel.showStatus("")
        self._said = ""

    def update(self) -> None:
        """Enable the widgets and update their texts."""
        parameters = self.panel.parameters
        possible = parameters is not None and parameters.inputVolume is not None and self.panel.idle
        self.ui.previewButton.enabled = possible and not self.computing
        self.ui.livePreviewCheckBox.enabled = possible
        self.ui.previewButton.checked = self.preview.shown is not None or self.computing

    def _organs(self) -> OrgansSection:
        return self.panel.section(OrgansSection)

    def _key(self) -> Any:
        parameters = self.panel.parameters
        if parameters is None:
            return None
        chosen = unblended(options_of(parameters))  # strength is blended without running the network
        return (parameters.inputVolume, chosen, self.preview.p, self._organs().strengthKey())

    def _compute(self) -> None:
        parameters = self.panel.parameters
        if parameters is None:
            return
        key = self._key()

        def done(reply: dict[str, Any]) -> None:
            self._shownFor = key
            self._watchViews()
            self._said = _("Preview of one slice in {seconds:.1f} s.").format(seconds=reply["seconds"])
            self.panel.showStatus(self._said)

        def cancelled() -> None:
            """Cancelled by a job of higher rank, or because the settings changed: then "Live" requests a new
            preview.
            """
            self._cancelled()
            if self.panel.parameters is not None and self.panel.parameters.livePreview and self._key() != key:
                self._settle.start()

        self.preview.set_strength(self.panel.strength.number)
        try:
            self.preview.request(
                parameters.inputVolume,
                options_of(parameters),
                self._organs().denoiseOptions(),
                done,
                self._failed,
                cancelled,
                wanted=lambda: self._key() == key,
            )
        except (ValueError, EngineError) as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        self.panel.fail(error, self.request)

    def _cancelled(self) -> None:
        self.panel.showStatus("")

    def _watchViews(self) -> None:
        self.removeObservers()
        for view in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            self.addObserver(view, vtk.vtkCommand.ModifiedEvent, self._scrolled)

    def _scrolled(self, caller: Any, event: Any) -> None:
        shown, parameters = self.preview.shown, self.panel.parameters
        if shown is None or parameters is None or not parameters.livePreview:
            return
        if slicer.mrmlScene.IsNodePresent(shown.source) and slice_views.current_slice(shown.source) != shown.index:
            self._settle.start()
