"""Many volumes from the panel, by clicks: progress, cancel, a volume that cannot be denoised, folders."""

from __future__ import annotations

import importlib.util
import time

import numpy as np
import pytest
from places import DICOM_FIXTURES


@pytest.fixture
def batch(make_driver, slicer):
    """A panel with the section open: driver.batch is its widgets."""

    def make():
        driver = make_driver()
        section = next(s for s in driver.panel.sections if type(s).__name__ == "BatchSection")
        driver.section, driver.batch = section, section.ui
        driver.ui.advancedCollapsibleButton.collapsed = False
        slicer.app.processEvents()
        driver.behave("steady")
        return driver

    return make


@pytest.fixture
def make_series():
    """make_series(folder) writes a DICOM series of 3 slices there."""
    path = DICOM_FIXTURES
    specification = importlib.util.spec_from_file_location("series_writer", path)
    writer = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(writer)

    def make(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        writer.write_series(folder, writer.ct_like(slices=3))

    return make


def names(slicer):
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return [node.GetName() for node in nodes if not node.GetHideFromEditors()]


def write(folder, name, seed=0):
    from bioatt.core.volume import Volume
    from bioatt.io.images import write_volume

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
    assert driver.status == "Done, 3 volumes: a denoised, b denoised, c denoised."
    assert names(slicer) == ["a", "b", "c", "a denoised", "b denoised", "c denoised"]
    before, after = (slicer.util.arrayFromVolume(slicer.util.getNode(name)) for name in ("c", "c denoised"))
    np.testing.assert_array_equal(after, before - 10)
    assert driver.parameters.outputVolume.GetName() == "a denoised", "of the volume that is chosen"
    driver.click(driver.batch.allVolumesButton)
    driver.wait_idle()
    assert len(names(slicer)) == 6, "what has an output with these settings is not denoised again"
    assert "Skipped, since the output is there already: 3" in driver.status
    driver.ui.strengthSlider.value = 60
    driver.click(driver.batch.allVolumesButton)
    driver.wait_idle()
    assert len(names(slicer)) == 9, "with others, of the scans and not of what was made here"


def test_maps_that_were_made_here_are_no_scans(batch, make_ct, slicer):
    make_ct(name="a")
    driver = batch()
    sections = {type(section).__name__: section for section in driver.panel.sections}
    driver.unfold()
    driver.denoise()
    sections["NumbersSection"].onNoiseMaps()
    driver.choose(sections["AttentionSection"].ui.mapSlicesComboBox, "Whole volume")
    driver.click(sections["AttentionSection"].ui.computeMapsButton)
    driver.wait_idle()
    driver.click(sections["AttentionSection"].ui.keepMapButton)
    assert len(names(slicer)) == 5, "scan, output, two noise maps, an attention map"
    driver.click(driver.batch.allVolumesButton)
    driver.wait_idle()
    assert driver.status.splitlines() == [
        "Done, no volumes.",
        "Skipped, since the output is there already: 1.",
    ]


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
    assert driver.status == "Cancelled. Volumes denoised before: 1."
    assert names(slicer) == ["a", "b", "c", "a denoised"]
    driver.behave("steady")
    driver.denoise()
    assert "Done" in driver.status, "and the panel works as before"


def test_one_that_fails_is_named_and_the_others_are_done(batch, make_ct, slicer):
    make_ct(name="a")
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "broken")
    slicer.util.updateVolumeFromArray(empty, np.random.default_rng(0).random((4, 8, 8)).astype(np.float32))  # no HU
    make_ct(name="c")
    driver = batch()
    driver.click(driver.batch.allVolumesButton)
    driver.wait_idle()
    lines = driver.status.splitlines()
    assert lines[:2] == ["Done, 2 volumes: a denoised, c denoised.", "Failed: 1."]
    assert lines[2].startswith("⚠ broken: ")
    assert len(lines) == 3
    assert names(slicer) == ["a", "broken", "c", "a denoised", "c denoised"]
    assert driver.errors == [], "names stay out of Slicer's log"


