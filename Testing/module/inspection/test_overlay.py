"""The attention overlay in Slicer's slice pipeline: its pixels are the map's values, mapped through the color table."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def red(slicer, pair):
    """The axial view at one pixel per voxel."""
    manager = slicer.app.layoutManager()
    widget = manager.sliceWidget("Red")
    widget.resize(48, 48)
    node = widget.mrmlSliceNode()
    node.SetOrientation("Axial")
    node.SetFieldOfView(48 * 0.8, 48 * 0.8, 1)
    bounds = np.zeros(6)
    pair[0].GetRASBounds(bounds)
    node.JumpSliceByCentering(*((bounds[::2] + bounds[1::2]) / 2))
    return widget


def colors_of(slicer, kind, values, high=1.0):
    from BioAttDenoiseLib.scene import colour

    ramp = np.round(colour.ramp(kind) * 255)
    return ramp[np.clip((values / high * 255).round().astype(int), 0, 255)]


def show(slicer, overlay, red, *what):
    return overlay.show(*what, [red.mrmlSliceCompositeNode()])


@pytest.fixture
def overlay(slicer, pair, maps):
    from BioAttDenoiseLib.inspection.overlay import Overlay

    made = Overlay()
    made.setMaps(pair[0], maps)
    made.legend = False
    yield made
    made.clear()


def test_opaque_pixels_are_the_maps_values_through_the_color_table(slicer, pair, maps, overlay, red):
    from BioAttDenoiseLib.scene import slice_views

    overlay.setOpacity(1.0)
    node = show(slicer, overlay, red, "last", "lungs", "raw")
    index = slice_views.slice_index(red.mrmlSliceNode(), pair[0])
    shown = red.image()[..., :3].astype(int)
    expected = colors_of(slicer, "attention", maps.maps["last", "lungs"][index] / 255)
    inner = (slice(15, 33), slice(15, 33)), (slice(2, 10), slice(2, 46))
    for part in inner:
        assert np.abs(shown[part] - expected[part]).max() <= 3
    assert slicer.util.arrayFromVolume(node)[index, 20, 20] == pytest.approx(230 / 255)


def test_half_opacity_mixes_and_threshold_uncovers(slicer, pair, overlay, red):
    bare = red.image()[..., :3].astype(int)
    overlay.setOpacity(0.5)
    show(slicer, overlay, red, "last", "lungs", "raw")
    mixed = red.image()[..., :3].astype(int)
    color = colors_of(slicer, "attention", np.array([230 / 255]))[0]
    inner = (slice(15, 33), slice(15, 33))
    assert np.abs(mixed[inner] - (bare[inner] + color) / 2).max() <= 3
    overlay.setThreshold(0.5)
    assert (red.image()[2:10, 2:46, :3] == bare[2:10, 2:46]).all()
    assert (red.image()[inner][..., :3] != bare[inner]).any()


def test_it_follows_the_slice(slicer, pair, maps, overlay, red):
    overlay.setOpacity(1.0)
    show(slicer, overlay, red, "last", "unified", "raw")
    for index in (1, 7):
        z = -300 + 2.5 * index
        red.mrmlSliceNode().JumpSliceByOffsetting(0, 0, z)
        expected = colors_of(slicer, "attention", maps.maps["last", "unified"][index] / 255)
        assert np.abs(red.image()[20:30, 20:30, :3].astype(int) - expected[20:30, 20:30]).max() <= 3


def test_contributions_say_which_organ_drives(slicer, pair, maps, overlay, red):
    lungs = slicer.util.arrayFromVolume(show(slicer, overlay, red, "last", "lungs", "contribution")).copy()
    liver = slicer.util.arrayFromVolume(show(slicer, overlay, red, "last", "liver", "contribution")).copy()
    np.testing.assert_allclose(lungs + liver, maps.maps["last", "unified"] / 255, atol=0.003)
    assert lungs[8, 20, 20] == pytest.approx(0.8 * 230 / 255, abs=1e-5)


def test_contrast_over_organs(slicer, pair, overlay, red):
    values = slicer.util.arrayFromVolume(show(slicer, overlay, red, "last", "lungs", "contrast"))
    assert values[4, 20, 20] == pytest.approx(1, abs=1e-5)
    assert values[4, 2, 2] < 0


def test_taking_it_away_restores_the_views(slicer, pair, overlay, red):
    composite = red.mrmlSliceCompositeNode()
    composite.SetForegroundVolumeID(pair[1].GetID())
    composite.SetForegroundOpacity(0.25)
    before, count = red.image(), slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    overlay.legend = True
    show(slicer, overlay, red, "last", "lungs", "raw")
    show(slicer, overlay, red, "last", "liver", "raw")
    assert (red.image() != before).any()
    overlay.clear()
    assert (composite.GetForegroundVolumeID(), composite.GetForegroundOpacity()) == (pair[1].GetID(), 0.25)
    assert (red.image() == before).all()
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == count
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLColorLegendDisplayNode") == 0


def test_moving_it_to_other_views_gives_the_first_back(slicer, overlay, red):
    show(slicer, overlay, red, "last", "lungs", "raw")
    green = slicer.app.layoutManager().sliceWidget("Green").mrmlSliceCompositeNode()
    overlay.show("last", "lungs", "raw", [green])
    assert red.mrmlSliceCompositeNode().GetForegroundVolumeID() is None
    assert green.GetForegroundVolumeID() == overlay.node.GetID()


def test_the_legend_is_drawn(slicer, overlay, red):
    red.resize(300, 300)
    show(slicer, overlay, red, "last", "lungs", "raw")
    without = red.render()
    overlay.setLegend(True)
    assert (red.render() != without).any(axis=2).sum() > 300
    overlay.setLegend(False)
    assert (red.render() == without).all()


def test_keeping_a_map_makes_an_ordinary_volume(slicer, pair, overlay, red):
    show(slicer, overlay, red, "last", "lungs", "raw")
    kept = overlay.keep()
    overlay.clear()
    assert kept.GetSaveWithScene()
    assert not kept.GetHideFromEditors()
    from BioAttDenoiseLib.scene import slice_views

    assert slice_views.same_grid(kept, pair[0])
    assert kept.GetName() == "CT attention last lungs"


def test_the_engines_reply_becomes_maps_in_the_arrays_order(slicer, pair):
    from BioAttDenoiseLib.inspection.attention_maps import maps_of_reply
    from BioAttDenoiseLib.scene import regions, volumes

    array, matrix = slicer.util.arrayFromVolume(pair[0]), volumes.ijk_to_ras(pair[0])
    region = regions.slice_region(array.shape, matrix, 3, 5)
    reply = {
        "prior": {
            "descriptors": ["a", "b"],
            "probabilities": [[0.1, 0.9], [0.2, 0.8], [0.3, 0.7]],
            "source": "maps",
        },
        "attention": [{"stage": "last", "name": "a", "array": np.full((3, 48, 48), 255, np.uint8)}],
    }
    made = maps_of_reply(reply, region, array.shape, matrix)
    whole = made.voxels("last", "a", "contribution")
    np.testing.assert_allclose(whole[:, 5, 5], [0, 0, 0.1, 0.2, 0.3, 0, 0, 0, 0], atol=1e-6)
    flipped = matrix.copy()
    flipped[2, 2] *= -1  # stored head first, but the engine's rows still run from feet to head
    whole = maps_of_reply(reply, region, array.shape, flipped).voxels("last", "a", "contribution")
    np.testing.assert_allclose(whole[:, 5, 5], [0, 0, 0.3, 0.2, 0.1, 0, 0, 0, 0], atol=1e-6)
