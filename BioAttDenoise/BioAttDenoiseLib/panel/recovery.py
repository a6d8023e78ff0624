"""The buttons below an error message: try again, use smaller tiles, open the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..engine.errors import EngineError
from ..signals import connect

MEMORY_KINDS = ("memory", "killed")
"""Kinds of errors that smaller tiles may avoid."""
FIRST_TILE, SMALLEST_TILE = 512, 128


class Recovery:
    """Owns the buttons. showLog() shows the engine's log."""

    def __init__(self, panel: Any, showLog: Callable[[], None]) -> None:
        self.panel, self.ui = panel, panel.ui
        self._again: Callable[[], None] = lambda: None
        connect(self.ui.tryAgainButton, "clicked(bool)", lambda checked: self.onTryAgain())
        connect(self.ui.smallerTilesButton, "clicked(bool)", lambda checked: self.onSmallerTiles())
        connect(self.ui.showLogButton, "clicked(bool)", lambda checked: showLog())

    def offer(self, error: Exception, again: Callable[[], None]) -> None:
        """Show the remedies for an engine error; an unusable input has none but another input."""
        self.clear()
        if not isinstance(error, EngineError) or error.kind in ("input", "cancelled"):
            return
        self._again = again
        self.ui.failureWidget.visible = True
        self.ui.smallerTilesButton.visible = error.kind in MEMORY_KINDS and self._smaller() is not None

    def clear(self) -> None:
        """Hide the buttons: the error is resolved, or another action has started."""
        self.ui.failureWidget.visible = False
        self._again = lambda: None

    def onTryAgain(self) -> None:
        again = self._again
        self.clear()
        again()

    def onSmallerTiles(self) -> None:
        size = self._smaller()
        if self.panel.parameters is not None and size is not None:
            self.panel.parameters.tileSize = size
        self.onTryAgain()

    def _smaller(self) -> int | None:
        """The next smaller tile size in pixels; None if it is the smallest."""
        now = self.panel.parameters.tileSize if self.panel.parameters is not None else SMALLEST_TILE
        smaller = now // 2 if now else FIRST_TILE
        return smaller if smaller >= SMALLEST_TILE else None
