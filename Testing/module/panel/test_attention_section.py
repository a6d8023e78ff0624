"""The "Attention" page, by clicks, with the stand-in engine."""

from __future__ import annotations

import numpy as np
import pytest


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
    """The clicks go through VTK's own chart: on a bar, and on empty space."""
    section = story.sections["AttentionSection"]
    overlay = section.inspection.overlay
    story.choose(section.ui.mapSlicesComboBox, "Whole volume")
    story.click(section.ui.computeMapsButton)
    story.wait_idle()
    story.click(section.ui.chartsCheckBox)
    bars, _curves = (views.plotWidget(number).plotView() for number in range(views.plotViewCount))
    bars.click(1, 0.1)  # ordered by probability: lungs 0.5, heart 0.3, liver 0.2
    until(lambda: overlay.shown[1] == "heart")
    assert section.ui.mapComboBox.currentText == "heart"
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
    """The slice sent is axial, whatever the storage order; the preview overlays the view that shows the output."""
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
