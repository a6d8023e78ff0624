"""The section "Organs", by clicks on the stand-in engine: the body's left half is liver, its right half lungs."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from organs_driver import cells, requests_of

LIVER, LUNGS = 9, 5  # index in paper17 + 1


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
    """Organ map p, attention A and contribution p·A: each with a color bar that says what it is."""
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
    """As TotalSegmentator names its segments in Slicer; what is no organ is left out."""
    scan = organs.parameters.inputVolume
    labels = np.zeros((12, 48, 48), np.uint8)
    labels[2:6, 10:20, 10:20], labels[2:6, 30:40, 30:40] = 1, 2
    from BioAttDenoiseLib.scene import segmentations as made

    node = made.make(
        scan,
        labels,
        [
            {"value": 1, "name": "Liver", "color": (1, 0, 0), "terminology": ""},
            {"value": 2, "name": "my own thing", "color": (0, 1, 0), "terminology": ""},
        ],
    )
    made.keep(node)
    organs.organs.segmentationSelector.setMRMLScene(slicer.mrmlScene)  # Slicer's hears that it is hidden no more
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
