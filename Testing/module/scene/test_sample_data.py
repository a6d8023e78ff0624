"""The scan that comes with the module: in the panel by a click, and in Slicer's module Sample Data."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np


def test_three_clicks_to_a_denoised_sample(make_driver, slicer, views):
    """Open the module, load the sample, denoise it."""
    driver = make_driver()
    driver.behave("steady")
    assert not driver.ui.sampleButton.flat, "a button without a frame looks like a caption"
    driver.click(driver.ui.sampleButton)
    driver.settle()
    node = driver.parameters.inputVolume
    assert not driver.ui.sampleButton.visible
    assert views.sliceWidget("Red").mrmlSliceCompositeNode().GetBackgroundVolumeID() == node.GetID()
    driver.denoise()
    assert "Done: Quarter-dose torso denoised." in driver.status


def test_the_sample_is_a_small_noisy_scan(slicer, scene):
    from bioatt.core.metrics import noise_sd
    from BioAttDenoiseLib.scene import sample_data

    assert sample_data.FILE.stat().st_size < 5e5
    node = sample_data.load()
    hu = slicer.util.arrayFromVolume(node)
    assert hu.shape == (5, 256, 256)
    assert -1100 < hu.min() < -900
    assert noise_sd(np.ascontiguousarray(hu)) > 25
    assert sample_data.load().GetName() != node.GetName()


def test_the_sample_is_offered_by_sample_data(slicer, scene, monkeypatch):
    from BioAttDenoiseLib.scene import sample_data

    assert not sample_data.register(), "a Slicer without that module"
    offered = []
    logic = SimpleNamespace(registerCustomSampleDataSource=lambda **source: offered.append(SimpleNamespace(**source)))
    monkeypatch.setitem(sys.modules, "SampleData", SimpleNamespace(SampleDataLogic=logic))
    slicer.app.startupCompleted.emit()
    (source,) = {id(each): each for each in offered[:1]}.values()
    assert source.thumbnailFileName.endswith(".png")
    assert source.customDownloader(source).GetImageData() is not None
