"""The "Organs" page, by clicks. In the stand-in engine, the left half of the body is liver, the right half lungs; full
strength subtracts 20 HU, and each half uses the mean of the overall strength and its organ's."""

from __future__ import annotations

import csv
from types import SimpleNamespace

import numpy as np
import pytest

LIVER, LUNGS = 9, 5  # index in paper17 + 1


@pytest.fixture
def organs(driver_on):
    """A driver with a loaded scan; driver.section and driver.organs are the section and its widgets."""
    driver = driver_on(12, 48)
    driver.section = next(s for s in driver.panel.sections if type(s).__name__ == "OrgansSection")
    driver.organs = driver.section.ui
    return driver


@pytest.fixture
def measured(organs):
    """The same driver, with the section open and the organs measured before and after denoising."""
    organs.ui.anatomyCollapsibleButton.collapsed = False
    organs.click(organs.organs.denoiseAndMeasureButton)
    organs.wait_idle()
    return organs


def cells(driver, column):
    table = driver.organs.organsTable
    return [table.item(row, column).text() for row in range(table.rowCount)]


def requests_of(driver):
    """A list that collects every request from now on."""
    sent, submit = [], driver.logic.submit

    def listen(kind, request, **more):
        if request is not None:
            sent.append(request)
        return submit(kind, request, **more)

    driver.logic.submit = listen
    return sent


def select(driver, name):
    table = driver.organs.organsTable
    table.selectRow(cells(driver, 0).index(name))


def segmentations(slicer):
    return slicer.util.getNodesByClass("vtkMRMLSegmentationNode")


def test_two_clicks_to_the_noise_of_the_liver(organs, slicer):
    from PySide6.QtCore import QPoint, Qt
    from PySide6.QtTest import QTest

    header = organs.ui.anatomyCollapsibleButton
    QTest.mouseClick(header, Qt.MouseButton.LeftButton, pos=QPoint(60, 10))
    organs.click(organs.organs.denoiseAndMeasureButton)
    organs.wait_idle()
    assert organs.clicks == 1, "besides the one on the header"
    assert cells(organs, 0) == ["lungs", "liver"]
    assert cells(organs, 1) == ["≤ 20.0 → 8.0", "20.0 → 8.0"]
    assert cells(organs, 5)[0].startswith("⚠ −"), "the mean moved by more than it may"
    assert "2.0 HU" in organs.organs.organsTable.item(0, 5).toolTip()
    assert cells(organs, 6)[0].startswith("> "), "the scan cuts it off"
    assert organs.parameters.outputVolume is not None


def test_without_an_output_the_input_is_measured_alone(organs):
    organs.ui.anatomyCollapsibleButton.collapsed = False
    organs.click(organs.organs.measureOrgansButton)
    organs.wait_idle()
    assert cells(organs, 1) == ["≤ 20.0", "20.0"]
    assert cells(organs, 5) == ["–", "–"]
    assert organs.parameters.outputVolume is None


def test_the_organs_come_as_a_segmentation_with_terminology_and_color(measured, slicer):
    (node,) = segmentations(slicer)
    segments = node.GetSegmentation()
    assert list(segments.GetSegmentIDs()) == ["lungs", "liver"]
    liver = segments.GetSegment("liver")
    assert liver.GetColor() == pytest.approx((0.87, 0.51, 0.40))
    import vtk

    entry = vtk.reference("")
    assert liver.GetTag("TerminologyEntry", entry)
    assert "SCT^10200004^liver" in str(entry)
    from BioAttDenoiseLib.scene.segmentations import labels_of

    labels = labels_of(node, measured.parameters.inputVolume)
    expected = np.zeros((12, 48, 48), np.uint8)
    expected[:, 4:-4, 4:24], expected[:, 4:-4, 24:-4] = 2, 1
    np.testing.assert_array_equal(labels.array, expected)
    assert labels.names == {1: "lungs", 2: "liver"}
    assert not node.GetSaveWithScene()
    assert node.GetHideFromEditors(), "nothing is listed that is not kept"


