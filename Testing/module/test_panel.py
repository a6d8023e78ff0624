"""The real panel, driven by clicks, on the stand-in engine: the whole story first, then everything that goes wrong."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest


def volumes(slicer):
    return [n for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if not n.GetHideFromEditors()]


def test_the_whole_story(slicer, make_ct, make_driver, views, until, tmp_path):
    node = make_ct(slices=40, size=48)
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    red = views.sliceWidget("Red")
    red.sliceLogic().SetSliceOffset(-300 + 2.5 * 17)
    plain = red.image()
    driver = make_driver()
    ui = driver.ui
    assert driver.parameters.inputVolume is node, "the volume on screen is chosen"
    driver.behave("slow")

    driver.click(ui.previewButton)
    driver.wait_idle()
    assert driver.panel.live.preview.shown.index == 17
    composite = red.mrmlSliceCompositeNode()
    shown = slicer.mrmlScene.GetNodeByID(composite.GetForegroundVolumeID())
    assert composite.GetForegroundOpacity() == 1
    original = slicer.util.arrayFromVolume(node)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(shown)[0], original[17] - 10)
    assert not np.array_equal(red.image(), plain), "the slice view shows it"

    ui.strengthSlider.value = 50
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(shown)[0], original[17] - 5)
    assert "Preview of one slice" in driver.status

    driver.click(ui.denoiseButton)
    assert ui.denoiseButton.text == "Cancel"
    until(lambda: ui.progressBar.value > 10)
    assert "slice" in ui.progressBar.format
    assert "left" in ui.progressBar.format
    start = time.monotonic()
    driver.click(ui.denoiseButton)
    driver.wait_idle()
    assert time.monotonic() - start < 1
    assert "Cancelled" in driver.status
    assert volumes(slicer) == [node]

    driver.denoise()
    output = driver.parameters.outputVolume
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(output), original - 5)
    assert output.GetName() == "CT denoised"
    assert composite.GetBackgroundVolumeID() == output.GetID(), "the views show the result"
    assert composite.GetForegroundVolumeID() is None, "the preview is gone"
    assert "20.0 → 8.0 HU" in ui.resultLabel.text
    assert "50 %" in ui.resultLabel.text
    assert driver.errors == []

    driver.choose(ui.regionComboBox, "Slice range")
    ui.firstSliceSpinBox.value = 3
    ui.lastSliceSpinBox.value = 9
    driver.choose(ui.deviceComboBox, "Processor (CPU)")
    driver.choose(ui.priorComboBox, "None (uniform)")
    driver.advanced.tileSpinBox.value = 256
    driver.choose(driver.advanced.precisionComboBox, "float32")
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    assert driver.parameters.inputVolume is None
    assert driver.parameters.strength == 100
    assert not ui.resultCollapsibleButton.visible
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert driver.parameters.inputVolume.GetName() == "CT"
    assert driver.parameters.outputVolume.GetName() == "CT denoised"
    assert driver.parameters.outputVolume.GetAttribute("BioAttDenoise.ModelSHA256") == "f" * 64
    assert driver.parameters.outputVolume.GetNodeReference("BioAttDenoiseInput") is driver.parameters.inputVolume
    state = [ui.strengthSlider.value, ui.firstSliceSpinBox.value, ui.lastSliceSpinBox.value, driver.advanced.tileSpinBox.value]
    assert state == [50, 3, 9, 256]
    texts = [box.currentText for box in (ui.regionComboBox, ui.deviceComboBox, ui.priorComboBox, ui.modelComboBox)]
    assert texts == ["Slice range", "Processor (CPU)", "None (uniform)", "slow"]
    assert driver.advanced.precisionComboBox.currentText == "float32"
    assert len(volumes(slicer)) == 2, "no preview was saved"


def test_without_a_volume_nothing_can_be_pressed(make_driver, make_ct, slicer, until):
    driver = make_driver()
    assert not driver.ui.denoiseButton.enabled
    assert not driver.ui.previewButton.enabled
    assert driver.ui.denoiseButton.toolTip == "Choose the CT volume to denoise."
    node = make_ct()
    assert driver.parameters.inputVolume is node, "a volume that is loaded meanwhile is chosen"
    assert driver.ui.denoiseButton.enabled


def test_a_volume_that_is_no_ct(make_driver, make_ct, slicer):
    node = make_ct(name="MR head")
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    tree.SetItemAttribute(tree.GetItemByDataNode(node), "DICOM.Modality", "MR")
    driver = make_driver()
    assert driver.parameters.inputVolume is None, "it is not chosen by itself"
    driver.ui.inputSelector.setCurrentNode(node)
    assert "MR volume" in driver.ui.inputMessageLabel.text
    assert driver.ui.inputMessageLabel.visible
    assert not driver.ui.denoiseButton.enabled


def test_values_that_are_no_hu(make_driver, slicer):
    slicer.util.addVolumeFromArray(np.random.default_rng(0).random((4, 16, 16)).astype(np.float32), name="map")
    driver = make_driver()
    driver.behave("steady")
    driver.denoise()
    assert "no HU" in driver.status
    assert len(volumes(slicer)) == 1
    assert driver.errors == [], "an input that cannot be used is told in the panel, not in a pop-up"


def test_the_input_is_deleted_in_the_middle(make_driver, make_ct, slicer, until):
    node = make_ct(slices=30)
    driver = make_driver()
    driver.behave("slow")
    driver.click(driver.ui.denoiseButton)
    until(lambda: driver.ui.progressBar.value > 10)
    slicer.mrmlScene.RemoveNode(node)
    driver.wait_idle()
    assert "removed while it was denoised" in driver.status
    assert volumes(slicer) == []
    make_ct(name="next")
    driver.denoise()
    assert "Done" in driver.status


def test_the_worker_is_killed_in_the_middle(make_driver, make_ct, slicer, until):
    node = make_ct(slices=60)
    driver = make_driver()
    driver.behave("slow")
    count = slicer.mrmlScene.GetNumberOfNodes()
    driver.click(driver.ui.denoiseButton)
    until(lambda: driver.ui.progressBar.value > 5)
    os.kill(driver.logic.engine.process.pid, signal.SIGKILL)
    driver.wait_idle()
    assert "memory ran out" in driver.status
    assert "scene is unchanged" in driver.status
    assert len(driver.errors) == 1
    assert slicer.mrmlScene.GetNumberOfNodes() == count
    driver.behave("steady")
    driver.denoise()
    assert "Done" in driver.status
    np.testing.assert_array_equal(
        slicer.util.arrayFromVolume(driver.parameters.outputVolume), slicer.util.arrayFromVolume(node) - 10
    )


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ("crash", "ended unexpectedly"),
        ("memory", "ran out of memory"),
        ("full", "disk is full"),
        ("missing", "Check installation"),
        ("fault", "Something that should not happen"),
        ("unknown", "Unknown model"),
    ],
)
def test_a_failure_is_told_and_the_next_run_works(make_driver, make_ct, slicer, behaviour, words):
    make_ct()
    driver = make_driver()
    driver.behave(behaviour)
    count = slicer.mrmlScene.GetNumberOfNodes()
    driver.denoise()
    assert words in driver.status
    assert slicer.mrmlScene.GetNumberOfNodes() == count
    assert len(driver.errors) == (0 if behaviour == "unknown" else 1)
    driver.behave("steady")
    driver.denoise()
    assert "Done" in driver.status


def test_the_disk_is_full_when_the_input_is_written(make_driver, make_ct, slicer, monkeypatch):
    from BioAttDenoiseLib.engine_process import EngineProcess

    make_ct()
    driver = make_driver()
    driver.behave("steady")
    save = EngineProcess.save

    def onto_a_full_disk(self, name, array):
        (self.folder / name).symlink_to("/dev/full")
        return save(self, name, array)

    with monkeypatch.context() as patch:
        patch.setattr(EngineProcess, "save", onto_a_full_disk)
        driver.denoise()
    assert "disk is full" in driver.status
    assert len(volumes(slicer)) == 1
    driver.denoise()
    assert "Done" in driver.status


@pytest.mark.slow
def test_the_model_is_missing(make_driver, make_ct, slicer, monkeypatch, tmp_path):
    """A scene names a model that this computer does not have."""
    make_ct()
    driver = make_driver()
    driver.parameters.model = str(tmp_path / "colleague.safetensors")
    assert driver.ui.modelComboBox.currentText == "colleague.safetensors"
    driver.logic.script = None  # the real engine
    driver.logic.shutdown()
    driver.click(driver.ui.denoiseButton)
    driver.until(lambda: driver.panel.state.value == "idle", 90)
    assert "colleague.safetensors does not exist" in driver.status
    assert len(volumes(slicer)) == 1


def test_a_second_run_cannot_start_while_one_runs(make_driver, make_ct, slicer, until):
    from BioAttDenoiseLib.engine import EngineError

    node = make_ct(slices=30)
    driver = make_driver()
    driver.behave("slow")
    driver.click(driver.ui.denoiseButton)
    until(lambda: driver.ui.progressBar.value > 5)
    assert not driver.ui.previewButton.enabled
    assert not driver.ui.inputSelector.enabled
    with pytest.raises(EngineError, match="already running"):
        driver.logic.denoise(node)
    driver.wait_idle()
    assert "Done" in driver.status
    assert len(volumes(slicer)) == 2


def test_the_scene_is_closed_in_the_middle(make_driver, make_ct, slicer, until):
    make_ct(slices=60)
    driver = make_driver()
    driver.behave("slow")
    driver.click(driver.ui.denoiseButton)
    until(lambda: driver.ui.progressBar.value > 5)
    slicer.mrmlScene.Clear(0)
    driver.wait_idle()
    assert "Cancelled" in driver.status
    assert volumes(slicer) == []
    make_ct(name="next")
    driver.behave("steady")
    driver.denoise()
    assert [node.GetName() for node in volumes(slicer)] == ["next", "next denoised"]


def test_slicer_is_quit_in_the_middle(make_driver, make_ct, slicer, until, alive):
    make_ct(slices=60)
    driver = make_driver()
    driver.behave("stubborn")
    driver.click(driver.ui.denoiseButton)
    until(lambda: driver.ui.progressBar.value > 5)
    pid = driver.logic.engine.process.pid
    slicer.app.moduleManager().moduleAboutToBeUnloaded.emit("BioAttDenoise")
    until(lambda: not alive(pid))
    assert not list(Path(slicer.app.temporaryPath).glob("BioAttDenoise-*"))


def test_an_output_of_another_input_is_not_overwritten(make_driver, make_ct, slicer):
    first = make_ct(name="a")
    driver = make_driver()
    driver.behave("steady")
    driver.denoise()
    assert driver.parameters.outputVolume.GetName() == "a denoised"
    driver.denoise()
    assert len(volumes(slicer)) == 2, "the same input's output is overwritten"
    driver.ui.inputSelector.setCurrentNode(make_ct(name="b"))
    assert driver.parameters.outputVolume is None
    driver.denoise()
    assert [node.GetName() for node in volumes(slicer)] == ["a", "a denoised", "b", "b denoised"]
    assert first.GetName() == "a"


def test_a_slice_range_that_does_not_fit(make_driver, make_ct):
    make_ct(slices=12)
    driver = make_driver()
    driver.behave("steady")
    driver.choose(driver.ui.regionComboBox, "Slice range")
    assert driver.ui.sliceRangeWidget.visible
    assert not driver.ui.roiWidget.visible
    driver.ui.firstSliceSpinBox.value = 40
    driver.denoise()
    assert "slices 1 … 12" in driver.status


def test_a_region_of_interest_must_be_chosen(make_driver, make_ct, slicer):
    make_ct()
    driver = make_driver()
    driver.behave("steady")
    driver.choose(driver.ui.regionComboBox, "Region of interest")
    assert not driver.ui.denoiseButton.enabled
    assert "region of interest" in driver.ui.denoiseButton.toolTip
    roi = driver.ui.roiSelector.addNode()
    roi.SetCenter(0, 0, -290)
    roi.SetSize(5, 5, 5)
    driver.denoise()
    assert "Done" in driver.status


def test_live_preview_follows_scrolling_and_settings(make_driver, make_ct, slicer, views, until):
    node = make_ct(slices=20)
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    red = views.sliceWidget("Red")
    red.sliceLogic().SetSliceOffset(-300 + 2.5 * 4)
    driver = make_driver()
    driver.behave("steady")
    driver.click(driver.ui.livePreviewCheckBox)
    until(lambda: driver.panel.live.preview.shown)
    assert driver.panel.live.preview.shown.index == 4
    assert driver.ui.previewButton.checked
    red.sliceLogic().SetSliceOffset(-300 + 2.5 * 9)
    until(lambda: driver.panel.live.preview.shown and driver.panel.live.preview.shown.index == 9)
    driver.behave("slow")
    until(lambda: driver.panel.live._shownFor[1]["model"] == "slow")
    driver.click(driver.ui.previewButton)
    assert driver.panel.live.preview.shown is None
    assert red.mrmlSliceCompositeNode().GetForegroundVolumeID() is None


def test_the_preview_gives_the_views_back_as_they_were(make_driver, make_ct, slicer, views):
    node, other = make_ct(slices=20), make_ct(slices=20, name="PET")
    slicer.util.setSliceViewerLayers(background=node, foreground=other, foregroundOpacity=0.3)
    driver = make_driver()
    driver.behave("steady")
    driver.click(driver.ui.previewButton)
    driver.wait_idle()
    composite = views.sliceWidget("Red").mrmlSliceCompositeNode()
    assert composite.GetForegroundVolumeID() != other.GetID()
    driver.widget.exit()
    assert composite.GetForegroundVolumeID() == other.GetID()
    assert composite.GetForegroundOpacity() == pytest.approx(0.3)


def test_denoise_stops_a_preview_that_is_computed(make_driver, make_ct, slicer, until):
    make_ct(slices=20)
    driver = make_driver()
    driver.behave("stubborn")
    driver.click(driver.ui.previewButton)
    assert driver.panel.live.computing
    driver.behave("steady")
    driver.denoise()
    assert "Done" in driver.status


def test_cancel_while_the_installation_is_checked(make_driver, make_ct, slicer):
    make_ct()
    driver = make_driver(enter=False)
    driver.widget.enter()
    driver.behave("steady")
    driver.click(driver.ui.denoiseButton)
    assert driver.ui.denoiseButton.text == "Cancel"
    driver.click(driver.ui.denoiseButton)
    driver.wait_idle()
    assert "Cancelled" in driver.status
    driver.denoise()
    assert "Done" in driver.status


def test_what_was_found_is_said(make_driver):
    driver = make_driver()
    assert driver.ui.deviceFoundLabel.text == "Found: CPU, 4 threads."


def test_every_widget_has_a_tooltip(make_driver):
    import qt

    driver = make_driver()
    skipped = {"BioAttDenoise", "BioAttDenoiseAdvanced", "sectionsWidget"}
    bare = [
        widget.name
        for widget in driver.widget.findChildren(qt.QWidget)
        if widget.name and not widget.name.startswith("qt_") and widget.name not in skipped and not widget.toolTip
    ]
    assert bare == []


@pytest.mark.parametrize("width", [300])
def test_the_panel_is_usable_at_300_pixels(make_driver, make_ct, slicer, width):
    import qt

    make_ct(name="A volume with a name that is much longer than the panel is wide, as names from PACS are")
    driver = make_driver()
    driver.behave("steady")
    driver.denoise()
    driver.choose(driver.ui.regionComboBox, "Slice range")
    driver.advanced.advancedCollapsibleButton.collapsed = False
    driver.widget.resize(width, 1000)
    slicer.app.processEvents()
    assert driver.widget.minimumSizeHint().width() <= width
    for widget in driver.widget.findChildren(qt.QWidget):
        if widget.visible and widget.name and not widget.name.startswith("qt_"):
            corner = widget.mapTo(driver.widget, qt.QPoint(0, 0))
            assert 0 <= corner.x() and corner.x() + widget.width <= width, widget.name
            if isinstance(widget, (qt.QPushButton, qt.QCheckBox)) and widget.text:
                needed = widget.fontMetrics().horizontalAdvance(widget.text.replace("&", ""))
                assert needed <= widget.width, f"the text of {widget.name} is cut"
