"""The panel next to the slice views, with the simulated torso of `bioatt demo`.

bioatt demo CASE --slices 14 && python Testing/screenshots/panel.py CASE [OUT]
"""

from __future__ import annotations

import sys
from pathlib import Path

import slicer
from PIL import Image
from window import HEIGHT, SCREENSHOTS, VIEW_WIDTH, fit, open_module, save, wait, window_picture

WINDOW, LEVEL = 350, 50


def main(case: Path, folder: Path) -> None:
    node = slicer.util.loadVolume(str(case / "low.nrrd"), {"name": "2: Abdomen 25 % dose"})
    display = node.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(WINDOW, LEVEL)
    layout = slicer.app.layoutManager()
    layout.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutSideBySideView)
    red, yellow = layout.sliceWidget("Red"), layout.sliceWidget("Yellow")
    offset = slice_offset(node, 0.30)
    for view in (red, yellow):
        view.mrmlSliceNode().SetOrientation("Axial")
        view.mrmlSliceCompositeNode().SetBackgroundVolumeID(node.GetID())
        view.sliceLogic().SetSliceOffset(offset)
        fit(view, VIEW_WIDTH, HEIGHT)
    panel = open_module()
    python = panel.self()
    ui = python.ui

    ui.mediumButton.click()
    wait(lambda: not python.logic.jobs.busy)
    ui.denoiseButton.click()
    wait(lambda: python.panel.lastResult)
    wait(lambda: not python.logic.jobs.busy)
    yellow.mrmlSliceCompositeNode().SetBackgroundVolumeID(python.panel.lastResult.volume.GetID())
    red.mrmlSliceCompositeNode().SetBackgroundVolumeID(node.GetID())
    save(window_picture(panel, [(red, "25 % dose"), (yellow, "25 % dose, denoised")]), "panel.png", folder)
    path = folder / "panel.png"
    Image.open(path).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
    python.cleanup()


def slice_offset(node, fraction: float) -> float:
    """Height in mm of the slice at this fraction of the scan, from feet to head."""
    bounds = [0.0] * 6
    node.GetRASBounds(bounds)
    spacing = node.GetSpacing()[2]
    index = round(fraction * (bounds[5] - bounds[4]) / spacing)
    return bounds[4] + (index + 0.5) * spacing


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else SCREENSHOTS)
