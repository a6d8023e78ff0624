"""The panel's comparison, attention and numbers sections, driven by clicks, with the stand-in engine."""

from __future__ import annotations

import gc

import numpy as np
import pytest


def test_side_by_side_and_back(slicer, story, views):
    former = views.layout
    ui = story.sections["CompareSection"].ui
    story.click(ui.sideBySideButton)
    assert views.layout != former
    assert story.sections["CompareSection"].comparison.active
    story.click(ui.lungButton)
    displays = [node.GetDisplayNode() for node in (story.parameters.inputVolume, story.parameters.outputVolume)]
    assert [(d.GetWindow(), d.GetLevel()) for d in displays] == [(1500, -600)] * 2
    story.click(ui.flickerButton)
    composite = views.sliceWidget("BioAttOutput").mrmlSliceCompositeNode()
    assert composite.GetBackgroundVolumeID() == story.parameters.inputVolume.GetID()
    story.click(ui.gridButton)
    assert not ui.sideBySideButton.checked
    assert views.sliceWidget("BioAttDifference").mrmlSliceCompositeNode().GetBackgroundVolumeID()
    story.click(ui.swipeButton)
    ui.swipeSlider.value = 25
    assert story.sections["CompareSection"].comparison.reveal.fraction == 0.25
    story.click(ui.swipeButton)
    assert views.layout == former
    assert not ui.flickerButton.enabled


def test_denoising_again_keeps_the_comparison(story, views):
    story.click(story.sections["CompareSection"].ui.sideBySideButton)
    story.ui.strengthSlider.value = 50
    story.denoise()
    shown = [
        views.sliceWidget(n).mrmlSliceCompositeNode().GetBackgroundVolumeID() for n in ("BioAttInput", "BioAttOutput")
    ]
    assert shown == [story.parameters.inputVolume.GetID(), story.parameters.outputVolume.GetID()]


def test_a_figure_with_another_volume_in_its_views_is_refused_in_words(story, make_ct, tmp_path):
    section = story.sections["CompareSection"]
    story.click(section.ui.sideBySideButton)
    section.comparison.composite("BioAttInput").SetBackgroundVolumeID(make_ct(name="another").GetID())
    section.writeFigure(str(tmp_path / "figure.png"))
    assert 'The view for "CT" shows "another"' in story.status
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("denoised", [True, False])
def test_a_window_dragged_over_the_preview_stays_when_it_goes(slicer, story, views, drag, denoised):
    source, output = story.parameters.inputVolume, story.parameters.outputVolume
    if not denoised:
        slicer.mrmlScene.RemoveNode(output)
        slicer.util.setSliceViewerLayers(background=source, fit=True)
    story.click(story.ui.previewButton)
    story.wait_idle()
    seen = story.panel.live.preview.shown.node.GetDisplayNode()
    under = (output if denoised else source).GetDisplayNode()
    under.SetWindowLevel(1500, -600)
    assert (seen.GetWindow(), seen.GetLevel()) == (1500, -600)
    drag(views.sliceWidget("Red"), 80, 40)
    assert (seen.GetWindow(), seen.GetLevel()) == (80, 40), "the tool takes the preview"
    story.click(story.ui.previewButton)
    assert (under.GetWindow(), under.GetLevel()) == (80, 40)
    assert (source.GetDisplayNode().GetWindow(), source.GetDisplayNode().GetLevel()) == (80, 40)


def test_without_an_output_there_is_nothing_to_compare(make_ct, make_driver, views):
    make_ct()
    section = make_driver().panel.sections[0]
    assert not section.ui.sideBySideButton.enabled
    assert not section.ui.structureCheckButton.enabled
    assert section.ui.compareHintLabel.isVisibleTo(section.widget)


@pytest.mark.parametrize("stopped", [False, True])
def test_a_closed_scene_leaves_no_scan_in_memory(slicer, story, until, stopped):
    import vtk

    kept = [vtk.vtkWeakReference() for _ in range(2)]
    for reference, node in zip(kept, (story.parameters.inputVolume, story.parameters.outputVolume), strict=True):
        reference.Set(node)
    section = story.sections["CompareSection"]
    story.click(section.ui.structureCheckButton)
    if stopped:
        story.click(section.ui.structureCheckButton)
    until(lambda: not section.inspection.structure_check.running)
    story.widget.exit()
    del node
    slicer.mrmlScene.Clear(0)
    story.settle()
    gc.collect()
    assert [reference.Get() for reference in kept] == [None, None]


