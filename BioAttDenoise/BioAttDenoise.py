"""3D Slicer module BioAttDenoise: the four classes Slicer looks for. The code is in BioAttDenoiseLib."""

import sys

import slicer
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

try:
    from slicer.i18n import tr as _
    from slicer.i18n import translate
except ImportError:  # Slicer too old: refused below, in English

    def _(text):
        return text

    def translate(context, text):
        return text


DOCUMENTATION = "https://github.com/BioAttDenoise/SlicerBioAttDenoise#readme"
REFUSAL = ""
"""Why the module cannot run in this Slicer; empty if it can."""

if sys.version_info >= (3, 11):  # noqa: UP036
    from BioAttDenoiseLib.logic import DenoiseLogic
else:  # the library's syntax is too new for this Python: do not import it
    REFUSAL = _(
        "BioAtt Denoise needs Slicer 5.10 or newer (this one runs Python {major}.{minor}). Install a newer Slicer."
    ).format(major=sys.version_info[0], minor=sys.version_info[1])

    class DenoiseLogic:
        """Stand-in that refuses to denoise."""

        def __init__(self):
            raise RuntimeError(REFUSAL)


class BioAttDenoise(ScriptedLoadableModule):
    """Module metadata for Slicer."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("BioAtt Denoise")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Filtering.Denoising")]
        self.parent.dependencies = []
        self.parent.contributors = ["The BioAttDenoise contributors"]
        self.parent.helpText = _(
            "Removes noise from low-dose CT with a network guided by the anatomy of each slice. "
            "Choose a CT volume and press Denoise; the original is never changed. For research use only."
        ) + _(' See the <a href="{url}">documentation</a>.').format(url=DOCUMENTATION)
        self.parent.acknowledgementText = _(
            'Implements Kim et al., "BioAtt: Anatomical Prior Driven Low-Dose CT Denoising", '
            "with weights trained by this project."
        )
        if not REFUSAL:
            from BioAttDenoiseLib.scene import sample_data
            from BioAttDenoiseLib.signals import connect

            connect(slicer.app, "startupCompleted()", sample_data.register)


class BioAttDenoiseWidget(ScriptedLoadableModuleWidget):
    """The panel."""

    def __init__(self, parent=None):
        self.panel = self.logic = None
        ScriptedLoadableModuleWidget.__init__(self, parent)

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        if REFUSAL:
            import qt

            label = qt.QLabel(REFUSAL)
            label.wordWrap = True
            self.layout.addWidget(label)
            return
        from BioAttDenoiseLib.panel.panel import Panel

        self.logic = BioAttDenoiseLogic()
        self.panel = Panel(
            self.layout, self.logic, self.resourcePath, lambda: bool(getattr(self.parent, "isEntered", True))
        )
        self.ui = self.panel.ui

    def enter(self):
        if self.panel is not None:
            self.panel.enter()

    def exit(self):
        if self.panel is not None:
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
        from BioAttDenoiseLib.scene.parameters import BioAttDenoiseParameterNode

        return BioAttDenoiseParameterNode(super().getParameterNode())


class BioAttDenoiseTest(ScriptedLoadableModuleTest):
    """Tests that run in any Slicer: offline, without torch, without installing anything."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def makeVolume(self):
        import numpy as np

        hu = np.full((6, 16, 16), -1000, np.int16)
        hu[:, 4:12, 4:12] = 40
        return slicer.util.addVolumeFromArray(hu, name="CT")

    def test_parameters(self):
        """Defaults, and values stored in the scene."""
        from bioatt.core.strength import DEFAULT_STRENGTH

        logic = BioAttDenoiseLogic()
        parameters = logic.getParameterNode()
        self.assertEqual(parameters.strength, 100 * DEFAULT_STRENGTH)
        parameters.strength = 40
        self.assertEqual(logic.getParameterNode().strength, 40)
        self.assertRaises(ValueError, setattr, parameters, "strength", 101)

    def test_output_is_like_its_input(self):
        """Geometry, display properties and name, without running a network."""
        from BioAttDenoiseLib.scene import volumes

        node = self.makeVolume()
        node.SetSpacing(0.7, 0.8, 2.5)
        node.GetDisplayNode().SetAutoWindowLevel(False)
        node.GetDisplayNode().SetWindowLevel(350, 40)
        output = volumes.make_output(node, None, "CT denoised")
        self.assertEqual(output.GetName(), "CT denoised")
        self.assertEqual(output.GetSpacing(), (0.7, 0.8, 2.5))
        self.assertEqual(output.GetDisplayNode().GetWindow(), 350)

    def test_what_cannot_be_denoised_is_said(self):
        """Errors for no volume, and for a volume without voxels."""
        logic = BioAttDenoiseLogic()
        self.assertRaises(ValueError, logic.denoise, None)
        self.assertRaises(ValueError, logic.denoise, slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode"))

    def test_engine_process(self):
        """The engine process starts with Slicer's Python, replies and ends; torch may be missing."""
        from BioAttDenoiseLib.engine import requests
        from BioAttDenoiseLib.engine.job import Kind

        logic = BioAttDenoiseLogic()
        replies = []
        request = requests.check(["numpy"])
        logic.submit(Kind.BACKGROUND, request, on_result=replies.append, on_error=replies.append)
        logic.wait()
        process = logic.jobs.process
        logic.shutdown()
        self.assertEqual(replies[0]["packages"][0]["state"], "ok")
        self.assertFalse(process.running)
