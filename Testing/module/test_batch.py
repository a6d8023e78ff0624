"""Many volumes from the panel, by clicks: progress, cancel, a volume that cannot be denoised, folders."""

from __future__ import annotations

import time

import numpy as np
import pytest


@pytest.fixture
def batch(make_driver, slicer):
    """A panel with the section open: driver.batch is its widgets."""

    def make():
        driver = make_driver()
        section = next(s for s in driver.panel.sections if type(s).__name__ == "BatchSection")
        driver.batch = section.ui
        driver.batch.batchCollapsibleButton.collapsed = False
        slicer.app.processEvents()
        driver.behave("steady")
        return driver

    return make


def names(slicer):
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return [node.GetName() for node in nodes if not node.GetHideFromEditors()]


def write(folder, name, seed=0):
    from bioatt.volume import Volume, write_volume

    folder.mkdir(exist_ok=True)
    hu = np.random.default_rng(seed).integers(-1000, 1000, (6, 16, 16)).astype(np.int16)
    write_volume(Volume(hu), folder / name)
    return hu


def test_every_ct_volume_of_the_scene(batch, make_ct, slicer):
    for name in ("a", "b", "c"):
        make_ct(name=name)
    driver = batch()
    driver.ui.strengthSlider.value = 50
    driver.click(driver.batch.allVolumesButton)
    driver.wait_idle()
    assert driver.status == "Done, 3 volumes: «a denoised», «b denoised», «c denoised»."
    assert names(slicer) == ["a", "b", "c", "a denoised", "b denoised", "c denoised"]
    before, after = (slicer.util.arrayFromVolume(slicer.util.getNode(name)) for name in ("c", "c denoised"))
    np.testing.assert_array_equal(after, before - 5)
    driver.click(driver.batch.allVolumesButton)
    driver.wait_idle()
    assert len(names(slicer)) == 9, "again, of the scans and not of what was made here"


def test_a_scene_without_a_ct(batch):
    driver = batch()
    driver.click(driver.batch.allVolumesButton)
    assert driver.status == "There is no CT volume to denoise."


def test_progress_is_of_the_whole_and_cancel_keeps_what_is_done(batch, make_ct, slicer, until):
    for name in ("a", "b", "c"):
        make_ct(name=name)
    driver = batch()
    driver.behave("slow")
    driver.click(driver.batch.allVolumesButton)
    assert driver.ui.denoiseButton.text == "Cancel"
    until(lambda: "volume 2 of 3 · slice" in driver.ui.progressBar.format)
    assert 33 <= driver.ui.progressBar.value < 67
    assert not driver.batch.allVolumesButton.enabled
    start = time.monotonic()
    driver.click(driver.ui.denoiseButton)
    driver.wait_idle()
    assert time.monotonic() - start < 1
    assert driver.status == "Cancelled. What was done before stays: 1."
    assert names(slicer) == ["a", "b", "c", "a denoised"]
    driver.behave("steady")
    driver.denoise()
    assert "Done" in driver.status, "and the panel works as before"


def test_the_first_that_fails_ends_it_and_is_named(batch, make_ct, slicer):
    make_ct(name="a")
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "broken")
    slicer.util.updateVolumeFromArray(empty, np.random.default_rng(0).random((4, 8, 8)).astype(np.float32))  # no HU
    make_ct(name="c")
    driver = batch()
    driver.click(driver.batch.allVolumesButton)
    driver.wait_idle()
    assert driver.status.startswith("⚠ broken: ")
    assert names(slicer) == ["a", "broken", "c", "a denoised"]


def test_a_folder_into_another(batch, make_ct, slicer, tmp_path):
    from bioatt.volume import read_volume

    make_ct()
    hu = {name: write(tmp_path / "in", name, seed) for seed, name in enumerate(("a.nrrd", "b.nii.gz"))}
    driver = batch()
    driver.settle()
    assert not driver.batch.folderButton.enabled
    driver.batch.inputFolderLineEdit.currentPath = str(tmp_path / "in")
    driver.batch.outputFolderLineEdit.currentPath = str(tmp_path / "out")
    driver.click(driver.batch.folderButton)
    driver.wait_idle()
    assert driver.status == "Done: 2 files or series written."
    for name, before in hu.items():
        np.testing.assert_array_equal(read_volume(tmp_path / "out" / name).hu, before - 10)
    assert names(slicer) == ["CT"], "the scene is not touched"


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        ("in", "in", "The output folder is the input folder"),
        ("none", "out", "no folder"),
        ("empty", "out", "no volume"),
    ],
)
def test_folders_that_cannot_be_used(batch, tmp_path, source, target, reason):
    write(tmp_path / "in", "a.nrrd")
    (tmp_path / "empty").mkdir()
    driver = batch()
    driver.batch.inputFolderLineEdit.currentPath = str(tmp_path / source)
    driver.batch.outputFolderLineEdit.currentPath = str(tmp_path / target)
    driver.click(driver.batch.folderButton)
    driver.wait_idle()
    assert driver.status.startswith("⚠ ")
    assert reason in driver.status
    assert driver.ui.denoiseButton.text == "Denoise"


def test_headers_with_data_of_their_own_become_one_file(logic, tmp_path):
    import SimpleITK as sitk

    (tmp_path / "in").mkdir()
    image = sitk.GetImageFromArray(np.random.default_rng(0).integers(-900, 900, (3, 16, 16)).astype(np.int16))
    sitk.WriteImage(image, str(tmp_path / "in" / "scan.mhd"))
    written = logic.denoiseFolder(tmp_path / "in", tmp_path / "out", model="steady")
    assert [path.name for path in written] == ["scan.mha"]
    assert written[0].is_file()


def test_what_a_series_could_not_store_is_told(batch, tmp_path, monkeypatch):
    driver = batch()
    section = next(s for s in driver.panel.sections if type(s).__name__ == "BatchSection")
    text = section._filesDone([(tmp_path / "series", ("3 voxels clipped by up to 10 HU",))])
    assert text.splitlines()[1] == "⚠ series: 3 voxels clipped by up to 10 HU."
