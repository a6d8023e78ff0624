"""The illustrated steps of Docs/tutorial.md, run on the headless Slicer by tutorial.py and in Slicer by
Testing/in_slicer/tutorial.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer

SLICE_MM = 9.1
"""A slice in the middle of the sample."""
Take = Callable[[str, str, str], None]
"""take(name, view, title) takes the picture of a step: the panel beside a slice view."""


def tell(widget: Any, take: Take, wait: Callable[[Callable[[], Any]], None]) -> None:
    """Press the buttons in the tutorial's order. wait(condition) runs the event loop until the condition holds."""
    panel, logic, ui = widget.self().panel, widget.self().logic, widget.self().ui
    sections = {type(section).__name__: section for section in panel.sections}
    compare, organs = sections["CompareSection"].ui, sections["OrgansSection"]

    def at_rest() -> None:
        wait(lambda: not logic.jobs.busy)

    def show(view: str) -> None:
        logic_of_view = slicer.app.layoutManager().sliceWidget(view).sliceLogic()
        logic_of_view.FitSliceToBackground()
        logic_of_view.SetSliceOffset(SLICE_MM)

    at_rest()
    take("empty", "Red", "")
    ui.sampleButton.click()
    wait(lambda: panel.parameters.inputVolume is not None)
    show("Red")
    ui.mediumButton.click()
    at_rest()
    ui.previewButton.click()
    wait(lambda: panel.live.preview.shown is not None)
    at_rest()
    take("preview", "Red", "Preview")
    ui.denoiseButton.click()
    wait(lambda: panel.lastResult is not None)
    at_rest()
    take("denoised", "Red", "Denoised")
    for button in (ui.inputsCollapsibleButton, ui.resultCollapsibleButton):
        button.collapsed = True
    ui.compareCollapsibleButton.collapsed = False
    compare.swipeButton.click()
    show("BioAttInput")
    take("compare", "BioAttInput", "Input | denoised")
    compare.swipeButton.click()
    ui.compareCollapsibleButton.collapsed = True
    ui.anatomyCollapsibleButton.collapsed = False
    organs.ui.measureOrgansButton.click()
    wait(lambda: organs.organs.rows)
    at_rest()
    names = [row["organ"] for row in organs.organs.rows]
    organs.ui.organsTable.selectRow(names.index("liver"))
    organs.ui.organViewComboBox.currentIndex = 1
    at_rest()
    show("Red")
    take("organs", "Red", "Organ map of the liver")
