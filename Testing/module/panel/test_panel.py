"""The real panel, driven by clicks, with the stand-in engine."""

from __future__ import annotations

import time

import numpy as np
import pytest

from bioatt.core.strength import DEFAULT_STRENGTH


def volumes(slicer):
    return [n for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if not n.GetHideFromEditors()]


def test_the_whole_story(slicer, make_ct, make_driver, views, until, tmp_path, change_hu):
    node = make_ct(slices=40, size=48)
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    red = views.sliceWidget("Red")
    red.sliceLogic().SetSliceOffset(-300 + 2.5 * 17)
    plain = red.image()
    driver = make_driver()
    ui = driver.ui
    assert driver.parameters.inputVolume is node, "the volume on screen is chosen"
    driver.behave("slow")

    driver.click(ui.previewButton)
    driver.wait_idle()
    assert driver.panel.live.preview.shown.index == 17
    composite = red.mrmlSliceCompositeNode()
    shown = slicer.mrmlScene.GetNodeByID(composite.GetForegroundVolumeID())
    assert composite.GetForegroundOpacity() == 1
    original = slicer.util.arrayFromVolume(node)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(shown)[0], original[17] - change_hu)
    assert not np.array_equal(red.image(), plain), "the slice view shows it"

    ui.strengthSlider.value = 50
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(shown)[0], original[17] - 10)
    assert "Preview of one slice" in driver.status

    driver.click(ui.denoiseButton)
    assert ui.denoiseButton.text == "Cancel"
    until(lambda: ui.progressBar.value > 10)
    assert "slice" in ui.progressBar.format
    assert "left" in ui.progressBar.format
    driver.click(ui.denoiseButton)
    start = time.monotonic()
    driver.wait_idle()
    assert time.monotonic() - start < 1
    assert "Cancelled" in driver.status
    assert volumes(slicer) == [node]

    driver.denoise()
    output = driver.parameters.outputVolume
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(output), original - 10)
    assert output.GetName() == "CT denoised"
    assert composite.GetBackgroundVolumeID() == output.GetID(), "the views show the result"
    assert composite.GetForegroundVolumeID() is None, "the preview is gone"
    assert "20.0 → 8.0 HU" in ui.resultLabel.text
    assert "50 %" in ui.resultLabel.text
    assert driver.errors == []

    driver.choose(ui.regionComboBox, "Slice range")
    ui.firstSliceSpinBox.value = 3
    ui.lastSliceSpinBox.value = 9
    driver.choose(driver.advanced.deviceComboBox, "Processor (CPU)")
    driver.choose(driver.advanced.priorComboBox, "None (uniform)")
    driver.advanced.tileSpinBox.value = 256
    driver.choose(driver.advanced.precisionComboBox, "float32")
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    assert driver.parameters.inputVolume is None
    assert driver.parameters.strength == 100 * DEFAULT_STRENGTH
    assert not ui.resultCollapsibleButton.visible
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert driver.parameters.inputVolume.GetName() == "CT"
    assert driver.parameters.outputVolume.GetName() == "CT denoised"
    assert driver.parameters.outputVolume.GetAttribute("BioAttDenoise.ModelSHA256") == "f" * 64
    assert driver.parameters.outputVolume.GetNodeReference("BioAttDenoiseInput") is driver.parameters.inputVolume
    state = [
        ui.strengthSlider.value,
        ui.firstSliceSpinBox.value,
        ui.lastSliceSpinBox.value,
        driver.advanced.tileSpinBox.value,
    ]
    assert state == [50, 3, 9, 256]
    texts = [
        box.currentText
        for box in (
            ui.regionComboBox,
            driver.advanced.deviceComboBox,
            driver.advanced.priorComboBox,
            driver.advanced.modelComboBox,
        )
    ]
    assert texts == ["Slice range", "Processor (CPU)", "None (uniform)", "slow"]
    assert driver.advanced.precisionComboBox.currentText == "float32"
    assert len(volumes(slicer)) == 2, "no preview was saved"


def test_an_output_of_another_input_is_not_overwritten(make_driver, make_ct, slicer):
    first = make_ct(name="a")
    driver = make_driver()
    driver.behave("steady")
    driver.denoise()
    assert driver.parameters.outputVolume.GetName() == "a denoised"
    driver.denoise()
    assert len(volumes(slicer)) == 2, "the same input's output is overwritten"
    driver.ui.inputSelector.setCurrentNode(make_ct(name="b"))
    assert driver.parameters.outputVolume is None
    driver.denoise()
    assert [node.GetName() for node in volumes(slicer)] == ["a", "a denoised", "b", "b denoised"]
    assert first.GetName() == "a"


