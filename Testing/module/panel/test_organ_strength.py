"""Strength by organ from the table, by clicks: in denoisings, previews and batches. To the stand-in engine the left
half of a slice is half liver, the right one half lungs, and 20 HU are all of the change.
"""

from __future__ import annotations

import numpy as np
from organs_driver import cells, requests_of


def test_strength_by_organ_reaches_the_engine_and_the_output(measured):
    sent = requests_of(measured)
    measured.denoise()
    assert "organ_strength" not in sent[-1].fields, "equal everywhere by default"
    table = measured.organs.organsTable
    box = table.cellWidget(cells(measured, 0).index("lungs"), 2)
    assert box.text == "as all"
    box.value = 50
    measured.denoise()
    assert sent[-1].fields["organ_strength"] == {"lungs": 0.5}
    assert sent[-1].fields["anatomy"] == "maps"
    assert measured.parameters.outputVolume.GetAttribute("BioAttDenoise.OrganStrength") == '{"lungs": 0.5}'
    box.value = -1
    measured.denoise()
    assert "organ_strength" not in sent[-1].fields
    assert measured.parameters.outputVolume.GetAttribute("BioAttDenoise.OrganStrength") is None


def test_strengths_are_kept_with_the_scene(measured):
    table = measured.organs.organsTable
    table.cellWidget(1, 2).value = 80
    assert measured.parameters.organStrengths == '{"liver": 80}'
    measured.panel.setParameters(None)
    measured.panel.initializeParameters()
    measured.click(measured.organs.measureOrgansButton)
    measured.wait_idle()
    assert table.cellWidget(1, 2).value == 80


def set_strength(driver, organ, percent):
    driver.organs.organsTable.cellWidget(cells(driver, 0).index(organ), 2).value = percent


def change(slicer, before, after):
    """HU that were taken from the left and the right half."""
    taken = slicer.util.arrayFromVolume(before).astype(int) - slicer.util.arrayFromVolume(after)
    (left,), (right,) = np.unique(taken[..., :24]), np.unique(taken[..., 24:])
    return int(left), int(right)


def previewed(driver, slicer):
    """HU that the preview takes from the left and the right half."""
    shown = driver.panel.live.preview.shown
    before = slicer.util.arrayFromVolume(driver.parameters.inputVolume)[shown.index]
    taken = before.astype(int) - slicer.util.arrayFromVolume(shown.node)[0]
    return int(taken[0, 0]), int(taken[0, -1])


def test_a_preview_shows_it_as_the_run_does(measured, slicer):
    measured.ui.strengthSlider.value = 80
    set_strength(measured, "lungs", 20)
    measured.click(measured.ui.previewButton)
    measured.wait_idle()
    assert previewed(measured, slicer) == (16, 10), "20 HU · 0.8, and · (0.2 + 0.8) / 2"
    measured.ui.strengthSlider.value = 40
    assert not measured.logic.jobs.busy
    assert previewed(measured, slicer) == (8, 6), "at once"
    measured.denoise()
    assert change(slicer, measured.parameters.inputVolume, measured.parameters.outputVolume) == (8, 6)


def test_a_live_preview_follows_an_organ_and_another_goes(measured, slicer):
    measured.ui.strengthSlider.value = 80
    measured.click(measured.ui.previewButton)
    measured.wait_idle()
    set_strength(measured, "lungs", 20)
    assert measured.panel.live.preview.shown is None, "it would be wrong now"
    measured.click(measured.ui.livePreviewCheckBox)
    measured.wait_idle()
    assert previewed(measured, slicer) == (16, 10)
    set_strength(measured, "liver", 40)
    measured.until(lambda: measured.panel.live.preview.shown and previewed(measured, slicer) == (12, 10))


def test_a_batch_of_the_scene_honours_it(measured, slicer, make_ct):
    other = make_ct(slices=5, size=48, name="other")
    measured.unfold()
    measured.ui.strengthSlider.value = 80
    set_strength(measured, "lungs", 20)
    sent = requests_of(measured)
    measured.click(measured.sections["BatchSection"].ui.allVolumesButton)
    measured.wait_idle()
    assert [request.fields["organ_strength"] for request in sent] == [{"lungs": 0.2}] * 2
    assert [request.fields["anatomy"] for request in sent] == ["maps"] * 2, "each scan's own organs"
    output = slicer.util.getNode("other denoised")
    assert change(slicer, other, output) == (16, 10)
    assert output.GetAttribute("BioAttDenoise.OrganStrength") == '{"lungs": 0.2}'
    measured.click(measured.sections["BatchSection"].ui.allVolumesButton)
    measured.wait_idle()
    assert "Skipped, since the output is there already: 2" in measured.status
    set_strength(measured, "lungs", 60)
    measured.click(measured.sections["BatchSection"].ui.allVolumesButton)
    measured.wait_idle()
    assert measured.status.startswith("Done, 2 volumes"), "others than those that are there"


def test_a_batch_of_files_honours_it(measured, tmp_path):
    from bioatt.core.volume import Volume
    from bioatt.io.images import read_volume, write_volume

    (tmp_path / "in").mkdir()
    hu = np.random.default_rng(0).integers(-900, 900, (3, 16, 16)).astype(np.int16)
    write_volume(Volume(hu), tmp_path / "in" / "a.nrrd")
    measured.unfold()
    measured.ui.strengthSlider.value = 80
    set_strength(measured, "lungs", 20)
    batch = measured.sections["BatchSection"].ui
    batch.inputFolderLineEdit.currentPath = str(tmp_path / "in")
    batch.outputFolderLineEdit.currentPath = str(tmp_path / "out")
    measured.click(batch.folderButton)
    measured.wait_idle()
    taken = hu.astype(int) - read_volume(tmp_path / "out" / "a.nrrd").hu
    assert (taken[0, 0, 0], taken[0, 0, -1]) == (16, 10)
