"""The panel's sections on comparison, attention and numbers, driven by clicks on the stand-in engine."""

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


def test_the_structure_alarm_goes_on_in_the_background(slicer, story, until):
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


def test_organs_maps_and_overlay(slicer, story, views):
    section = story.sections["AttentionSection"]
    ui = section.ui
    names = [ui.organTable.item(row, 0).text() for row in range(ui.organTable.rowCount)]
    assert names == ["lungs", "heart", "liver"]
    assert "50 %" in ui.organTable.item(0, 1).text()
    section.onOrgan(0, 0)
    assert "no map" in story.status
    story.choose(ui.mapSlicesComboBox, "Whole volume")
    story.choose(ui.organsComboBox, "All")
    story.click(ui.computeMapsButton)
    story.wait_idle()
    assert ui.showOverlayCheckBox.checked
    ui.organTable.cellDoubleClicked.emit(2, 0)
    assert section.inspection.overlay.shown[1] == "liver"
    composite = views.sliceWidget("Red").mrmlSliceCompositeNode()
    assert composite.GetForegroundVolumeID() == section.inspection.overlay.node.GetID()
    ui.opacitySlider.value = 20
    assert composite.GetForegroundOpacity() == pytest.approx(0.2)
    story.click(story.sections["CompareSection"].ui.gridButton)
    assert composite.GetForegroundVolumeID() is None, "the grid has a view for the map"
    own = views.sliceWidget("BioAttAttention").mrmlSliceCompositeNode()
    assert own.GetForegroundVolumeID() == section.inspection.overlay.node.GetID()
    story.click(story.sections["CompareSection"].ui.gridButton)
    assert composite.GetForegroundVolumeID() == section.inspection.overlay.node.GetID()
    story.click(ui.showOverlayCheckBox)
    assert composite.GetForegroundVolumeID() is None


def test_maps_in_the_same_pass_as_the_denoising(story):
    section = story.sections["AttentionSection"]
    story.click(section.ui.withDenoisingCheckBox)
    story.denoise()
    maps = section.inspection.overlay.maps
    assert ("last", "unified") in maps.maps
    assert maps.shape == (9, 48, 48)
    assert len(story.panel.lastResult.attention) == len(maps.maps)


def test_charts_follow_scrolling(slicer, story, views):
    section = story.sections["AttentionSection"]
    story.click(section.ui.chartsCheckBox)
    chart = slicer.mrmlScene.GetSingletonNode("BioAttProbabilities", "vtkMRMLPlotViewNode").GetPlotChartNode()
    view = section.inspection.comparison.layouts.views()["BioAttInput"]
    view.JumpSliceByOffsetting(0, 0, -300 + 2.5 * 6)
    assert chart.GetTitle() == "Slice 7"
    story.click(section.ui.chartsCheckBox)
    assert not section.inspection.comparison.active


def test_a_click_on_an_organ_in_the_charts_shows_its_map(slicer, story, views, until):
    """Through VTK's own chart: a bar, and a place where nothing is."""
    section = story.sections["AttentionSection"]
    overlay = section.inspection.overlay
    story.choose(section.ui.mapSlicesComboBox, "Whole volume")
    story.click(section.ui.computeMapsButton)
    story.wait_idle()
    story.click(section.ui.chartsCheckBox)
    bars, _curves = (views.plotWidget(number).plotView() for number in range(views.plotViewCount))
    bars.click(1, 0.1)  # in the order of probability: lungs 0.5, heart 0.3, liver 0.2
    until(lambda: overlay.shown[1] == "heart")
    assert section.ui.mapComboBox.currentText == "heart (30 %)"
    bars.click(2, 0.1, double=True)
    until(lambda: overlay.shown[1] == "liver")
    story.click(section.ui.showOverlayCheckBox)
    bars.click(2, 0.29)
    story.settle()
    assert overlay.shown is None, "above the bar there is nothing to choose"
    bars.click(2, 0.1)
    until(lambda: overlay.shown is not None and overlay.shown[1] == "liver")
    story.click(section.ui.chartsCheckBox)
    story.click(section.ui.chartsCheckBox)
    calls = []
    section.inspection.chart.onOrgan = calls.append
    bars = views.plotWidget(0).plotView()
    bars.click(0, 0.1)
    until(lambda: calls)
    story.settle()
    assert calls == ["lungs"], "heard once, however often the charts were opened"


def test_a_click_on_an_organ_without_a_map_says_so(story, views, until):
    section = story.sections["AttentionSection"]
    story.click(section.ui.chartsCheckBox)
    views.plotWidget(0).plotView().click(0, 0.1)
    until(lambda: 'There is no map of "lungs" yet' in story.status)


def test_the_prior_by_hand_previews_at_once(slicer, story, until):
    section = story.sections["AttentionSection"]
    section.ui.overrideGroupBox.checked = True
    assert [slider.value for slider in section.byHand.sliders] == [50, 30, 20]
    section.byHand.sliders[2].value = 100
    until(lambda: story.panel.live.preview.shown is not None)
    assert story.panel.live.preview.p == pytest.approx({"lungs": 50 / 180, "heart": 30 / 180, "liver": 100 / 180})
    story.wait_idle()
    section.ui.overrideGroupBox.checked = False
    assert story.panel.live.preview.p is None
    assert story.panel.live.preview.shown is None