def test_the_structure_alarm_goes_on_in_the_background(slicer, story, make_ct, until):
    section = story.sections["CompareSection"]
    output = story.parameters.outputVolume
    hu = slicer.util.arrayFromVolume(output)
    hu[:] = np.where(hu > -500, 40, -1000)  # all noise removed
    source = slicer.util.arrayFromVolume(story.parameters.inputVolume)
    source[2:7, 20:28, 20:28] += 60  # and a lesion
    slicer.util.arrayFromVolumeModified(output)
    story.click(section.ui.structureCheckButton)
    assert section.inspection.structure_check.running
    until(lambda: not section.inspection.structure_check.running)
    assert "Structure was removed" in section.ui.structureCheckLabel.text
    story.click(section.ui.gridButton)
    composite = section.comparison.composite("BioAttDifference")
    assert composite.GetLabelVolumeID() == section.inspection.structure_check.node.GetID()
    marks = slicer.util.arrayFromVolume(section.inspection.structure_check.node)
    assert marks[4, 20:28, 20:28].mean() > 0.5
    assert marks[:, 2:12, 2:12].sum() == 0
    story.click(section.ui.structureJumpButton)
    place = section.inspection.structure_check.worst()
    view = section.comparison.layouts.views()["BioAttDifference"]
    assert view.GetSliceToRAS().GetElement(2, 3) == pytest.approx(place[2])
    story.ui.inputSelector.setCurrentNode(make_ct(name="another"))
    assert section.ui.structureCheckLabel.text == ""
    assert not section.ui.structureJumpButton.visible
    assert section.inspection.structure_check.found is None


def test_structure_removed_in_a_single_slice(slicer, driver_on, until):
    driver = driver_on(1, 48)
    driver.unfold()
    driver.denoise()
    section = driver.sections["CompareSection"]
    hu, denoised = (slicer.util.arrayFromVolume(node) for node in section.pair())
    denoised[:] = np.where(denoised > -500, 40, -1000)
    hu[0, 20:28, 20:28] += 200
    driver.click(section.ui.structureCheckButton)
    until(lambda: not section.inspection.structure_check.running)
    assert "removed in 1 slice (" in section.ui.structureCheckLabel.text


def test_a_search_of_another_pair_stops(story, make_ct):
    section = story.sections["CompareSection"]
    story.click(section.ui.structureCheckButton)
    assert section.ui.structureCheckButton.text == "Stop"
    story.ui.inputSelector.setCurrentNode(make_ct(name="another"))
    assert not section.inspection.structure_check.running
    assert section.ui.structureCheckButton.text == "Structure check"


@pytest.mark.parametrize("happens", ["another input", "another result"])
def test_numbers_go_with_the_volumes_that_were_measured(story, make_ct, happens):
    section = story.sections["NumbersSection"]
    story.click(section.ui.measureButton)
    assert section.ui.saveButton.enabled
    if happens == "another input":
        story.ui.inputSelector.setCurrentNode(make_ct(name="another"))
    else:
        story.ui.strengthSlider.value = 40
        assert section.ui.numbersTable.rowCount > 0
        story.denoise()
    assert section.ui.numbersTable.rowCount == 0
    assert not section.ui.saveButton.enabled
    assert not section.ui.copyButton.enabled


@pytest.mark.parametrize("ended_by", ["the button", "another model"])
def test_the_words_on_a_preview_go_with_it(story, ended_by):
    story.click(story.ui.previewButton)
    story.wait_idle()
    assert "Preview of one slice" in story.status
    if ended_by == "the button":
        story.click(story.ui.previewButton)
    else:
        story.behave("slow")
    assert story.panel.live.preview.shown is None
    assert story.status == ""


