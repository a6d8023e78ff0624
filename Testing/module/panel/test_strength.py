"""The Low, Medium and High buttons, by clicks. In the stand-in engine, a level's strength equals its share of the
noise, and a scan's noise in HU is the number of slices sent.
"""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def driver(driver_on):
    return driver_on(20, 32)


def hu(slicer, node):
    return slicer.util.arrayFromVolume(node)


def test_a_level_moves_the_slider_to_what_it_means_for_the_scan(driver):
    ui = driver.ui
    driver.click(ui.highButton)
    driver.wait_idle()
    assert ui.strengthSlider.value == 70
    assert ui.strengthNoteLabel.text == "Noise in soft tissue: 20.0 → 6.0 HU", "of the whole scan"
    assert [ui.lowButton.checked, ui.mediumButton.checked, ui.highButton.checked] == [False, False, True]
    driver.click(ui.lowButton)
    assert ui.strengthSlider.value == 30, "at once: the noise is known by now"
    assert not driver.logic.jobs.busy
    driver.click(ui.lowButton)
    assert ui.lowButton.checked, "pressed again it stays"


def test_a_slider_that_is_moved_by_hand_is_no_level(driver):
    ui = driver.ui
    driver.click(ui.mediumButton)
    driver.wait_idle()
    ui.strengthSlider.value = 40
    assert not ui.mediumButton.checked
    assert ui.strengthNoteLabel.text == "Noise in soft tissue: 20.0 → 12.0 HU"
    driver.denoise()
    assert driver.parameters.outputVolume.GetAttribute("BioAttDenoise.Strength") == "0.4"
    assert driver.parameters.outputVolume.GetAttribute("BioAttDenoise.StrengthLevel") is None


def test_preview_and_run_share_it_and_the_run_says_what_came_out(driver, slicer):
    ui, before = driver.ui, hu(slicer, driver.parameters.inputVolume).astype(float)
    driver.click(ui.mediumButton)
    driver.click(ui.previewButton)
    driver.wait_idle()
    shown = driver.panel.live.preview.shown
    np.testing.assert_array_equal(hu(slicer, shown.node)[0], before[shown.index] - 10)
    driver.click(ui.highButton)
    np.testing.assert_array_equal(hu(slicer, shown.node)[0], before[shown.index] - 14)
    driver.denoise()
    output = driver.parameters.outputVolume
    np.testing.assert_array_equal(hu(slicer, output), before - 14)
    assert "high (70 %)" in ui.resultLabel.text
    assert output.GetAttribute("BioAttDenoise.Strength") == "0.7"
    assert output.GetAttribute("BioAttDenoise.StrengthLevel") == "high"
    assert ui.highButton.checked


def test_denoise_does_not_wait_for_the_noise_to_be_measured(driver, slicer):
    driver.behave("slow")
    driver.click(driver.ui.lowButton)
    assert driver.ui.strengthNoteLabel.text == "Measuring the noise of this scan…"
    driver.denoise()
    assert driver.parameters.outputVolume.GetAttribute("BioAttDenoise.StrengthLevel") == "low"
    assert driver.ui.strengthSlider.value == 30, "the slider shows what came out"


def test_a_slice_range_is_denoised_as_the_whole_scan(driver, slicer):
    """The noise is measured in the whole scan, whichever slices are denoised."""
    driver.choose(driver.ui.regionComboBox, "Slice range")
    driver.ui.firstSliceSpinBox.value, driver.ui.lastSliceSpinBox.value = 3, 4
    driver.click(driver.ui.mediumButton)
    driver.wait_idle()
    sent, submit = [], driver.logic.submit
    driver.logic.submit = lambda kind, request, **more: (sent.append(request), submit(kind, request, **more))[1]
    driver.denoise()
    request = next(request for request in sent if request is not None)
    assert request.fields["strength"] == "medium"
    assert len(request.fields["volume"]["array"]) == 20
    assert request.fields["slices"] == [2, 4]
    changed = hu(slicer, driver.parameters.outputVolume) != hu(slicer, driver.parameters.inputVolume)
    assert changed.any(axis=(1, 2)).nonzero()[0].tolist() == [2, 3]


def test_another_scan_has_a_strength_of_its_own(driver, make_ct):
    driver.click(driver.ui.mediumButton)
    driver.wait_idle()
    driver.ui.inputSelector.setCurrentNode(make_ct(name="another", slices=7))
    driver.until(lambda: "7.0 → 3.5 HU" in driver.ui.strengthNoteLabel.text)
    assert driver.ui.mediumButton.checked


def test_the_level_is_kept_with_the_scene(driver, slicer, tmp_path):
    driver.click(driver.ui.highButton)
    driver.wait_idle()
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    assert not driver.ui.highButton.checked
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    driver.until(lambda: driver.ui.strengthNoteLabel.text == "Noise in soft tissue: 20.0 → 6.0 HU")
    assert driver.ui.highButton.checked
    assert driver.ui.strengthSlider.value == 70


def test_a_scan_whose_noise_cannot_be_measured(driver, slicer):
    """Without soft tissue, a level has a fixed strength, and the panel reports it."""
    driver.behave("airy")
    driver.click(driver.ui.lowButton)
    driver.wait_idle()
    assert driver.ui.strengthSlider.value == 50
    assert "Cannot measure noise" in driver.ui.strengthNoteLabel.text
    driver.denoise()
    assert "is applied as 0.5" in driver.ui.resultLabel.text


def test_a_scan_that_cannot_be_measured_for_another_reason_is_told_once(driver):
    driver.behave("refused at once")
    driver.click(driver.ui.lowButton)
    driver.wait_idle()
    assert driver.status.startswith("⚠ This is refused.")
    driver.panel.showStatus("")
    driver.panel.update()
    driver.settle()
    assert driver.status == ""
    assert not driver.logic.jobs.busy, "nobody asks again before the user does"


def test_every_volume_of_a_batch_gets_its_own(driver, slicer, make_ct):
    make_ct(name="b", slices=6)
    driver.unfold()
    driver.click(driver.ui.mediumButton)
    driver.click(driver.sections["BatchSection"].ui.allVolumesButton)
    driver.wait_idle()
    outputs = [slicer.util.getNode(name) for name in ("CT denoised", "b denoised")]
    assert [node.GetAttribute("BioAttDenoise.StrengthLevel") for node in outputs] == ["medium"] * 2
    driver.click(driver.sections["BatchSection"].ui.allVolumesButton)
    driver.wait_idle()
    assert "Skipped, output already exists: 2" in driver.status


def test_a_script_may_give_a_level(driver, slicer):
    output = driver.logic.denoise(driver.parameters.inputVolume, strength="high", model="steady")
    assert output.GetAttribute("BioAttDenoise.Strength") == "0.7"
