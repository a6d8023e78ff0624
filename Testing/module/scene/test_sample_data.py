"""The sample scan: loaded by a click in the panel and offered by Slicer's Sample Data module."""

from __future__ import annotations

import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from places import DOCS

OPENING = 2
"""Clicks that open the module: Slicer's list of modules, then the module in its category."""


@pytest.fixture
def dialogs(slicer, monkeypatch):
    """The questions shown to the user, who accepts the packages and declines a restart. torch counts as missing until
    the stand-in for its extension is called.
    """
    from BioAttDenoiseLib.engine import install

    asked, called = [], []
    logic = SimpleNamespace(installTorch=lambda **how: called.append(how))
    monkeypatch.setitem(sys.modules, "PyTorchUtils", SimpleNamespace(PyTorchUtilsLogic=lambda: logic))
    monkeypatch.setattr(install, "requirements", lambda *where: [] if called else ["torch>=99"])
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text, *_, **more: asked.append(text) or True)
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda text, *_, **more: asked.append(text))
    return asked


def clicks_to_a_denoised_sample(driver, views):
    """Load and denoise the sample in the panel; returns the number of clicks."""
    driver.behave("steady")
    assert not driver.ui.sampleButton.flat, "a button without a frame looks like a caption"
    driver.click(driver.ui.sampleButton)
    driver.settle()
    node = driver.parameters.inputVolume
    assert not driver.ui.sampleButton.visible
    assert views.sliceWidget("Red").mrmlSliceCompositeNode().GetBackgroundVolumeID() == node.GetID()
    driver.denoise()
    assert "Done: Quarter-dose torso denoised." in driver.status
    return driver.clicks


def told_clicks():
    """Numbers of clicks in the tutorial: with everything installed, and including the installation of packages."""
    return [int(count) for count in re.findall(r"(\d+) clicks", (DOCS / "tutorial.md").read_text(encoding="utf-8"))]


def test_clicks_to_a_denoised_sample(make_driver, views):
    assert OPENING + clicks_to_a_denoised_sample(make_driver(), views) == told_clicks()[0]


def test_clicks_to_a_denoised_sample_with_the_installation(make_driver, views, dialogs):
    """Each dialog counts as a click: one to install the packages, one to put off the restart after installing torch."""
    clicks = OPENING + clicks_to_a_denoised_sample(make_driver(), views)
    assert ["needs Python packages" in dialogs[0], "Restart Slicer now?" in dialogs[1]] == [True, True]
    assert clicks + len(dialogs) == told_clicks()[1]


def test_the_sample_is_one_that_the_models_were_trained_for(slicer):
    """The first result that a user sees comes without a warning."""
    from bioatt.core.noise import noise_levels
    from bioatt.inference.models import load_model
    from bioatt.inference.suitability import training_range_warnings
    from bioatt.io.images import read_volume
    from BioAttDenoiseLib.scene import sample_data

    sample = read_volume(sample_data.FILE)
    noise = float(np.median(noise_levels(sample.hu)))
    for model in ("bioatt", "bioatt-fast"):
        assert training_range_warnings(load_model(model), sample, noise) == []


def test_the_sample_is_a_small_noisy_scan(slicer, scene):
    from bioatt.core.metrics import noise_sd
    from BioAttDenoiseLib.scene import sample_data

    assert sample_data.FILE.stat().st_size < 6e5
    node = sample_data.load()
    hu = slicer.util.arrayFromVolume(node)
    assert hu.shape == (4, 253, 384)
    assert -1100 < hu.min() < -900
    assert noise_sd(np.ascontiguousarray(hu)) > 25
    assert sample_data.load().GetName() != node.GetName()


def test_the_sample_is_offered_by_sample_data(slicer, module, scene, monkeypatch):
    from BioAttDenoiseLib.scene import sample_data

    assert not sample_data.register(), "a Slicer without that module"
    offered = []
    logic = SimpleNamespace(registerCustomSampleDataSource=lambda **source: offered.append(SimpleNamespace(**source)))
    monkeypatch.setitem(sys.modules, "SampleData", SimpleNamespace(SampleDataLogic=logic))
    slicer.app.startupCompleted.emit()
    (source,) = {id(each): each for each in offered[:1]}.values()
    assert source.thumbnailFileName.endswith(".png")
    assert source.customDownloader(source).GetImageData() is not None
