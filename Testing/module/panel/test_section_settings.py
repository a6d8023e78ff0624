"""The sections' settings are kept in the scene: saved, restored, and still there after the module is reloaded."""

from __future__ import annotations

import pytest


def sections(driver):
    driver.sections = {type(section).__name__: section for section in driver.panel.sections}
    driver.unfold()
    return [driver.sections[name].ui for name in ("CompareSection", "AttentionSection", "NumbersSection")]


def state(driver):
    compare, attention, numbers = sections(driver)
    boxes = [attention.mapSlicesComboBox, attention.organsComboBox, attention.mapStagesComboBox]
    boxes += [attention.stageComboBox, attention.mapViewComboBox]
    nodes = [numbers.firstRoiSelector, numbers.secondRoiSelector, numbers.referenceSelector]
    return {
        "values": [compare.swipeSlider.value, compare.rangeSpinBox.value, attention.opacitySlider.value],
        "threshold": round(attention.thresholdSlider.value, 3),
        "checks": [attention.withDenoisingCheckBox.checked, attention.legendCheckBox.checked],
        "texts": [box.currentText for box in boxes],
        "nodes": [node.currentNode().GetName() if node.currentNode() is not None else None for node in nodes],
        "map": driver.parameters.mapName,
    }


DEFAULTS = {
    "values": [50, 50, 50],
    "threshold": 0,
    "checks": [False, True],
    "texts": ["Current slice", "All", "Both", "Last", "Raw (A)"],
    "nodes": [None, None, None],
    "map": "unified",
}
CHANGES = {
    "values": [20, 120, 80],
    "threshold": 0.25,
    "checks": [True, False],
    "texts": ["Whole volume", "Unified map only", "Middle", "Middle", "Contribution (p·A)"],
    "nodes": ["Lesion", None, "Full dose"],
    "map": "liver",
}


@pytest.fixture
def changed(make_ct, make_driver, slicer, views):
    """A panel whose section settings have been changed through the widgets."""
    node = make_ct(slices=9, size=48)
    make_ct(slices=9, size=48, name="Full dose")
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    driver = make_driver()
    driver.behave("steady")
    compare, attention, numbers = sections(driver)
    assert state(driver) == DEFAULTS
    driver.denoise()
    driver.choose(attention.mapSlicesComboBox, "Whole volume")
    driver.click(attention.computeMapsButton)
    driver.wait_idle()
    driver.choose(attention.mapComboBox, "liver")
    attention.mapComboBox.activated.emit(attention.mapComboBox.currentIndex)
    compare.swipeSlider.value, compare.rangeSpinBox.value = 20, 120
    attention.opacitySlider.value, attention.thresholdSlider.value = 80, 0.25
    driver.click(attention.withDenoisingCheckBox)
    driver.click(attention.legendCheckBox)
    driver.choose(attention.organsComboBox, "Unified map only")
    driver.choose(attention.mapStagesComboBox, "Middle")
    driver.choose(attention.stageComboBox, "Middle")
    driver.choose(attention.mapViewComboBox, "Contribution (p·A)")
    numbers.firstRoiSelector.setCurrentNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Lesion"))
    numbers.referenceSelector.setCurrentNode(slicer.util.getNode("Full dose"))
    assert state(driver) == CHANGES
    return driver


def test_saved_and_restored_with_the_scene(slicer, changed, tmp_path):
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    assert state(changed) == DEFAULTS
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert state(changed) == CHANGES
    comparison = changed.sections["CompareSection"].comparison
    assert comparison.range == 120
    assert changed.sections["AttentionSection"].inspection.overlay.opacity == pytest.approx(0.8)


def test_a_new_panel_on_the_same_scene_shows_them(changed, make_driver):
    """This happens when the module is reloaded."""
    changed.python.cleanup()
    assert state(make_driver()) == CHANGES


def test_leaving_and_entering_the_module_keeps_the_overlay(changed, views):
    section = changed.sections["AttentionSection"]
    shown = section.inspection.overlay.shown
    assert shown == ("middle", "liver", "contribution")
    changed.widget.exit()
    changed.widget.enter()
    changed.wait_idle()
    assert section.inspection.overlay.shown == shown
    assert state(changed) == CHANGES


def test_the_remembered_map_is_chosen_again(changed):
    ui = changed.sections["AttentionSection"].ui
    changed.parameters.mapName = "heart"
    changed.choose(ui.organsComboBox, "All")
    changed.click(ui.computeMapsButton)
    changed.wait_idle()
    assert ui.mapComboBox.currentText == "heart"
    assert changed.sections["AttentionSection"].inspection.overlay.shown[1] == "heart"