def test_outlines_and_surfaces(measured, slicer):
    display = segmentations(slicer)[0].GetDisplayNode()
    assert display.GetVisibility2DOutline()
    assert not display.GetVisibility2DFill()
    assert not display.GetVisibility3D()
    select(measured, "liver")
    assert display.GetSegmentOpacity2DOutline("liver") > display.GetSegmentOpacity2DOutline("lungs")
    measured.click(measured.organs.outlinesCheckBox)
    assert not display.GetVisibility2DOutline()
    measured.click(measured.organs.surfacesCheckBox)
    assert display.GetVisibility3D()
    assert segmentations(slicer)[0].GetClosedSurfaceInternalRepresentation("liver").GetNumberOfPoints() > 0


def test_a_row_goes_to_its_organ(measured, slicer, views):
    from BioAttDenoiseLib.scene import slice_views

    view = views.sliceWidget("Red").mrmlSliceNode()
    node = measured.parameters.inputVolume
    view.SetSliceOffset(-300)
    select(measured, "liver")
    assert slice_views.slice_index(view, node) in (5, 6)


def test_a_row_selects_the_overlay_and_each_is_named(measured, slicer, views):
    """Organ map p, attention A and contribution p·A: each has a color bar that names it."""
    overlay = measured.section.inspection.overlay
    composite = views.sliceWidget("Red").mrmlSliceCompositeNode()

    def legend():
        (found,) = slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode")
        return found.GetTitleText()

    measured.choose(measured.organs.organViewComboBox, "Organ map (p)")
    select(measured, "liver")
    measured.wait_idle()
    assert composite.GetForegroundVolumeID() == overlay.node.GetID()
    shown = slicer.util.arrayFromVolume(overlay.node)
    assert shown[6, 20, 10] == pytest.approx(0.8), "on the liver"
    assert shown[6, 20, 40] < 0.1
    assert legend() == "liver\norgan map p"
    assert overlay.node.GetName().endswith("organ map liver")
    measured.choose(measured.organs.organViewComboBox, "Attention (A)")
    measured.wait_idle()
    assert overlay.shown == ("last", "liver", "raw")
    assert legend() == "liver\nlast attention A"
    measured.choose(measured.organs.organViewComboBox, "Contribution (p·A)")
    measured.wait_idle()
    assert overlay.shown == ("last", "liver", "contribution")
    assert legend() == "liver\nlast contribution p A"
    assert measured.organs.organViewComboBox.currentText == "Contribution (p·A)"
    measured.choose(measured.organs.organViewComboBox, "Outlines only")
    assert composite.GetForegroundVolumeID() is None


def test_remove_undoes_everything(measured, slicer, views):
    count = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    measured.choose(measured.organs.organViewComboBox, "Organ map (p)")
    select(measured, "liver")
    measured.wait_idle()
    measured.click(measured.organs.removeOrgansButton)
    assert segmentations(slicer) == []
    assert measured.organs.organsTable.rowCount == 0
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == count
    assert views.sliceWidget("Red").mrmlSliceCompositeNode().GetForegroundVolumeID() is None


def test_another_scan_takes_the_organs_away(measured, slicer, make_ct):
    measured.ui.inputSelector.setCurrentNode(make_ct(name="another"))
    assert segmentations(slicer) == []
    assert measured.organs.organsTable.rowCount == 0


def test_what_is_kept_stays_and_is_saved(measured, slicer, make_ct):
    measured.click(measured.organs.keepOrgansButton)
    (node,) = segmentations(slicer)
    assert node.GetSaveWithScene()
    assert not node.GetHideFromEditors()
    assert not measured.organs.keepOrgansButton.enabled
    measured.ui.inputSelector.setCurrentNode(make_ct(name="another"))
    assert segmentations(slicer) == [node]


def test_the_table_as_csv(measured, tmp_path):
    measured.section.save(str(tmp_path / "organs.csv"))
    rows = list(csv.DictReader((tmp_path / "organs.csv").open(encoding="utf-8-sig")))
    assert [row["organ"] for row in rows] == ["lungs", "liver"]
    assert rows[1]["noise_after"] == "8.0"
    assert "Written" in measured.status


