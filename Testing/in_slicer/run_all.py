"""In Slicer, from a clone, without a build: the module's self test and the test that opens its panel.

Slicer --testing --no-splash --additional-module-paths BioAttDenoise --python-script Testing/in_slicer/run_all.py
"""

import runpy
import traceback
from pathlib import Path

import slicer

try:
    slicer.selfTests["BioAttDenoise"]()
    runpy.run_path(str(Path(__file__).with_name("BioAttDenoiseOpenPanel.py")))
except BaseException:
    traceback.print_exc()
    slicer.util.exit(1)
else:
    slicer.util.exit(0)