def test_an_output_whose_input_is_gone_is_not_overwritten(make_driver, make_ct, slicer):
    first = make_ct(name="a")
    driver = make_driver()
    driver.behave("steady")
    driver.denoise()
    kept = driver.parameters.outputVolume
    before = slicer.util.arrayFromVolume(kept).copy()
    slicer.mrmlScene.RemoveNode(first)
    second = make_ct(name="b", size=24)
    driver.settle()
    assert driver.parameters.inputVolume is second
    assert driver.parameters.outputVolume is None
    driver.denoise()
    assert [node.GetName() for node in volumes(slicer)] == ["a denoised", "b", "b denoised"]
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(kept), before)


def test_another_scan_chosen_as_output_is_not_overwritten(make_driver, make_ct, slicer):
    node, other = make_ct(name="a"), make_ct(name="b")
    driver = make_driver()
    driver.behave("steady")
    driver.parameters.outputVolume = other
    driver.denoise()
    assert driver.parameters.inputVolume is node
    assert driver.status.startswith('⚠ "b" was not made from "a".')
    assert volumes(slicer) == [node, other]
    assert driver.errors == []
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "mine")
    driver.parameters.outputVolume = empty
    driver.parameters.inputVolume = other
    assert driver.parameters.outputVolume is empty
    driver.denoise()
    assert empty.GetNodeReference("BioAttDenoiseInput") is other


@pytest.mark.parametrize("role", ["inputVolume", "outputVolume", "referenceVolume"])
def test_a_chosen_volume_that_goes_is_not_replaced_by_its_neighbour(make_driver, make_ct, slicer, role):
    """Qt's list would select the row below; as the output, that volume would be overwritten by the next denoising."""
    driver = make_driver()
    nodes = [make_ct(name=name) for name in ("scan", "chosen", "other")]
    driver.panel.parameters.inputVolume = nodes[0]
    setattr(driver.panel.parameters, role, nodes[1])
    slicer.mrmlScene.RemoveNode(nodes[1])
    assert getattr(driver.panel.parameters, role) is None
    assert driver.panel.parameters.inputVolume is (None if role == "inputVolume" else nodes[0])


def test_the_module_on_and_off_screen_keeps_its_parameters(make_driver, make_ct):
    """Before Slicer 5.11, every wrapper that was ever bound keeps observing the parameters."""
    driver = make_driver()
    bound = driver.panel.parameters
    driver.panel.exit()
    node = make_ct()
    driver.panel.enter()
    assert driver.panel.parameters is bound
    assert bound.inputVolume is node


def test_live_preview_follows_scrolling_and_settings(make_driver, make_ct, slicer, views, until):
    node = make_ct(slices=20)
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    red = views.sliceWidget("Red")
    red.sliceLogic().SetSliceOffset(-300 + 2.5 * 4)
    driver = make_driver()
    driver.behave("steady")
    driver.click(driver.ui.livePreviewCheckBox)
    until(lambda: driver.panel.live.preview.shown)
    assert driver.panel.live.preview.shown.index == 4
    assert driver.ui.previewButton.checked
    red.sliceLogic().SetSliceOffset(-300 + 2.5 * 9)
    until(lambda: driver.panel.live.preview.shown and driver.panel.live.preview.shown.index == 9)
    driver.behave("slow")
    until(lambda: driver.panel.live._shownFor[1].model == "slow")
    driver.click(driver.ui.previewButton)
    assert driver.panel.live.preview.shown is None
    assert red.mrmlSliceCompositeNode().GetForegroundVolumeID() is None


def test_the_preview_gives_the_views_back_as_they_were(make_driver, make_ct, slicer, views):
    node, other = make_ct(slices=20), make_ct(slices=20, name="PET")
    slicer.util.setSliceViewerLayers(background=node, foreground=other, foregroundOpacity=0.3)
    driver = make_driver()
    driver.behave("steady")
    driver.click(driver.ui.previewButton)
    driver.wait_idle()
    composite = views.sliceWidget("Red").mrmlSliceCompositeNode()
    assert composite.GetForegroundVolumeID() != other.GetID()
    driver.widget.exit()
    assert composite.GetForegroundVolumeID() == other.GetID()
    assert composite.GetForegroundOpacity() == pytest.approx(0.3)


def test_denoise_stops_a_preview_that_is_computed(make_driver, make_ct, slicer, until):
    make_ct(slices=20)
    driver = make_driver()
    driver.behave("stubborn")
    driver.click(driver.ui.previewButton)
    assert driver.panel.live.computing
    driver.behave("steady")
    driver.denoise()
    assert "Done" in driver.status


def test_what_was_found_is_said(make_driver):
    driver = make_driver()
    assert driver.advanced.deviceFoundLabel.text == "Found: CPU, 4 threads."


def test_every_widget_has_a_tooltip(make_driver):
    import qt

    driver = make_driver()
    skipped = {"BioAttDenoise"}
    bare = [
        widget.name
        for widget in driver.widget.findChildren(qt.QWidget)
        if widget.name
        and not widget.name.startswith(("qt_", "Scroll"))  # Qt's internal child widgets
        and widget.name not in skipped
        and not widget.toolTip
    ]
    assert bare == []


