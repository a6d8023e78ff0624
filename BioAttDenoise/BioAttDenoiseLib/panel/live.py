"""The preview's part of the panel: the button, and «Live», which follows scrolling and settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from ..engine.jobs import EngineError
from ..preview import Preview
from ..scene import slice_views
from ..scene.parameters import options

SETTLE_MS = 150
"""How long scrolling or typing must rest before the next live preview starts."""


class LivePreview(VTKObservationMixin):
    """Owns the Preview. Requests that come while one is computed are remembered, the newest only."""

    def __init__(self, panel: Any) -> None:
        super().__init__()
        self.panel, self.ui = panel, panel.ui
        self.preview = Preview(panel.logic)
        self.computing = False
        self._wanted = False
        self._then: Callable[[], None] | None = None
        self._shownFor: Any = None
        self._settle = qt.QTimer()
        self._settle.setSingleShot(True)
        self._settle.setInterval(SETTLE_MS)
        self._settle.connect("timeout()", self.request)
        self.ui.previewButton.connect("clicked(bool)", self.onButton)
        self.ui.livePreviewCheckBox.connect("clicked(bool)", self.onLive)

    def onButton(self, checked: bool) -> None:
        """Show the preview, or take it away."""
        if checked:
            self.request()
        else:
            self.clear()

    def onLive(self, checked: bool) -> None:
        if checked:
            self.request()

    def parametersChanged(self) -> None:
        """The strength is blended at once; any other setting makes the preview old."""
        if self.panel.parameters is None:
            return
        self.preview.set_strength(self.panel.parameters.strength / 100)
        if self.preview.shown is None or self._key() == self._shownFor:
            return
        if self.panel.parameters.livePreview:
            self._settle.start()
        else:
            self.clear()

    def request(self) -> None:
        """Preview the slice on screen, when the engine has time for it."""
        parameters = self.panel.parameters
        if parameters is None or parameters.inputVolume is None:
            return
        readiness = self.panel.readiness
        if self.computing or not self.panel.idle or (self.panel.logic.engine.busy and not readiness.checking):
            self._wanted = True
            return
        readiness.drop()  # who waits there says so now, not after the next line
        self.computing, self._wanted = True, False
        self.panel.showStatus(_("Computing the preview…"))
        self.update()
        readiness.ensure(parameters.prior, self._compute, self._failed, install=True, onCancelled=self._displaced)

    def interrupt(self, then: Callable[[], None]) -> None:
        """Stop computing a preview, then go on with something more important."""
        self._settle.stop()
        self._wanted = False
        if not self.computing:
            then()
            return
        self._then = then
        if self.panel.readiness.checking:
            self.panel.readiness.drop()
        else:
            self.panel.logic.cancel()

    def clear(self) -> None:
        """Take the preview away."""
        self._settle.stop()
        self.removeObservers()
        self.preview.clear()
        self._shownFor = None
        self.ui.previewButton.checked = False

    def update(self) -> None:
        """Enable the widgets and tell what they do."""
        parameters = self.panel.parameters
        possible = parameters is not None and parameters.inputVolume is not None and self.panel.idle
        self.ui.previewButton.enabled = possible and not self.computing
        self.ui.livePreviewCheckBox.enabled = possible
        self.ui.previewButton.checked = self.preview.shown is not None or self.computing

    def _key(self) -> Any:
        parameters = self.panel.parameters
        if parameters is None:
            return None
        chosen = vars(options(parameters))
        return (
            parameters.inputVolume,
            {name: value for name, value in chosen.items() if name != "strength"},
            self.preview.p,
        )

    def _compute(self) -> None:
        parameters = self.panel.parameters
        if parameters is None or self._then is not None:
            self._finish()
            return
        key = self._key()

        def done(reply: dict[str, Any]) -> None:
            self._shownFor = key
            self._watchViews()
            self.panel.showStatus(_("Preview of one slice in {seconds:.1f} s.").format(seconds=reply["seconds"]))
            self._finish()

        self.preview.set_strength(parameters.strength / 100)
        try:
            self.preview.request(
                parameters.inputVolume,
                options(parameters),
                done,
                self._failed,
                self._cancelled,
                wanted=lambda: self._key() == key,
            )
        except (ValueError, EngineError) as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        self.panel.showStatus(f"⚠ {error}")
        self._wanted = False
        self._finish()

    def _cancelled(self) -> None:
        """By the user, or because the settings are others now: then «Live» asks anew."""
        self.panel.showStatus("")
        parameters = self.panel.parameters
        self._wanted = self._wanted or (parameters is not None and parameters.livePreview)
        self._finish()

    def _displaced(self) -> None:
        """Something else is to be done first: «Live» does not push in before it."""
        self.panel.showStatus("")
        self._wanted = False
        self._finish()

    def _finish(self) -> None:
        self.computing = False
        then, self._then = self._then, None
        self.update()
        if then is not None:
            then()
        elif self._wanted or self._stale():
            self._wanted = False
            self._settle.start()

    def _stale(self) -> bool:
        """Whether «Live» is on and the settings have moved on while the preview was computed."""
        parameters = self.panel.parameters
        shown = self.preview.shown is not None and parameters is not None and parameters.livePreview
        return shown and self._key() != self._shownFor

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