def test_memory_that_runs_out_at_a_start_is_told(batch, make_ct, slicer, monkeypatch):
    from BioAttDenoiseLib.scene import regions

    make_ct(name="a")
    make_ct(name="b")
    driver = batch()
    fields, calls = regions.Region.fields, []

    def once_too_large(self, *args, **more):
        calls.append(self)
        if len(calls) == 1:
            raise MemoryError
        return fields(self, *args, **more)

    monkeypatch.setattr(regions.Region, "fields", once_too_large)
    driver.click(driver.batch.allVolumesButton)
    driver.wait_idle()
    assert "⚠ a: The computer ran out of memory" in driver.status
    assert names(slicer) == ["a", "b", "b denoised"]


def test_warnings_of_a_scene_are_told(batch, make_ct, slicer):
    make_ct(name="a")
    node = make_ct(name="b")
    turned = np.deg2rad(30)
    node.SetIJKToRASDirections(1, 0, 0, 0, np.cos(turned), -np.sin(turned), 0, np.sin(turned), np.cos(turned))
    driver = batch()
    driver.click(driver.batch.allVolumesButton)
    driver.wait_idle()
    lines = driver.status.splitlines()
    assert lines[0].startswith("Done, 2 volumes")
    assert [line[:5] for line in lines[1:]] == ["⚠ b: "]


def open_folders(driver, source, target):
    driver.batch.inputFolderLineEdit.currentPath = str(source)
    driver.batch.outputFolderLineEdit.currentPath = str(target)
    driver.click(driver.batch.folderButton)
    driver.wait_idle()


def test_inputs_with_one_output_name_are_refused(batch, tmp_path):
    write(tmp_path / "in", "scan.nrrd")
    (tmp_path / "in" / "scan.nhdr").write_text("NRRD0004")
    driver = batch()
    open_folders(driver, tmp_path / "in", tmp_path / "out")
    assert driver.status == '⚠ "scan.nhdr" and "scan.nrrd" would both be written as "scan.nrrd". Rename one of them.'
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_there_stays_and_a_batch_goes_on(batch, tmp_path):
    for name in ("a.nrrd", "b.nrrd", ".hidden.nrrd"):
        write(tmp_path / "in", name)
    (tmp_path / "in" / "c.nrrd").write_bytes(b"no volume")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.nrrd").write_bytes(b"somebody's")
    driver = batch()
    open_folders(driver, tmp_path / "in", tmp_path / "out")
    lines = driver.status.splitlines()
    assert lines[:3] == [
        "Done: 1 files or series written.",
        "Skipped, since the output is there already: 1.",
        "Failed: 1.",
    ]
    assert lines[3].startswith("⚠ c.nrrd: ")
    assert (tmp_path / "out" / "a.nrrd").read_bytes() == b"somebody's"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.nrrd", "b.nrrd"]
    write(tmp_path / "in", "c.nrrd")
    open_folders(driver, tmp_path / "in", tmp_path / "out")
    assert driver.status.splitlines() == [
        "Done: 1 files or series written.",
        "Skipped, since the output is there already: 2.",
    ]


def test_cancel_leaves_nothing_half_written(batch, tmp_path, until):
    write(tmp_path / "in", "a.nrrd")
    target = tmp_path / "out"
    target.mkdir()
    (target / ".bioatt-1-abc.nrrd").write_bytes(b"another process at work")
    driver = batch()
    driver.behave("half")
    driver.batch.inputFolderLineEdit.currentPath = str(tmp_path / "in")
    driver.batch.outputFolderLineEdit.currentPath = str(target)
    driver.click(driver.batch.folderButton)
    until(lambda: len(list(target.iterdir())) == 2)
    driver.click(driver.ui.denoiseButton)
    driver.wait_idle()
    assert "Cancelled" in driver.status
    until(lambda: [path.name for path in target.iterdir()] == [".bioatt-1-abc.nrrd"], seconds=5)