def pages(driver):
    """Bring every page of every section to the front in turn."""
    for tabs in (driver.ui.anatomyTabs, driver.ui.evaluationTabs, driver.ui.advancedTabs):
        for page in range(tabs.count):
            tabs.setCurrentIndex(page)
            driver.settle()
            yield tabs


def test_all_of_the_panel_is_at_most_2000_pixels_high(make_driver, make_ct, slicer):
    """With every section open, an output and its result, 420 pixels wide."""
    slicer.util.setSliceViewerLayers(background=make_ct(), fit=True)
    driver = make_driver()
    driver.behave("steady")
    driver.click(driver.ui.mediumButton)
    driver.wait_idle()
    driver.denoise()
    driver.unfold()
    driver.widget.resize(420, 900)
    heights = []
    for _tabs in pages(driver):
        driver.settle()
        layout = driver.widget.layout()
        heights.append(max(layout.totalHeightForWidth(420), layout.totalMinimumSize().height()))
    assert max(heights) <= 2000, heights


def test_everyday_things_are_in_view_and_the_rest_in_four_folded_sections(make_driver, make_ct, slicer):
    import ctk

    make_ct()
    driver = make_driver()
    ui = driver.ui
    everyday = (
        ui.inputSelector,
        ui.outputSelector,
        ui.mediumButton,
        ui.strengthSlider,
        ui.previewButton,
        ui.denoiseButton,
    )
    assert all(widget.visible for widget in everyday)
    folded = [box for box in driver.widget.findChildren(ctk.ctkCollapsibleButton) if box.collapsed]
    assert [box.text for box in folded] == ["Compare", "Organs and attention", "Evaluation", "Advanced"]


@pytest.mark.parametrize("width", [300])
def test_the_panel_is_usable_at_300_pixels(make_driver, make_ct, slicer, width):
    import qt

    make_ct(name="A volume with a name that is much longer than the panel is wide, as names from PACS are")
    driver = make_driver()
    driver.behave("airy")
    driver.click(driver.ui.lowButton)
    driver.denoise()
    assert len(driver.ui.resultLabel.text) > 300, "a long warning"
    driver.choose(driver.ui.regionComboBox, "Slice range")
    driver.unfold()
    driver.widget.resize(width, 2000)
    assert driver.widget.minimumSizeHint().width() <= width
    for _tabs in pages(driver):
        for widget in driver.widget.findChildren(qt.QWidget):
            if widget.visible and widget.name and not widget.name.startswith(("qt_", "Scroll")):
                corner = widget.mapTo(driver.widget, qt.QPoint(0, 0))
                assert corner.x() >= 0, widget.name
                assert corner.x() + widget.width <= width, widget.name
                if isinstance(widget, (qt.QAbstractButton, qt.QLabel)) and widget.text:
                    wraps = isinstance(widget, qt.QLabel) and widget.wordWrap
                    text = "" if wraps else widget.text.replace("&", "")
                    mark = 20 if isinstance(widget, qt.QCheckBox) else 0
                    needed = widget.fontMetrics().horizontalAdvance(text) + mark
                    assert needed <= widget.width, f"the text of {widget.name} is cut"


def test_a_screen_reader_can_name_every_field(make_driver):
    """Each has a buddy label or an accessible name."""
    import qt

    driver = make_driver()
    fields = (qt.QComboBox, qt.QAbstractSpinBox, qt.QTableWidget, qt.QPlainTextEdit, qt.QProgressBar)
    labelled = {label.buddy() for label in driver.widget.findChildren(qt.QLabel) if label.buddy() is not None}
    bare = [
        field.name
        for field in driver.widget.findChildren(qt.QWidget)
        if isinstance(field, fields)
        and field.name
        and not field.name.startswith("qt_")
        and field not in labelled
        and not field.accessibleName
    ]
    assert bare == []


def test_keys_reach_the_everyday_widgets(make_driver, make_ct):
    """Each Alt+letter shortcut is unique and is none of Slicer's menus (File, Edit, View, Help)."""
    import qt

    make_ct()
    driver = make_driver()
    texts = [
        widget.text
        for widget in driver.widget.findChildren(qt.QWidget)
        if isinstance(widget, (qt.QLabel, qt.QAbstractButton))
    ]
    keys = [text[text.index("&") + 1].upper() for text in texts if "&" in text]
    assert len(keys) == len(set(keys)), sorted(keys)
    assert not set(keys) & set("FEVH")
    assert set("IOMASPDLT") <= set(keys)


def test_a_long_name_can_be_read(make_driver, make_ct):
    name = "3: Thorax Abdomen 25 % dose venous, Br40d 1.5 mm ax, iMAR, patient with arms down"
    node = make_ct(name=name)
    driver = make_driver()
    assert name in driver.ui.inputSelector.toolTip
    node.SetName("short")
    driver.panel.update()
    assert "short" in driver.ui.inputSelector.toolTip
    driver.widget.resize(340, 900)
    driver.settle()
    assert driver.ui.inputSelector.width > 300, "a row of its own"
