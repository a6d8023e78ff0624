"""3D Slicer module BioAttDenoise: registration and the four classes Slicer looks for. What they do is in BioAttDenoiseLib."""

import sys

import slicer
from BioAttDenoiseLib.logic import DenoiseLogic
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)


class BioAttDenoise(ScriptedLoadableModule):
    """The module as Slicer lists it."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("BioAtt Denoise")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Filtering.Denoising")]
        self.parent.dependencies = []
        self.parent.contributors = ["The BioAttDenoise contributors"]
        self.parent.helpText = _(
            "Removes noise from low-dose CT with a network that is told which anatomy each slice shows. "
            "Choose a CT volume and press Denoise; the original is never changed. For research use only."
        )
        self.parent.acknowledgementText = _(
            "Implements Kim et al., «BioAtt: Anatomical Prior Driven Low-Dose CT Denoising», with weights trained by this project."
        )


class BioAttDenoiseWidget(ScriptedLoadableModuleWidget):
    """The panel."""

    def __init__(self, parent=None):
        self.panel = self.logic = None
        ScriptedLoadableModuleWidget.__init__(self, parent)

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        from BioAttDenoiseLib.panel import Panel

        self.logic = BioAttDenoiseLogic()
        self.panel = Panel(self.layout, self.logic, self.resourcePath, lambda: bool(getattr(self.parent, "isEntered", True)))
        self.ui = self.panel.ui

    def enter(self):
        self.panel.enter()

    def exit(self):
        self.panel.exit()

    def cleanup(self):
        if self.panel is not None:
            self.panel.cleanup()

    def onReload(self):
        for name in [name for name in sys.modules if name.split(".")[0] == "BioAttDenoiseLib"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)


class BioAttDenoiseLogic(DenoiseLogic, ScriptedLoadableModuleLogic):
    """Denoising from Python: see BioAttDenoiseLib.logic."""

    def getParameterNode(self):
        from BioAttDenoiseLib.parameters import BioAttDenoiseParameterNode

        return BioAttDenoiseParameterNode(super().getParameterNode())


class BioAttDenoiseTest(ScriptedLoadableModuleTest):
    """What can be tested in any Slicer: offline, without torch, without installing anything."""

    def setUp(self):
        slicer.mrmlScene.Clear()