def test_a_segmentation_in_the_scene_is_the_anatomy(organs, slicer):
    """Segments are named as TotalSegmentator names them in Slicer; those that are not organs are left out."""
    scan = organs.parameters.inputVolume
    labels = np.zeros((12, 48, 48), np.uint8)
    labels[2:6, 10:20, 10:20], labels[2:6, 30:40, 30:40] = 1, 2
    from BioAttDenoiseLib.scene import segmentations as made

    segments = [
        {"value": 1, "name": "Liver", "color": (1, 0, 0), "terminology": ""},
        {"value": 2, "name": "my own thing", "color": (0, 1, 0), "terminology": ""},
    ]
    node = made.make(scan, labels, segments)
    made.keep(node)
    organs.organs.segmentationSelector.setMRMLScene(slicer.mrmlScene)  # Slicer's own widget notices by itself
    organs.ui.anatomyCollapsibleButton.collapsed = False
    assert not organs.organs.segmentationSelector.visible
    organs.choose(organs.organs.anatomyComboBox, "Segmentation in the scene")
    organs.settle()
    assert organs.organs.segmentationSelector.visible
    organs.click(organs.organs.measureOrgansButton)
    assert "Choose the segmentation" in organs.status
    organs.organs.segmentationSelector.setCurrentNode(node)
    sent = requests_of(organs)
    organs.click(organs.organs.measureOrgansButton)
    organs.wait_idle()
    anatomy = sent[-1].fields["anatomy"]
    assert list(anatomy["names"].values()) == ["Liver"]
    assert (anatomy["labels"]["array"] == 1).sum() == 400


@pytest.mark.parametrize(
    ("name", "identity", "known"),
    [
        ("liver", "Segment_1", "liver"),
        ("right kidney", "Segment_2", "kidney_right"),
        ("Right kidney", "kidney_right", "kidney_right"),
        ("my own thing", "Segment_3", ""),
    ],
)
def test_names_of_segments(slicer, name, identity, known):
    from bioatt.anatomy.descriptors import ANATOMY_SET, load_descriptor_set
    from BioAttDenoiseLib.scene.segmentations import known_name

    segment = slicer.vtkSegment()
    segment.SetName(name)
    assert known_name(load_descriptor_set(ANATOMY_SET), segment, identity) == known


def test_a_segmentation_without_organs_is_refused(organs, slicer):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "tumour")
    organs.ui.anatomyCollapsibleButton.collapsed = False
    organs.choose(organs.organs.anatomyComboBox, "Segmentation in the scene")
    organs.organs.segmentationSelector.setCurrentNode(node)
    organs.click(organs.organs.measureOrgansButton)
    assert 'No segment of "tumour" is named after an organ' in organs.status


def test_contrast_against_another_organ_measures_again(measured):
    sent = requests_of(measured)
    box = measured.organs.cnrComboBox
    box.currentIndex = box.findText("spleen")
    box.activated.emit(box.currentIndex)
    measured.wait_idle()
    assert sent[-1].fields["reference"] == "spleen"


def test_measuring_can_be_cancelled(organs):
    organs.ui.anatomyCollapsibleButton.collapsed = False
    organs.hold_replies()
    organs.click(organs.organs.measureOrgansButton)
    assert organs.organs.measureOrgansButton.text == "Cancel"
    organs.click(organs.organs.measureOrgansButton)
    organs.wait_idle()
    assert organs.status == "Cancelled."
    assert organs.organs.organsTable.rowCount == 0


def test_a_closed_scene_leaves_no_organs(measured, slicer):
    slicer.mrmlScene.Clear(0)
    measured.settle()
    assert measured.organs.organsTable.rowCount == 0
    assert measured.section.organs.node is None


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
    """HU subtracted from the left and the right half."""
    taken = slicer.util.arrayFromVolume(before).astype(int) - slicer.util.arrayFromVolume(after)
    (left,), (right,) = np.unique(taken[..., :24]), np.unique(taken[..., 24:])
    return int(left), int(right)


def previewed(driver, slicer):
    """HU that the preview subtracts from the left and the right half."""
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
    assert "Skipped, output already exists: 2" in measured.status
    set_strength(measured, "lungs", 60)
    measured.click(measured.sections["BatchSection"].ui.allVolumesButton)
    measured.wait_idle()
    assert measured.status.startswith("Done, 2 volumes"), "others than those that are there"


def test_a_batch_of_files_honours_it(measured, tmp_path, monkeypatch):
    import qt

    from bioatt.core.volume import Volume
    from bioatt.io.images import read_volume, write_volume

    monkeypatch.setattr(qt, "QDesktopServices", SimpleNamespace(openUrl=lambda url: None))
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
    taken = hu.astype(int) - read_volume(tmp_path / "out" / "a" / "denoised.nrrd").hu
    assert (taken[0, 0, 0], taken[0, 0, -1]) == (16, 10)