@pytest.mark.parametrize("what", ["another input", "the scene closes"])
def test_the_prior_by_hand_is_of_one_volume(slicer, story, make_ct, until, what):
    section = story.sections["AttentionSection"]
    section.ui.overrideGroupBox.checked = True
    section.byHand.sliders[2].value = 100
    until(lambda: story.panel.live.preview.shown is not None)
    if what == "another input":
        story.ui.inputSelector.setCurrentNode(make_ct(slices=5, name="next patient"))
    else:
        slicer.mrmlScene.Clear(0)
    story.settle()
    assert not section.ui.overrideGroupBox.checked
    assert story.panel.live.preview.p is None


def test_a_preview_of_a_former_input_is_dropped(slicer, story, make_ct, until):
    node = make_ct(slices=9, size=48, name="next patient")
    story.behave("slow")
    story.click(story.ui.previewButton)
    until(lambda: story.logic.jobs.running is not None and story.logic.jobs.running.request.kind == "preview")
    story.ui.inputSelector.setCurrentNode(node)
    story.wait_idle()
    assert story.panel.live.preview.shown is None
    assert not story.ui.previewButton.checked


def test_sliders_follow_the_order_of_the_descriptors(story):
    from BioAttDenoiseLib.inspection.attention_maps import SlicePrior

    by_hand = story.sections["AttentionSection"].byHand
    names = [by_hand.widget.layout().labelForField(s).text for s in by_hand.sliders]
    assert names == ["lungs", "heart", "liver"]
    other = SlicePrior(("liver", "lungs", "heart"), np.array([[0.7, 0.2, 0.1]], np.float32), 0, "file")
    by_hand.show(other, 0)
    names = [by_hand.widget.layout().labelForField(s).text for s in by_hand.sliders]
    assert names == ["liver", "lungs", "heart"]
    assert [slider.value for slider in by_hand.sliders] == [70, 20, 10]


def test_organs_are_those_of_the_present_input(slicer, story, make_ct):
    section = story.sections["AttentionSection"]
    ui, first = section.ui, story.parameters.inputVolume
    assert ui.organTable.rowCount == 3
    story.click(ui.chartsCheckBox)
    story.ui.inputSelector.setCurrentNode(make_ct(slices=5, name="other"))
    story.settle()
    assert ui.organTable.rowCount == 0
    assert section.inspection.prior() is None
    assert not ui.overrideGroupBox.enabled
    story.ui.inputSelector.setCurrentNode(first)
    story.settle()
    assert ui.organTable.rowCount == 3, "restored from its output"
    assert section.inspection.chart.source is first


def test_the_prior_by_hand_of_a_coronal_volume(slicer, make_driver, scene, views, monkeypatch):
    """The slice that is sent is axial, whatever the stack; the preview lies over the view that shows the output."""
    hu = np.random.default_rng(1).integers(-1000, 500, (12, 9, 10)).astype(np.int16)
    matrix = np.array([[1.5, 0, 0, 0], [0, 0, 1.5, 0], [0, 1.5, 0, 0], [0, 0, 0, 1]])
    node = slicer.util.addVolumeFromArray(hu, ijkToRAS=matrix, name="coronal")
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    driver = make_driver()
    driver.behave("steady")
    section = next(s for s in driver.panel.sections if type(s).__name__ == "AttentionSection")
    driver.denoise()
    sent, submit = [], driver.logic.jobs.submit
    monkeypatch.setattr(
        driver.logic.jobs,
        "submit",
        lambda kind, request, **more: sent.append(request) or submit(kind, request, **more),
    )
    views.sliceWidget("Red").sliceLogic().SetSliceOffset(1.5 * 7)
    section.ui.overrideGroupBox.checked = True
    section.byHand.sliders[2].value = 100
    driver.until(lambda: driver.panel.live.preview.shown is not None)
    driver.wait_idle()
    ready, request = sent
    assert ready is None, "the installation is checked first"
    fields = request.fields
    assert (request.kind, fields["p"]["descriptors"]) == ("preview", ["lungs", "heart", "liver"])
    assert fields["p"]["probabilities"] == pytest.approx([50 / 180, 30 / 180, 100 / 180])
    shown = driver.panel.live.preview.shown
    assert shown.index == 7
    np.testing.assert_array_equal(shown.all[:, 0], hu[:, 7] - 20)
    composite = views.sliceWidget("Red").mrmlSliceCompositeNode()
    assert composite.GetBackgroundVolumeID() == driver.parameters.outputVolume.GetID()
    assert composite.GetForegroundVolumeID() == shown.node.GetID()


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
    assert "could not be written" in story.status


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
    """Before, it would show the input once more."""
    section = story.sections["CompareSection"]
    story.click(section.ui.gridButton)
    assert set(section.comparison.layouts.views()) == {"BioAttInput", "BioAttOutput", "BioAttDifference"}
    attention = story.sections["AttentionSection"]
    story.click(attention.ui.computeMapsButton)
    story.wait_idle()
    assert "BioAttAttention" in section.comparison.layouts.views()
    composite = section.comparison.composite("BioAttAttention")
    assert composite.GetForegroundVolumeID() == attention.inspection.overlay.node.GetID()
    assert section.ui.gridButton.checked
