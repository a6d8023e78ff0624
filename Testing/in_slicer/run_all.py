"""In Slicer, from a clone, without a build: runs the module's self test, the test that opens its panel and, if Slicer
was given its folder, that of the command-line module.

Slicer --testing --no-splash --additional-module-paths BioAttDenoise BioAttDenoise/BioAttDenoiseCLI \
    --python-script Testing/in_slicer/run_all.py
"""

import runpy
import traceback
from pathlib import Path

import slicer

try:
    slicer.selfTests["BioAttDenoise"]()
    runpy.run_path(str(Path(__file__).with_name("BioAttDenoiseOpenPanel.py")))
    if hasattr(slicer.modules, "bioattdenoisecli"):
        runpy.run_path(str(Path(__file__).with_name("BioAttDenoiseCommandLine.py")))
except BaseException:
    traceback.print_exc()
    slicer.util.exit(1)
else:
    slicer.util.exit(0)
