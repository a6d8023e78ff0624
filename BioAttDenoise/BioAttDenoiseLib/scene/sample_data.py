"""A scan to try the module on, without network: a simulated torso at a quarter of the dose, shipped with the module.

`Testing/screenshots/make_sample.py` makes it, of a phantom that no training has seen.
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
    """Load the sample and show it in the slice views; returns its volume node. source: what Slicer's sample data module
    passes.
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
    """Offer the sample in Slicer's module Sample Data; whether there is such a module."""
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
