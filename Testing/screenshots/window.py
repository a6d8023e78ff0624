"""A picture of the module next to its slice views, arranged as in Slicer's window. Runs on the headless Slicer of
Testing/slicer_runtime.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Testing"))

import slicer_runtime  # noqa: E402

slicer_runtime.start()

import qt  # noqa: E402
import slicer  # noqa: E402

SCREENSHOTS = ROOT / "Resources" / "Screenshots"
PANEL_WIDTH, VIEW_WIDTH, HEIGHT = 420, 520, 730
BAR = 22


def open_module() -> Any:
    """The module's widget on screen, with the engine of this source tree."""
    module = slicer_runtime.load_module(ROOT / "BioAttDenoise" / "BioAttDenoise.py")
    from BioAttDenoiseLib.engine.settings import set_models_folder

    set_models_folder(Path("~/BioAtt models"))  # keeps this machine's folders out of the pictures
    widget = module.widgetRepresentation()
    widget.self().logic.python = sys.executable
    widget.resize(PANEL_WIDTH, HEIGHT)
    widget.show()
    widget.enter()
    wait(lambda: not widget.self().logic.jobs.busy)
    return widget


def wait(condition: Callable[[], Any], seconds: float = 600) -> None:
    """Run the event loop until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the engine did not answer")
        slicer.app.processEvents()
        time.sleep(0.005)
    for _ in range(5):
        slicer.app.processEvents()


def view_picture(view: Any, width: int, height: int, title: str) -> Any:
    """One slice view with its controller bar (QImage)."""
    node = view.mrmlSliceNode()
    view.resize(width, height - BAR)
    pixels = view.render()[..., :3].copy()
    picture = qt.QImage(width, height, qt.QImage.Format_RGB32)
    painter = qt.QPainter(picture)
    red, green, blue = node.GetLayoutColor()
    painter.fillRect(0, 0, width, BAR, qt.QColor.fromRgbF(red, green, blue))
    painter.setPen(qt.QColor("#202020"))
    painter.drawText(qt.QRect(6, 0, width - 12, BAR), int(qt.Qt.AlignVCenter | qt.Qt.AlignLeft), node.GetLayoutLabel())
    offset = f"S: {view.sliceLogic().GetSliceOffset():.1f} mm"
    painter.drawText(qt.QRect(6, 0, width - 12, BAR), int(qt.Qt.AlignVCenter | qt.Qt.AlignRight), offset)
    image = qt.QImage(pixels.data, width, height - BAR, 3 * width, qt.QImage.Format_RGB888)
    painter.drawImage(0, BAR, image)
    painter.setPen(qt.QColor("#e8e8e8"))
    painter.drawText(qt.QRect(8, BAR, width - 16, height - BAR - 6), int(qt.Qt.AlignBottom | qt.Qt.AlignLeft), title)
    painter.end()
    return picture


def fit(view: Any, width: int, height: int) -> None:
    """Fit a view's whole volume to the size that `view_picture` draws, keeping the current slice."""
    offset = view.sliceLogic().GetSliceOffset()
    view.resize(width, height - BAR)
    view.sliceLogic().FitSliceToBackground()
    view.sliceLogic().SetSliceOffset(offset)


def window_picture(panel: Any, views: list[tuple[Any, str]], height: int = HEIGHT, view_width: int = VIEW_WIDTH) -> Any:
    """The panel on the left, then the views side by side (QImage)."""
    panel.resize(PANEL_WIDTH, height)
    for _ in range(5):
        slicer.app.processEvents()
    picture = qt.QImage(PANEL_WIDTH + len(views) * (view_width + 2), height, qt.QImage.Format_RGB32)
    picture.fill(qt.QColor("#303030"))
    painter = qt.QPainter(picture)
    painter.drawPixmap(0, 0, panel.grab())
    for index, (view, title) in enumerate(views):
        painter.drawImage(PANEL_WIDTH + 2 + index * (view_width + 2), 0, view_picture(view, view_width, height, title))
    painter.end()
    return picture


def save(picture: Any, name: str, folder: Path = SCREENSHOTS) -> None:
    """Write a PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    if not picture.save(str(folder / name)):
        raise OSError(f"{name} cannot be written")
    print(folder / name)
