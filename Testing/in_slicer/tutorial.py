"""In Slicer: takes the pictures of Docs/tutorial.md from the main window. Needs the packages that the engine needs.

Slicer --no-splash --additional-module-paths FOLDER_OF_THE_MODULE --python-script Testing/in_slicer/tutorial.py OUT
"""

import sys
import time
import traceback
from pathlib import Path

import slicer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "screenshots"))

from story import tell

PATIENCE_S = 600


def wait(condition):
    """Run the event loop until the condition holds and the views are drawn."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the engine did not answer")
        slicer.app.processEvents()
        time.sleep(0.01)
    slicer.util.forceRenderAllViews()
    slicer.app.processEvents()


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    slicer.util.mainWindow().resize(1500, 1000)
    slicer.util.selectModule("BioAttDenoise")

    def take(name, view, title):
        wait(lambda: True)
        if not slicer.util.mainWindow().grab().save(str(folder / f"tutorial_{name}.png")):
            raise OSError(f"no picture of {name} can be written")

    tell(slicer.modules.bioattdenoise.widgetRepresentation(), take, wait)


try:
    main(Path(sys.argv[-1]))
except BaseException:
    traceback.print_exc()
    slicer.util.exit(1)
else:
    slicer.util.exit(0)
