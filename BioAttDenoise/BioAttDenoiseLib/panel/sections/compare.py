"""The section "Compare": layouts, swipe, flicker, windows, the difference, the structure check and the figure."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ...inspection import capture
from ...inspection.comparison import PRESETS
from ...inspection.inspection import inspection_of
from ...scene import layouts, slice_views, volumes
from ...scene.windows import set_window
from ...signals import connect
from .. import results
from .section import Section

FLICKER_KEY = "Ctrl+Shift+X"
SWIPE, SPYGLASS = "swipe", "spyglass"


class CompareSection(Section):
    """See the module's docstring."""

    uiFile = "BioAttDenoiseCompare.ui"
    place = "compareCollapsibleButton"

    def setup(self) -> None:
        self.inspection = inspection_of(self.panel)
        self.comparison.onChanged = self.update
        self.mode: str | None = None
        self._checked: Any = None
        self._forget()
        ui = self.ui
        self.buttons = {
            layouts.SIDE_BY_SIDE: ui.sideBySideButton,
            layouts.GRID: ui.gridButton,
            SWIPE: ui.swipeButton,
            SPYGLASS: ui.spyglassButton,
        }
        for mode, button in self.buttons.items():
            connect(button, "clicked(bool)", lambda checked, m=mode: self.onMode(m if checked else None))
        for name, button in zip(
            PRESETS, (ui.softButton, ui.lungButton, ui.boneButton, ui.brainButton, ui.liverButton), strict=True
        ):
            connect(button, "clicked(bool)", lambda checked, n=name: self.onPreset(n))
        connect(ui.swipeSlider, "valueChanged(double)", lambda value: self.comparison.reveal.swipeTo(value / 100))
        connect(ui.rangeSpinBox, "valueChanged(double)", self.comparison.setRange)
        connect(ui.flickerButton, "clicked(bool)", lambda checked: self.comparison.flicker())
        connect(ui.autoFlickerCheckBox, "toggled(bool)", self.comparison.setFlickering)
        connect(ui.structureCheckButton, "clicked(bool)", lambda checked: self.onStructureCheck())
        connect(ui.structureJumpButton, "clicked(bool)", lambda checked: self.onJump())
        connect(ui.captureButton, "clicked(bool)", lambda checked: self.onCapture())
        window = slicer.util.mainWindow() if slicer.app.layoutManager() is not None else None
        self.shortcut = qt.QShortcut(qt.QKeySequence(FLICKER_KEY), window or self.widget)
        connect(self.shortcut, "activated()", self.comparison.flicker)
        self.update()

    @property
    def comparison(self) -> Any:
        return self.inspection.comparison

    def pair(self) -> tuple[Any, Any]:
        """The selected output, and the input it was made from (or the selected one)."""
        parameters = self.panel.parameters
        if parameters is None:
            return None, None
        after = parameters.outputVolume
        made_from = after.GetNodeReference(volumes.INPUT_ROLE) if after is not None else None
        return made_from or parameters.inputVolume, after

    def update(self) -> None:
        before, after = self.pair()
        possible = slice_views.same_grid(before, after)
        if self._checked not in (None, volumes.voxels_of(before, after)):
            self._forget()
        if not self.comparison.active:
            self.mode = None
        for mode, button in self.buttons.items():
            button.enabled = possible
            button.checked = mode == self.mode
        ui = self.ui
        ui.swipeSlider.enabled = self.mode == SWIPE
        comparing = self.comparison.active and self.mode is not None
        for widget in (ui.flickerButton, ui.autoFlickerCheckBox, ui.captureButton):
            widget.enabled = comparing
        self.shortcut.enabled = comparing
        ui.structureCheckButton.enabled = possible
        ui.compareHintLabel.visible = not possible
        ui.structureJumpButton.visible = self.inspection.structure_check.worst() is not None

    def mapsArrived(self) -> None:
        """Add the attention view to the grid."""
        if self.comparison.active and self.comparison.layouts.kind == layouts.TRIPLE:
            self.onMode(layouts.GRID)

    def resultArrived(self, result: Any) -> None:
        self._forget()
        if self.comparison.active and self.mode is not None:
            self.onMode(self.mode)  # the same comparison for the new output
        self.update()

    def cleanup(self) -> None:
        self.shortcut.enabled = False
        self.comparison.leave()

    def connectParameters(self, parameters: Any) -> None:
        super().connectParameters(parameters)
        if parameters is None or not self.comparison.layouts.on_screen:  # a loaded scene brought its own layout
            self.comparison.leave()

    # --- the views

    def onMode(self, mode: str | None) -> None:
        """Enter a comparison mode, or leave with None."""
        self.ui.autoFlickerCheckBox.checked = False
        self.panel.showStatus("")
        if mode is None:
            self.comparison.leave()
        else:
            self.panel.live.clear()
            kind = layouts.SINGLE if mode in (SWIPE, SPYGLASS) else mode
            if kind == layouts.GRID and self.inspection.overlay.maps is None:
                kind = layouts.TRIPLE
            before, after = self.pair()
            try:
                self.comparison.start(before, after, kind, charts=self.comparison.layouts.charts)
            except (ValueError, RuntimeError) as error:
                self.panel.showStatus(f"⚠ {error}")
                mode = None
        self.mode = mode
        if mode in (SWIPE, SPYGLASS):
            self.comparison.reveal.fraction = self.ui.swipeSlider.value / 100
            view = self.comparison.layouts.views()[layouts.INPUT]
            self.comparison.reveal.start(self.comparison.before, self.comparison.after, view, follow=mode == SPYGLASS)
        self._mark()
        for section in self.panel.sections:
            section.update()
            if hasattr(section, "onShow") and self.inspection.overlay.shown is not None:
                section.onShow()  # the overlay moves to its view in the layout

    def onPreset(self, name: str) -> None:
        """Set window/level of input and output, whether they are compared or not."""
        for node in self.pair():
            if node is not None and node.GetDisplayNode() is not None:
                set_window(node.GetDisplayNode(), *PRESETS[name])

    # --- the structure check

    def onStructureCheck(self) -> None:
        """Search, or stop."""
        self.panel.showStatus("")
        check = self.inspection.structure_check
        if check.running:
            check.stop()
            self._searched(_("Stopped."))
            return
        try:
            check.start(*self.pair(), self._found, self._progress)
        except ValueError as error:
            self.panel.showStatus(f"⚠ {error}")
            return
        self._checked = volumes.voxels_of(*self.pair())
        self.ui.structureCheckButton.text = _("Stop")

    def _progress(self, fraction: float) -> None:
        self._say(_("Structure check: {percent:.0f} %").format(percent=100 * fraction))

    def _found(self) -> None:
        found = self.inspection.structure_check.found
        if found is not None and found.alarm:
            slices = results.slices(int(found.marks.any(axis=(1, 2)).sum()))
            text = _("⚠ Structure was removed in {slices} (peak z-score {peak:.1f}, threshold {threshold:.1f}).")
            text = text.format(slices=slices, peak=float(found.significance.max()), threshold=found.threshold)
        else:
            text = _("The structure check found no removed structures.")
        self._searched(text)
        self._mark()

    def _forget(self) -> None:
        """Reset progress, findings and marks: nothing was searched yet, or another pair was selected."""
        self.inspection.structure_check.stop()
        self.inspection.structure_check.forget()
        self._checked = None
        self._say("")
        self.ui.structureCheckButton.text = _("Structure check")

    def _say(self, text: str) -> None:
        self.ui.structureCheckLabel.text = text
        self.ui.structureCheckLabel.visible = bool(text)

    def _searched(self, text: str) -> None:
        self._say(text)
        self.ui.structureCheckButton.text = _("Structure check")
        self.update()

    def _mark(self) -> None:
        """Outline the findings in the difference view, else in every view of the comparison."""
        if self.inspection.structure_check.node is None or not self.comparison.active:
            return
        own = self.comparison.composite(layouts.DIFFERENCE)
        names = self.comparison.layouts.views()
        self.inspection.structure_check.show(
            [own] if own is not None else [self.comparison.composite(name) for name in names]
        )

    def onJump(self) -> None:
        """Jump to the strongest mark."""
        place = self.inspection.structure_check.worst()
        if place is not None:
            for view in slice_views.on_screen():
                view.JumpSliceByOffsetting(*place)

    # --- the figure

    def onCapture(self) -> None:
        """Ask for a file and write the figure."""
        name = f"{self.comparison.after.GetName()}.png"
        path = qt.QFileDialog.getSaveFileName(self.widget, _("Save figure"), name, "PNG (*.png);;PDF (*.pdf)")
        path = path[0] if isinstance(path, tuple) else path
        if path:
            self.writeFigure(path)

    def writeFigure(self, path: str) -> None:
        """Write the comparison on screen as .png or .pdf."""
        shown, attention = self.inspection.overlay.shown, ""
        if shown is not None:
            attention = _("{name}, stage {stage}, {view}, 0 to 1").format(name=shown[1], stage=shown[0], view=shown[2])
        footer = capture.settings_line(self.comparison.after)
        try:
            capture.write_figure(path, capture.figure(capture.panels(self.comparison, attention), footer))
        except (OSError, ValueError) as error:
            text = getattr(error, "strerror", None) or str(error)
            self.panel.showStatus(_("⚠ Could not write the figure: {text}").format(text=text))
            return
        self.panel.showStatus(_("Figure written."))