def test_a_folder_goes_on_when_the_scene_is_closed(batch, make_ct, slicer, until, tmp_path):
    make_ct()
    for seed, name in enumerate(("a.nrrd", "b.nrrd")):
        write(tmp_path / "in", name, seed)
    driver = batch()
    driver.behave("slow")
    driver.batch.inputFolderLineEdit.currentPath = str(tmp_path / "in")
    driver.batch.outputFolderLineEdit.currentPath = str(tmp_path / "out")
    driver.click(driver.batch.folderButton)
    until(lambda: "volume 1 of 2 · slice" in driver.ui.progressBar.format)
    slicer.mrmlScene.Clear(0)
    driver.settle()
    assert driver.ui.denoiseButton.text == "Cancel"
    driver.wait_idle()
    assert driver.status == "Done: 2 files or series written."


def test_an_output_folder_within_the_input_is_no_input(batch, tmp_path):
    """Its first series would be denoised again by the same run, as one more folder."""
    write(tmp_path / "in", "scan.nrrd")
    driver = batch()
    open_folders(driver, tmp_path / "in", tmp_path / "in" / "results" / "denoised")
    assert driver.status == "Done: 1 files or series written."
    assert [path.name for path in (tmp_path / "in" / "results" / "denoised").iterdir()] == ["scan.nrrd"]
    open_folders(driver, tmp_path / "in", tmp_path / "in" / "results" / "denoised")
    assert "Skipped, since the output is there already: 1." in driver.status
    assert "Failed" not in driver.status


def test_an_emptied_folder_line_is_not_the_current_folder(batch, tmp_path):
    write(tmp_path / "in", "scan.nrrd")
    driver = batch()
    driver.batch.inputFolderLineEdit.currentPath = str(tmp_path / "in")
    driver.batch.outputFolderLineEdit.currentPath = str(tmp_path / "out")
    assert driver.batch.folderButton.enabled
    driver.batch.outputFolderLineEdit.currentPath = ""
    assert not driver.batch.folderButton.enabled
    driver.section.onFolder()
    assert driver.status == "Choose both folders."


@pytest.mark.parametrize("name", ["1.2.840.113619.2.55", "CT_1.5mm", "Doe.John"])
def test_a_series_in_a_folder_with_a_dot_in_its_name(batch, tmp_path, make_series, name):
    make_series(tmp_path / "in" / name)
    driver = batch()
    open_folders(driver, tmp_path / "in", tmp_path / "out")
    assert driver.status.splitlines()[0] == "Done: 1 files or series written."
    assert len(list((tmp_path / "out" / name).iterdir())) == 3


def test_a_folder_into_another(batch, make_ct, slicer, tmp_path, change_hu):
    from bioatt.io.images import read_volume

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
        np.testing.assert_array_equal(read_volume(tmp_path / "out" / name).hu, before - change_hu)
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
    assert driver.ui.denoiseButton.text == "&Denoise"


def test_headers_with_data_of_their_own_become_one_file(logic, tmp_path):
    import SimpleITK as sitk

    (tmp_path / "in").mkdir()
    image = sitk.GetImageFromArray(np.random.default_rng(0).integers(-900, 900, (3, 16, 16)).astype(np.int16))
    sitk.WriteImage(image, str(tmp_path / "in" / "scan.mhd"))
    written = logic.denoiseFolder(tmp_path / "in", tmp_path / "out", model="steady")
    assert [outcome.result.name for outcome in written] == ["scan.mha"]
    assert written[0].result.is_file()


def test_what_a_series_could_not_store_is_told(batch, tmp_path):
    from BioAttDenoiseLib.batch import Outcome

    driver = batch()
    section = next(s for s in driver.panel.sections if type(s).__name__ == "BatchSection")
    text = section._filesDone([Outcome("series", tmp_path / "series", ("3 voxels clipped by up to 10 HU",))])
    assert text.splitlines()[1] == "⚠ series: 3 voxels clipped by up to 10 HU."
