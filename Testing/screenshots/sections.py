"""Pictures of the panel with every section open, page by page, 340 and 500 px wide, light and dark, to check by eye.

python Testing/screenshots/sections.py FOLDER        # on a small synthetic volume, with the tests' stand-in engine
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import slicer
from window import ROOT, open_module, qt, save, wait

STAND_IN = ROOT / "Testing" / "module" / "stand_in_worker.py"
WIDTHS = (340, 500)
DARK = {"Window": "#353535", "WindowText": "#e0e0e0", "Base": "#2a2a2a", "AlternateBase": "#353535", "Text": "#e0e0e0",
        "Button": "#454545", "ButtonText": "#e0e0e0", "ToolTipBase": "#454545", "ToolTipText": "#e0e0e0",
        "Highlight": "#2a82da", "HighlightedText": "#ffffff", "Link": "#7ab8f5"}  # fmt: skip


def palette(dark: bool) -> qt.QPalette:
    """The palette of Slicer's dark or light style."""
    made = qt.QApplication.style().standardPalette()
    for role, color in DARK.items() if dark else ():
        made.setColor(getattr(qt.QPalette, role), qt.QColor(color))
        if role in ("WindowText", "Text", "ButtonText"):
            made.setColor(qt.QPalette.Disabled, getattr(qt.QPalette, role), qt.QColor("#808080"))
    return made


def make_ct(name: str) -> object:
    """Two cylinders in a body, with noise of 25 HU."""
    y, x = np.mgrid[-1:1:128j, -1:1:128j]
    slice_hu = np.where(np.hypot(x, y) < 0.8, 40.0, -1000.0)
    slice_hu[np.hypot(x + 0.3, y) < 0.25] = 110
    slice_hu[np.hypot(x - 0.4, y) < 0.2] = -850
    hu = slice_hu + np.random.default_rng(0).normal(0, 25, (24, 128, 128))
    matrix = np.diag([-2.5, -2.5, 5.0, 1.0])
    return slicer.util.addVolumeFromArray(hu.astype(np.int16), ijkToRAS=matrix, name=name)


def main(folder: Path) -> None:
    node = make_ct("2: Abdomen 25 % dose, B30f 3.0 mm")
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    panel = open_module()
    python = panel.self()
    python.logic.script = STAND_IN
    python.logic.shutdown()
    python.panel.parameters.model = "steady"
    ui = python.ui
    headers = ui.compareCollapsibleButton, ui.anatomyCollapsibleButton, ui.evaluationCollapsibleButton
    for header in (*headers, ui.advancedCollapsibleButton):
        header.collapsed = False
    ui.mediumButton.click()
    wait(lambda: not python.logic.jobs.busy)
    ui.denoiseButton.click()
    wait(lambda: python.panel.lastResult)
    for section in python.panel.sections:
        if hasattr(section, "onMeasure"):
            section.onMeasure()
            wait(lambda: not python.logic.jobs.busy)
    for dark in (False, True):
        qt.QApplication.setPalette(palette(dark))
        for width in WIDTHS:
            for page in range(ui.advancedTabs.count):
                for tabs in (ui.anatomyTabs, ui.evaluationTabs, ui.advancedTabs):
                    tabs.currentIndex = min(page, tabs.count - 1)
                panel.resize(width, 900)
                wait(lambda: True)
                height = max(panel.layout().totalHeightForWidth(width), panel.layout().totalMinimumSize().height())
                panel.resize(width, height)
                wait(lambda: True)
                print(width, "dark" if dark else "light", height, "px high")
                save(panel.grab().toImage(), f"page{page}_{width}_{'dark' if dark else 'light'}.png", folder)
    python.cleanup()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