def test_numbers_table_and_csv(slicer, story, tmp_path, change_hu):
    section = story.sections["NumbersSection"]
    roi = section.ui.firstRoiSelector.addNode()
    bounds = np.zeros(6)
    story.parameters.inputVolume.GetRASBounds(bounds)
    roi.SetCenter(*((bounds[::2] + bounds[1::2]) / 2))
    roi.SetSize(8, 8, 8)
    section.ui.referenceSelector.setCurrentNode(story.parameters.inputVolume)
    story.click(section.ui.measureButton)
    table = section.ui.numbersTable
    cells = {table.item(r, 0).text(): [table.item(r, c).text() for c in (1, 2, 3)] for r in range(table.rowCount)}
    mean = [float(text.replace("−", "-")) for text in cells["mean in Region"][:2]]
    assert mean[0] - mean[1] == pytest.approx(change_hu, abs=0.11)
    assert cells["RMSE, soft tissue"][0] == "0.0"
    section.save(str(tmp_path / "n.csv"))
    assert "PSNR" in (tmp_path / "n.csv").read_text(encoding="utf-8")
    story.click(section.ui.copyButton)
    assert "\t" in slicer.app.clipboard().text()
    section.save(str(tmp_path / "missing" / "n.csv"))
    assert "Could not write" in story.status


def test_noise_and_error_maps_are_volumes(slicer, story, change_hu):
    section = story.sections["NumbersSection"]
    section.onNoiseMaps()
    noise = slicer.util.getNode("CT noise σ")
    assert 15 < slicer.util.arrayFromVolume(noise)[:, 20:28, 20:28].mean() < 35
    section.ui.referenceSelector.setCurrentNode(story.parameters.inputVolume)
    section.onErrorMap()
    assert (slicer.util.arrayFromVolume(slicer.util.getNode("CT denoised error")) == -change_hu).all()


def test_a_figure_of_the_comparison(slicer, story, tmp_path):
    section = story.sections["CompareSection"]
    story.click(section.ui.gridButton)
    for name in ("f.png", "f.pdf"):
        section.writeFigure(str(tmp_path / name))
        assert story.status == "Figure written."
    assert (tmp_path / "f.pdf").read_bytes().startswith(b"%PDF-1.4")
    section.writeFigure(str(tmp_path / "f.gif"))
    assert ".gif" in story.status


def test_closing_the_scene_leaves_nothing_behind(slicer, story, views):
    former = views.layout
    story.click(story.sections["CompareSection"].ui.gridButton)
    slicer.mrmlScene.Clear(0)
    assert views.layout == former
    assert not story.sections["CompareSection"].comparison.active
    assert story.sections["AttentionSection"].ui.organTable.rowCount == 0


def test_every_widget_of_the_sections_has_a_tooltip(story):
    import qt

    kinds = (
        "QPushButton",
        "QCheckBox",
        "QComboBox",
        "QLabel",
        "ctkSliderWidget",
        "qMRMLNodeComboBox",
        "QTableWidget",
        "QToolButton",
    )
    for name in ("CompareSection", "AttentionSection", "NumbersSection"):
        for widget in story.sections[name].widget.findChildren(qt.QWidget):
            if widget.className() in kinds and widget.name and not widget.name.startswith("qt_"):
                assert widget.toolTip, f"{name}.{widget.name}"


def test_the_sections_fit_300_pixels(story):
    for name in ("CompareSection", "AttentionSection", "NumbersSection"):
        assert story.sections[name].widget.minimumSizeHint().width() <= 290, name


def test_the_grid_has_a_view_for_a_map_when_there_is_one(story, views):
    """Without a map, that view would only repeat the input."""
    section = story.sections["CompareSection"]
    assert "once maps are computed" in section.ui.gridButton.toolTip
    story.click(section.ui.gridButton)
    assert set(section.comparison.layouts.views()) == {"BioAttInput", "BioAttOutput", "BioAttDifference"}
    attention = story.sections["AttentionSection"]
    story.click(attention.ui.computeMapsButton)
    story.wait_idle()
    assert "BioAttAttention" in section.comparison.layouts.views()
    composite = section.comparison.composite("BioAttAttention")
    assert composite.GetForegroundVolumeID() == attention.inspection.overlay.node.GetID()
    assert section.ui.gridButton.checked
