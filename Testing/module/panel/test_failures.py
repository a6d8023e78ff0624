"""Failures in the panel: the scene is unchanged, the message is clear, and the next run works."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest


def volumes(slicer):
    return [n for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if not n.GetHideFromEditors()]


def test_without_a_volume_nothing_can_be_pressed(make_driver, make_ct, slicer, until):
    driver = make_driver()
    assert not driver.ui.denoiseButton.enabled
    assert not driver.ui.previewButton.enabled
    assert driver.ui.denoiseButton.toolTip == "Choose the CT volume to denoise."
    node = make_ct()
    driver.settle()
    assert driver.parameters.inputVolume is node, "a volume that is loaded meanwhile is chosen"
    assert driver.ui.denoiseButton.enabled


def test_of_a_pet_ct_the_ct_is_chosen(make_driver, make_ct, slicer):
    """Slicer's reader adds a volume to the scene before it sets the modality to PET."""
    driver = make_driver()
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    for name, modality in (("PET", "PT"), ("CT", "CT")):
        node = make_ct(name=name)
        tree.SetItemAttribute(tree.GetItemByDataNode(node), "DICOM.Modality", modality)
    driver.settle()
    assert driver.parameters.inputVolume is node
    assert driver.ui.denoiseButton.enabled


def test_a_volume_that_is_no_ct(make_driver, make_ct, slicer):
    node = make_ct(name="MR head")
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    tree.SetItemAttribute(tree.GetItemByDataNode(node), "DICOM.Modality", "MR")
    driver = make_driver()
    assert driver.parameters.inputVolume is None, "it is not chosen by itself"
    driver.ui.inputSelector.setCurrentNode(node)
    assert "modality MR" in driver.ui.inputMessageLabel.text
    assert driver.ui.inputMessageLabel.visible
    assert not driver.ui.denoiseButton.enabled


def test_values_that_are_no_hu(make_driver, slicer):
    slicer.util.addVolumeFromArray(np.random.default_rng(0).random((4, 16, 16)).astype(np.float32), name="map")
    driver = make_driver()
    driver.behave("steady")
    driver.denoise()
    assert "not HU" in driver.status
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
    assert "removed during denoising" in driver.status
    assert volumes(slicer) == []
    make_ct(name="next")
    driver.denoise()
    assert "Done" in driver.status


def test_the_worker_is_killed_in_the_middle(make_driver, make_ct, slicer, until, change_hu):
    node = make_ct(slices=60)
    driver = make_driver()
    driver.behave("slow")
    count = slicer.mrmlScene.GetNumberOfNodes()
    driver.click(driver.ui.denoiseButton)
    until(lambda: driver.ui.progressBar.value > 5)
    os.kill(driver.logic.jobs.process.pid, signal.SIGKILL)
    driver.wait_idle()
    assert "ended by the operating system" in driver.status
    assert "scene is unchanged" in driver.status
    assert len(driver.errors) == 1
    assert slicer.mrmlScene.GetNumberOfNodes() == count
    driver.behave("steady")
    driver.denoise()
    assert "Done" in driver.status
    np.testing.assert_array_equal(
        slicer.util.arrayFromVolume(driver.parameters.outputVolume), slicer.util.arrayFromVolume(node) - change_hu
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


def test_memory_that_runs_out_before_the_engine_gets_the_volume(make_driver, make_ct, slicer, monkeypatch):
    from BioAttDenoiseLib.scene import regions

    def too_large(*args, **more):
        raise MemoryError

    make_ct()
    driver = make_driver()
    driver.behave("steady")
    with monkeypatch.context() as patch:
        patch.setattr(regions.Region, "fields", too_large)
        driver.denoise()
    assert "ran out of memory" in driver.status
    assert driver.ui.denoiseButton.text == "&Denoise"
    driver.denoise()
    assert "Done" in driver.status


def test_a_batch_while_the_scene_closes_starts_nothing(make_driver, make_ct, slicer):
    from BioAttDenoiseLib.engine.job import Kind

    make_ct()
    driver = make_driver()
    driver.panel.setParameters(None)
    driver.panel.runBatch(driver.logic.denoiseAllAsync, str, Kind.DENOISE)
    assert driver.panel.state.value == "idle"


@pytest.mark.parametrize("behaviour", ["fault", "lost"])
def test_slicers_log_gets_no_message_of_the_engine(make_driver, make_ct, slicer, behaviour):
    """Slicer logs the text of pop-ups, and file names in a message may contain patient names."""
    make_ct()
    driver = make_driver()
    driver.behave(behaviour)
    driver.denoise()
    (text,) = driver.errors
    assert "bug in BioAttDenoise" in text
    assert "should not happen" not in text
    assert "Doe" not in text + driver.status + driver.logic.jobs.log


def test_the_disk_is_full_when_the_input_is_written(make_driver, make_ct, slicer, monkeypatch):
    from BioAttDenoiseLib.engine.process import EngineProcess

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
    """The scene refers to a model that is not on this computer."""
    make_ct()
    driver = make_driver()
    driver.parameters.model = str(tmp_path / "colleague.safetensors")
    assert driver.advanced.modelComboBox.currentText == "colleague.safetensors"
    driver.logic.script = None  # the real engine
    driver.logic.shutdown()
    driver.click(driver.ui.denoiseButton)
    driver.until(lambda: driver.panel.state.value == "idle", 90)
    assert "colleague.safetensors does not exist" in driver.status
    assert len(volumes(slicer)) == 1


def test_a_second_run_cannot_start_while_one_runs(make_driver, make_ct, slicer, until):
    from BioAttDenoiseLib.engine.errors import EngineError

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
    pid = driver.logic.jobs.process.pid
    slicer.app.moduleManager().moduleAboutToBeUnloaded.emit("BioAttDenoise")
    until(lambda: not alive(pid))
    assert not list(Path(slicer.app.temporaryPath).glob("BioAttDenoise-*"))


def test_a_slice_range_that_does_not_fit(make_driver, make_ct):
    make_ct(slices=12)
    driver = make_driver()
    driver.behave("steady")
    driver.choose(driver.ui.regionComboBox, "Slice range")
    assert driver.ui.sliceRangeWidget.visible
    assert not driver.ui.roiWidget.visible
    driver.ui.firstSliceSpinBox.value = 40
    driver.denoise()
    assert "slices 1 to 12" in driver.status


def test_a_region_of_interest_must_be_chosen(make_driver, make_ct, slicer):
    make_ct()
    driver = make_driver()
    driver.behave("steady")
    driver.choose(driver.ui.regionComboBox, "Region of interest")
    assert not driver.ui.denoiseButton.enabled
    assert "Choose a ROI" in driver.ui.denoiseButton.toolTip
    roi = driver.ui.roiSelector.addNode()
    assert driver.parameters.roi is roi
    driver.denoise()
    assert "Done" in driver.status
    arrays = [
        slicer.util.arrayFromVolume(node) for node in (driver.parameters.inputVolume, driver.parameters.outputVolume)
    ]
    share = (arrays[0] != arrays[1]).mean()
    assert 0.1 < share < 0.15, "a new region lies in the middle, half as wide in three directions"
