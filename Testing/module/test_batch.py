"""Batches started by clicks in the panel: progress, cancelling, volumes that cannot be denoised, folders."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from places import DICOM_FIXTURES


@pytest.fixture
def batch(make_driver, slicer):
    """batch() opens a panel and its section; driver.batch has the "Batch" page's widgets."""

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
    """make_series(folder) writes a DICOM series of 3 slices to the folder."""
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
    hu = np.random.default_rng(seed).integers(-1000, 1000, (30, 16, 16)).astype(np.int16)
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
    assert "Skipped, output already exists: 3" in driver.status
    edited = slicer.util.getNode("b")
    slicer.util.arrayFromVolume(edited)[0, 0, 0] += 1
    slicer.util.arrayFromVolumeModified(edited)
    driver.click(driver.batch.allVolumesButton)
    driver.wait_idle()
    assert driver.status.splitlines()[0] == "Done, 1 volume: b denoised_1."
    assert "Skipped, output already exists: 2" in driver.status
    assert len(names(slicer)) == 7, "what was edited since is"
    driver.ui.strengthSlider.value = 60
    driver.click(driver.batch.allVolumesButton)
    driver.wait_idle()
    assert len(names(slicer)) == 10, "with others, of the scans and not of what was made here"


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
        "Skipped, output already exists: 1.",
    ]


def test_a_scene_without_a_ct(batch):
    driver = batch()
    driver.click(driver.batch.allVolumesButton)
    assert driver.status == "There is no CT volume to denoise: load one first."


def test_progress_is_of_the_whole_and_cancel_keeps_what_is_done(batch, make_ct, slicer, until):
    for name in ("a", "b", "c"):
        make_ct(slices=30, name=name)
    driver = batch()
    driver.behave("slow")
    driver.click(driver.batch.allVolumesButton)
    assert driver.ui.denoiseButton.text == "Cancel"
    until(lambda: "volume 2 of 3 · slice" in driver.ui.progressBar.format)
    assert 33 <= driver.ui.progressBar.value < 67
    assert not driver.batch.allVolumesButton.enabled
    driver.click(driver.ui.denoiseButton)
    start = time.monotonic()
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
    slicer.util.updateVolumeFromArray(empty, np.random.default_rng(0).random((4, 8, 8)).astype(np.float32))  # not HU
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


@pytest.fixture
def opened(monkeypatch):
    """The pages opened in the browser."""
    import qt

    pages = []
    browser = SimpleNamespace(openUrl=lambda url: pages.append(Path(url.toLocalFile())))
    monkeypatch.setattr(qt, "QDesktopServices", browser)
    return pages


@pytest.fixture
def folders(batch, opened, tmp_path):
    """folders(rules="") opens a panel with tmp_path/in and tmp_path/out chosen and, if given, a rules file."""

    def make(rules=""):
        driver = batch()
        driver.batch.inputFolderLineEdit.currentPath = str(tmp_path / "in")
        driver.batch.outputFolderLineEdit.currentPath = str(tmp_path / "out")
        if rules:
            (tmp_path / "rules.toml").write_text(rules)
            driver.batch.rulesLineEdit.currentPath = str(tmp_path / "rules.toml")
        return driver

    return make


def denoise_folder(driver):
    driver.click(driver.batch.folderButton)
    driver.wait_idle()
    return driver.status


def test_a_folder_is_denoised_as_bioatt_batch_does(folders, make_ct, make_series, slicer, tmp_path, change_hu, opened):
    from bioatt.io.images import read_volume

    make_ct()
    hu = write(tmp_path / "in", "a.nrrd")
    make_series(tmp_path / "in" / "Doe.John" / "1.2.840.113619.2.55")
    (tmp_path / "in" / "bad.nii.gz").write_bytes(b"no volume")
    driver, page = folders(), tmp_path / "out" / "report.html"
    assert denoise_folder(driver) == f"Scans: 2 done, 1 failed. Report: {page}"
    np.testing.assert_array_equal(read_volume(tmp_path / "out" / "a" / "denoised.nrrd").hu, hu - change_hu)
    (series,) = (tmp_path / "out" / "Doe.John").rglob("dicom")
    assert len(list(series.iterdir())) == 3
    assert opened == [page]
    assert "bad.nii" in page.read_text(encoding="utf-8")
    assert names(slicer) == ["CT"], "the scene is not touched"
    assert denoise_folder(driver).startswith("Scans: 2 done before, 1 failed."), "and goes on where it was interrupted"
    driver.ui.strengthSlider.value = 20
    assert denoise_folder(driver).startswith("Scans: 2 done, 1 failed."), "by the panel's settings"


