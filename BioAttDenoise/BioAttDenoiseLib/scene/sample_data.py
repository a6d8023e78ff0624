"""A sample scan that needs no download: a simulated quarter-dose torso shipped with the module.

`Testing/screenshots/make_sample.py` generates it from a phantom not used in training.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

FOLDER = Path(__file__).resolve().parents[2] / "Resources" / "SampleData"
FILE = FOLDER / "QuarterDoseTorso.nrrd"
NODE_NAME = _("Quarter-dose torso")
WINDOW, LEVEL = 350, 50


def load(source: Any = None) -> Any:
    """Load the sample and show it in the slice views; returns its volume node. source: passed by Slicer's Sample Data
    module.
    """
    scene = slicer.mrmlScene
    name = scene.GenerateUniqueName(NODE_NAME) if scene.GetFirstNodeByName(NODE_NAME) else NODE_NAME
    node = slicer.util.loadVolume(str(FILE), {"name": name, "show": False})
    display = node.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(WINDOW, LEVEL)
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    return node


def register() -> bool:
    """Add the sample to Slicer's Sample Data module; whether that module exists."""
    try:
        from SampleData import SampleDataLogic
    except ImportError:
        return False
    SampleDataLogic.registerCustomSampleDataSource(
        category="BioAttDenoise",
        sampleName=_("Quarter-dose torso (simulated)"),
        thumbnailFileName=str(FILE.with_suffix(".png")),
        uris=FILE.as_uri(),
        fileNames=FILE.name,
        nodeNames=NODE_NAME,
        customDownloader=load,
    )
    return True
