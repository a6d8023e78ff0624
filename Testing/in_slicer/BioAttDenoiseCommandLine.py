"""In Slicer: calls the command-line module, blocking and in the background, as in Docs/slicer_scripting.md. Without the
packages that the engine needs, the module must say what to do instead of denoising.
"""

import importlib.util
import time

import numpy as np
import slicer

PATIENCE_S = 600


def check(node, output, before):
    """The finished run has reduced the noise or, without torch, says what to do."""
    if importlib.util.find_spec("torch") is None:
        assert node.GetStatus() & node.ErrorsMask, node.GetStatusString()
        assert "press Denoise once" in node.GetErrorText(), node.GetErrorText()
        return
    assert not node.GetStatus() & node.ErrorsMask, node.GetErrorText()
    assert slicer.util.arrayFromVolume(output).std() < before.std()


def call_it():
    """Call the module both ways on a small volume."""
    hu = np.random.default_rng(0).normal(40, 25, (3, 64, 64)).astype(np.int16)
    volume = slicer.util.addVolumeFromArray(hu, name="CT")
    output = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT denoised")
    parameters = {"inputVolume": volume, "outputVolume": output, "model": "bioatt-fast", "device": "cpu"}
    check(slicer.cli.runSync(slicer.modules.bioattdenoisecli, None, parameters), output, hu)
    node = slicer.cli.run(slicer.modules.bioattdenoisecli, None, parameters)
    ended = []
    event = slicer.vtkMRMLCommandLineModuleNode.StatusModifiedEvent
    node.AddObserver(event, lambda caller, event: caller.GetStatus() & caller.Completed and ended.append(True))
    deadline = time.monotonic() + PATIENCE_S
    while not ended and node.IsBusy():
        assert time.monotonic() < deadline, "the command-line module did not end"
        slicer.app.processEvents()
        time.sleep(0.01)
    check(node, output, hu)


call_it()