def test_rules_come_before_the_panels_settings(folders, tmp_path):
    from bioatt.io.images import read_volume

    for name in ("keep.nrrd", "other.nrrd"):
        hu = write(tmp_path / "in", name)
    rule = '[[rule]]\nmatch.series_description = "keep"\nmodel = "steady"\nstrength = 0.5\nformats = ["mha"]\n'
    driver = folders(rule)
    driver.behave("refused")
    assert denoise_folder(driver).startswith("Scans: 1 done, 1 left out.")
    np.testing.assert_array_equal(read_volume(tmp_path / "out" / "keep" / "denoised.mha").hu, hu - 10)
    (tmp_path / "rules.toml").write_text(rule.replace("strength", "strenght"))
    assert "unknown key 'strenght'" in denoise_folder(driver)


def test_progress_of_a_folder_is_of_the_whole_and_cancel_leaves_nothing_half_written(folders, tmp_path, until, opened):
    for seed, name in enumerate(("a.nrrd", "b.nrrd")):
        write(tmp_path / "in", name, seed)
    driver = folders()
    driver.behave("slow")
    driver.click(driver.batch.folderButton)
    assert driver.ui.denoiseButton.text == "Cancel"
    assert not driver.batch.rulesLineEdit.enabled
    until(lambda: "scans done: 1 of 2" in driver.ui.progressBar.format and driver.ui.progressBar.value > 50)
    assert driver.status == ""
    driver.click(driver.ui.denoiseButton)
    driver.wait_idle()
    assert driver.status == "Cancelled. Finished scans are kept; start again to resume."
    until(lambda: [path for path in (tmp_path / "out" / ".bioatt").iterdir() if path.is_dir()] == [])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".bioatt", "a"]
    assert opened == []
    assert denoise_folder(driver).startswith("Scans: 1 done before, 1 done.")


def test_a_scan_that_ends_its_process_is_told_and_the_others_are_done(folders, tmp_path):
    for name in ("deadly.nrrd", "good.nrrd"):
        write(tmp_path / "in", name)
    driver = folders('[[rule]]\nmatch.series_description = "deadly"\nmodel = "crash"\n[[rule]]\nmodel = "steady"\n')
    assert denoise_folder(driver).startswith("Scans: 1 failed, 1 done.")


def test_a_folder_goes_on_when_the_scene_is_closed(folders, make_ct, slicer, until, tmp_path):
    make_ct()
    write(tmp_path / "in", "a.nrrd")
    driver = folders()
    driver.behave("slow")
    driver.click(driver.batch.folderButton)
    until(lambda: "scans done: 0 of 1" in driver.ui.progressBar.format)
    slicer.mrmlScene.Clear(0)
    driver.settle()
    assert driver.ui.denoiseButton.text == "Cancel"
    driver.wait_idle()
    assert driver.status.startswith("Scans: 1 done.")


def test_an_emptied_folder_line_is_not_the_current_folder(folders, tmp_path):
    write(tmp_path / "in", "scan.nrrd")
    driver = folders()
    assert driver.batch.folderButton.enabled
    driver.batch.outputFolderLineEdit.currentPath = ""
    assert not driver.batch.folderButton.enabled
    driver.section.onFolder()
    assert driver.status == "Choose the input and output folders."


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        ("in", "in/out", "is inside the input"),
        ("none", "out", "no such file or folder"),
        ("empty", "out", "neither DICOM"),
    ],
)
def test_folders_that_cannot_be_used(folders, tmp_path, source, target, reason):
    write(tmp_path / "in", "a.nrrd")
    (tmp_path / "empty").mkdir()
    driver = folders()
    driver.batch.inputFolderLineEdit.currentPath = str(tmp_path / source)
    driver.batch.outputFolderLineEdit.currentPath = str(tmp_path / target)
    status = denoise_folder(driver)
    assert status.startswith("⚠ ")
    assert reason in status
    assert driver.ui.denoiseButton.text == "&Denoise"
