"""Synchronized window and level of volumes that are viewed together."""

from __future__ import annotations

from typing import Any

import vtk


class SameWindow:
    """Applies a change of window or level of one of these volumes to all, until `stop()`.

    Slicer's window/level mouse tool changes only the topmost volume under the mouse, even an overlay.
    """

    def __init__(self, *nodes: Any) -> None:
        displays = [node.GetDisplayNode() for node in nodes if node is not None]
        self._seen = {display: _window(display) for display in displays if display is not None}
        self._observed = [(d, d.AddObserver(vtk.vtkCommand.ModifiedEvent, self._changed)) for d in self._seen]

    def stop(self) -> None:
        for display, tag in self._observed:
            display.RemoveObserver(tag)
        self._observed = []

    def _changed(self, display: Any, event: str) -> None:
        window = _window(display)
        if window == self._seen[display]:
            return
        self._seen = dict.fromkeys(self._seen, window)
        for other in self._seen:
            set_window(other, *window)


def set_window(display: Any, window: float, level: float) -> None:
    """Set window and level of a display node in a single modified event."""
    modifying = display.StartModify()  # an event between the two would report the previous window as a new one
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(window, level)
    display.EndModify(modifying)


def _window(display: Any) -> tuple[float, float]:
    return display.GetWindow(), display.GetLevel()
