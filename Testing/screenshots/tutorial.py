"""Takes the pictures of Docs/tutorial.md, with the sample scan and the real engine.

python Testing/screenshots/tutorial.py [OUT]
"""

from __future__ import annotations

import sys
from pathlib import Path

import slicer
from PIL import Image
from story import tell
from window import ROOT, fit, open_module, save, wait, window_picture

IMAGES = ROOT / "Docs" / "images"
WIDTH, HEIGHT = 420, 680


def main(folder: Path) -> None:
    manager = slicer.app.layoutManager()
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    manager.sliceWidget("Red").render()  # from then on, the view draws new legends and outlines
    widget = open_module()

    def take(name: str, view: str, title: str) -> None:
        fit(manager.sliceWidget(view), WIDTH, HEIGHT)
        picture = window_picture(widget, [(manager.sliceWidget(view), title)], height=HEIGHT, view_width=WIDTH)
        save(picture, f"tutorial_{name}.png", folder)
        path = folder / f"tutorial_{name}.png"
        Image.open(path).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)

    tell(widget, take, wait)
    widget.self().cleanup()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES)
