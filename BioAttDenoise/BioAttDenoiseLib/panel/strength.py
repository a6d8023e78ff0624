"""Low, Medium and High next to the slider: each is the strength that removes a given share of the scan's noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _

from bioatt.core.strength import LEVELS

from ..engine import requests
from ..engine.job import Kind
from ..engine.options import options_of, unblended
from ..scene import volumes
from ..signals import connect


class StrengthControl:
    """Owns the buttons and the note below the slider. Selecting a level moves the slider to its strength for the scan
    once the engine has measured the noise; moving the slider by hand clears the level.
    """

    def __init__(self, panel: Any) -> None:
        self.panel, self.ui = panel, panel.ui
        self.buttons = dict(zip(LEVELS, (self.ui.lowButton, self.ui.mediumButton, self.ui.highButton), strict=True))
        self._measured: tuple[Any, dict[str, Any]] | None = None
        self._failed: Any = None
        self._percent = 0.0
        self._soon = qt.QTimer()
        self._soon.setSingleShot(True)
        self._soon.setInterval(0)
        connect(self._soon, "timeout()", lambda: self.measure(asked=False))
        for level, button in self.buttons.items():
            connect(button, "clicked(bool)", lambda checked, level=level: self.onLevel(level))

    @property
    def number(self) -> float:
        """The strength of a preview, 0 … 1: exactly what a run with these settings applies, if known."""
        parameters, reply = self.panel.parameters, self._reply()
        if reply is not None and parameters.strengthLevel:
            return float(reply["levels"][parameters.strengthLevel])
        return parameters.strength / 100

    def onLevel(self, level: str) -> None:
        parameters = self.panel.parameters
        if parameters is not None:
            self._percent, self._failed = parameters.strength, None
            parameters.strengthLevel = level
            self.measure()
        self.update()

    def setParameters(self, parameters: Any) -> None:
        """Bind to another scene's parameters, or none."""
        if parameters is not None:
            self._percent = parameters.strength

    def parametersChanged(self) -> None:
        """Clear the level when the slider is moved by hand."""
        parameters = self.panel.parameters
        if slicer.mrmlScene.IsBatchProcessing():  # parameters are being loaded from a scene
            return
        if parameters.strength != self._percent:
            self._percent = parameters.strength
            parameters.strengthLevel = ""
        self._show()

    def resultArrived(self, result: Any) -> None:
        """Show the strength that was applied."""
        parameters = self.panel.parameters
        if parameters is not None and parameters.strengthLevel == result.strength_asked != "":
            self._slide(result.strength)

    def update(self) -> None:
        """Show the level and its effect; measure the noise if a level is selected and the noise is unknown."""
        parameters, key = self.panel.parameters, self._key()
        level = parameters.strengthLevel if parameters is not None else ""
        for name, button in self.buttons.items():
            button.checked = name == level
        text = self._note()
        self.ui.strengthNoteLabel.text = text
        self.ui.strengthNoteLabel.visible = bool(text)
        unknown = level and key is not None and self._reply() is None and key != self._failed
        if unknown and self.panel.readiness.devices and self.panel.idle and not self.panel.logic.jobs.busy:
            self._soon.start()

    def measure(self, asked: bool = True) -> None:
        """Have the engine resolve the levels for the scan. asked: the user requested it, so show errors and offer to
        install missing packages.
        """
        key, logic = self._key(), self.panel.logic
        if key is None or self._reply() is not None or not self.panel.idle or self._measuring:
            return
        node, options = self.panel.parameters.inputVolume, options_of(self.panel.parameters)

        def done(reply: dict[str, Any]) -> None:
            self._measured = key, reply
            if self.panel.parameters is not None:
                self._show()
                self.panel.live.parametersChanged()

        def failed(error: Exception) -> None:
            self._failed = key
            if asked:
                self.panel.fail(error, self._again)

        def ask() -> None:
            logic.submit(Kind.STRENGTH, requests.strength(node, options), on_result=done, on_error=failed)

        logic.ensure(Kind.STRENGTH, options.prior, ask, failed, install=asked)

    @property
    def _measuring(self) -> bool:
        return self.panel.logic.jobs.find(Kind.STRENGTH) is not None

    def _again(self) -> None:
        self._failed = None
        self.measure()

    def _show(self) -> None:
        """Move the slider to the level's strength, if known."""
        reply, level = self._reply(), self.panel.parameters.strengthLevel
        if reply is not None and level:
            self._slide(reply["levels"][level])

    def _slide(self, strength: float) -> None:
        self._percent = float(round(100 * strength))  # rounded like the slider, which would otherwise report a change
        self.panel.parameters.strength = self._percent

    def _key(self) -> Any:
        """The settings that the measured noise depends on; None if there is nothing to measure."""
        parameters = self.panel.parameters
        node = parameters.inputVolume if parameters is not None else None
        if volumes.problem(node):
            return None
        return node, node.GetImageData().GetMTime(), unblended(options_of(parameters))

    def _reply(self) -> dict[str, Any] | None:
        return self._measured[1] if self._measured is not None and self._measured[0] == self._key() else None

    def _note(self) -> str:
        if self._measuring:
            return _("Measuring the noise of this scan…")
        reply = self._reply()
        if reply is None:
            return ""
        if reply["removed"] is None:
            return _("Cannot measure noise: the scan shows no soft tissue. Set the strength by hand.")
        removed = float(np.interp(self.number, np.linspace(0, 1, len(reply["removed"])), reply["removed"]))
        text = _("Noise in soft tissue: {before:.1f} → {after:.1f} HU")
        return text.format(before=reply["noise"], after=reply["noise"] * (1 - removed))
