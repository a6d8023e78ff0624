"""Base class of the panel's sections, such as attention and comparison."""

from __future__ import annotations

from typing import Any

import slicer


class Section:
    """Loads `uiFile` into the panel's widget `place`. Widgets with a SlicerParameterName are bound to the panel's
    parameter node.

    panel gives `logic`, `parameters` (None while a scene closes), `resourcePath(name)`, `lastResult` and
    `showStatus(text)`.
    """

    uiFile = ""
    place = ""

    def __init__(self, panel: Any) -> None:
        self.panel = panel
        self.widget = slicer.util.loadUI(panel.resourcePath(f"UI/{self.uiFile}"))
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self.widget.setMRMLScene(slicer.mrmlScene)
        getattr(panel.ui, self.place).layout().addWidget(self.widget)
        self._bound: Any = None
        self._guiTag: Any = None
        self.setup()

    def setup(self) -> None:
        """Connect the widgets."""

    def update(self) -> None:
        """A parameter or the engine's state has changed."""

    def resultArrived(self, result: Any) -> None:
        """Denoising has succeeded (a DenoiseResult)."""

    def mapsArrived(self) -> None:
        """Attention maps were computed."""

    def denoiseOptions(self) -> dict[str, Any]:
        """Additional arguments for `denoiseAsync`."""
        return {}

    def cleanup(self) -> None:
        """The panel is closed."""

    def connectParameters(self, parameters: Any) -> None:
        """Bind the widgets to a parameter node, or release them with None."""
        if self._guiTag is not None:
            self._bound.disconnectGui(self._guiTag)
            self._guiTag = None
        if parameters is not None:
            self._bound, self._guiTag = parameters, parameters.connectGui(self.ui)
