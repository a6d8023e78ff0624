"""The pictures of Docs/tutorial.md, of the sample scan with the real engine.

python Testing/screenshots/tutorial.py [OUT]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import slicer
from PIL import Image
from window import ROOT, open_module, save, wait, window_picture

IMAGES = ROOT / "Docs" / "images"
HEIGHT = 770


def main(folder: Path) -> None:
    manager = slicer.app.layoutManager()
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    red = manager.sliceWidget("Red")
    for view in (red, manager.sliceWidget("Yellow")):
        view.render()  # a view draws the legends and outlines that come after it
    widget = open_module()
    panel, logic = widget.self().panel, widget.self().logic
    sections = {type(section).__name__: section for section in panel.sections}
    compare, organs = sections["CompareSection"], sections["OrgansSection"]
    folded = [panel.ui.inputsCollapsibleButton, panel.ui.denoisingCollapsibleButton, panel.ui.resultCollapsibleButton]

    def take(name: str, views: list[tuple[Any, str]]) -> None:
        wait(lambda: not logic.jobs.busy)
        picture = window_picture(widget, views, height=HEIGHT, view_width=420)
        save(picture, f"tutorial_{name}.png", folder)
        path = folder / f"tutorial_{name}.png"
        Image.open(path).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)

    take("empty", [(red, "")])
    panel.ui.sampleButton.click()
    wait(lambda: panel.parameters.inputVolume is not None)
    red.sliceLogic().FitSliceToBackground()
    red.sliceLogic().SetSliceOffset(88)
    panel.ui.previewButton.click()
    wait(lambda: panel.live.preview.shown is not None and not logic.jobs.busy)
    take("preview", [(red, "Preview")])
    panel.ui.denoiseButton.click()
    wait(lambda: panel.lastResult is not None and not logic.jobs.busy)
    take("denoised", [(red, "Denoised")])
    for button in folded:
        button.collapsed = True
    compare.ui.compareCollapsibleButton.collapsed = False
    compare.ui.swipeButton.click()
    view = manager.sliceWidget("BioAttInput")
    view.resize(420, HEIGHT)
    view.sliceLogic().FitSliceToBackground()
    view.sliceLogic().SetSliceOffset(88)
    take("compare", [(view, "Input | denoised")])
    compare.ui.swipeButton.click()
    compare.ui.compareCollapsibleButton.collapsed = True
    organs.ui.organsCollapsibleButton.collapsed = False
    organs.ui.measureOrgansButton.click()
    wait(lambda: organs.organs.rows and not logic.jobs.busy)
    names = [row["organ"] for row in organs.organs.rows]
    organs.ui.organsTable.selectRow(names.index("liver"))
    organs.ui.organViewComboBox.currentIndex = 1
    wait(lambda: not logic.jobs.busy)
    red.resize(420, HEIGHT)
    red.sliceLogic().FitSliceToBackground()
    red.sliceLogic().SetSliceOffset(88)
    take("organs", [(red, "Organ map of the liver")])
    widget.self().cleanup()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES)
