"""Saving, closing or loading a scene during a comparison leaves no trace of it in the file or on screen."""

from __future__ import annotations

import re
import zipfile

import pytest


@pytest.fixture
def busy(story):
    """A driver with a denoised volume and attention maps of all slices."""
    story.choose(story.sections["AttentionSection"].ui.mapSlicesComboBox, "Whole volume")
    story.click(story.sections["AttentionSection"].ui.computeMapsButton)
    story.wait_idle()
    return story


def compare(driver, mode="gridButton"):
    driver.click(getattr(driver.sections["CompareSection"].ui, mode))
    driver.click(driver.sections["AttentionSection"].ui.chartsCheckBox)
    driver.settle()


def scene_text(path) -> str:
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".mrml"))
        return archive.read(name).decode()


def seen(views):
    """What each view on screen shows, with its field of view and origin."""
    return {
        name: (
            *(getattr(composite, f"Get{layer}VolumeID")() for layer in ("Background", "Foreground", "Label")),
            tuple(round(x, 6) for x in node.GetFieldOfView()),
            tuple(round(x, 6) for x in node.GetXYZOrigin()),
        )
        for name in views.sliceViewNames()
        for composite in [views.sliceWidget(name).mrmlSliceCompositeNode()]
        for node in [views.sliceWidget(name).mrmlSliceNode()]
    }


@pytest.mark.parametrize("mode", ["sideBySideButton", "gridButton", "swipeButton", "spyglassButton"])
def test_saving_changes_nothing_on_screen_and_writes_nothing_of_it(slicer, busy, views, tmp_path, mode):
    compare(busy, mode)
    view = views.sliceWidget("BioAttInput").mrmlSliceNode()
    view.SetFieldOfView(20, 20, 1)
    before, layout = seen(views), views.layout
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    busy.settle()
    assert views.layout == layout
    assert seen(views) == before
    assert busy.sections["CompareSection"].mode is not None
    text = scene_text(tmp_path / "scene.mrb")
    assert "currentViewArrangement" not in text, "a file without a layout leaves the reader's as it is"
    # parameters, references, colour tables and the series description of an export
    kept = {"BioAttDenoise", "BioAttDenoiseInput", "BioAttDenoisePrior", "BioAtt"}
    names = set(re.findall(r"BioAtt\w*", text)) - kept
    assert all(name.startswith("BioAttDenoise_") for name in names), names
    for temporary in ("attention last", "change", "structure removed", "preview", "PlotChart", "PlotSeries"):
        assert temporary not in text, temporary


def test_the_map_over_the_users_own_views_is_no_part_of_the_file(slicer, busy, views, tmp_path):
    composite = views.sliceWidget("Red").mrmlSliceCompositeNode()
    shown = composite.GetForegroundVolumeID()
    assert shown == busy.sections["AttentionSection"].inspection.overlay.node.GetID()
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    assert composite.GetForegroundVolumeID() == busy.sections["AttentionSection"].inspection.overlay.node.GetID()
    busy.panel.cleanup()
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    composite = views.sliceWidget("Red").mrmlSliceCompositeNode()
    assert composite.GetForegroundVolumeID() is None
    assert slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID()).GetName() == "CT denoised"


def test_a_scene_saved_while_comparing_loads_as_if_there_had_been_none(slicer, busy, views, tmp_path):
    compare(busy)
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    assert views.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    assert not busy.sections["CompareSection"].comparison.active
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    busy.settle()
    assert views.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    assert not any(button.checked for button in busy.sections["CompareSection"].buttons.values())
    hidden = [n for n in slicer.util.getNodesByClass("vtkMRMLVolumeNode") if n.GetHideFromEditors()]
    assert hidden == []
    for kind in ("vtkMRMLPlotChartNode", "vtkMRMLPlotSeriesNode", "vtkMRMLColorLegendDisplayNode"):
        assert slicer.util.getNodesByClass(kind) == []
    compare(busy)
    assert busy.sections["CompareSection"].comparison.after.GetName() == "CT denoised", "and it can compare again"


def test_a_scene_added_while_comparing_brings_its_layout(slicer, busy, views, tmp_path):
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    compare(busy)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"), {"clear": False})
    busy.settle()
    assert views.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    assert not busy.sections["CompareSection"].comparison.active
    assert not busy.sections["CompareSection"].ui.gridButton.checked


def test_after_the_comparison_the_layout_is_saved_again(slicer, busy, views, tmp_path):
    compare(busy)
    busy.click(busy.sections["CompareSection"].ui.gridButton)
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    assert 'currentViewArrangement="3"' in scene_text(tmp_path / "scene.mrb")


def test_a_preview_on_screen_is_no_part_of_the_file(slicer, busy, views, tmp_path):
    busy.click(busy.ui.previewButton)
    busy.wait_idle()
    composite = views.sliceWidget("Red").mrmlSliceCompositeNode()
    assert composite.GetForegroundVolumeID() == busy.panel.live.preview.shown.node.GetID()
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert composite.GetForegroundVolumeID() is None
    assert [n.GetName() for n in slicer.util.getNodesByClass("vtkMRMLVolumeNode")] == ["CT", "CT denoised"]


def test_closing_the_panel_while_comparing_gives_the_layout_back(slicer, busy, views):
    compare(busy)
    busy.python.cleanup()
    assert views.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    hidden = [n for n in slicer.util.getNodesByClass("vtkMRMLVolumeNode") if n.GetHideFromEditors()]
    assert hidden == []
