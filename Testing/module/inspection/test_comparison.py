"""The comparison views: linked, one window, an exact difference, swipe, flicker, everything restored at the end."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def comparison(slicer, pair):
    from BioAttDenoiseLib.inspection.comparison import Comparison

    link = slicer.vtkMRMLSliceLinkLogic()  # Slicer's application has its own
    link.SetMRMLScene(slicer.mrmlScene)
    made = Comparison()
    yield made
    made.leave()
    link.SetMRMLScene(None)


def view(slicer, name):
    return slicer.app.layoutManager().sliceWidget(name)


def place(widget):
    return [widget.mrmlSliceNode().GetSliceToRAS().GetElement(row, 3) for row in range(3)]


def test_both_views_show_the_same_anatomy_after_scrolling(slicer, pair, comparison):
    comparison.start(*pair)
    left, right = view(slicer, "BioAttInput"), view(slicer, "BioAttOutput")
    assert left.mrmlSliceCompositeNode().GetBackgroundVolumeID() == pair[0].GetID()
    assert right.mrmlSliceCompositeNode().GetBackgroundVolumeID() == pair[1].GetID()
    for offset in (-297.5, -285.0):
        node, logic = left.mrmlSliceNode(), left.sliceLogic()
        logic.StartSliceNodeInteraction(slicer.vtkMRMLSliceNode.SliceToRASFlag)
        logic.SetSliceOffset(offset)
        logic.EndSliceNodeInteraction()
        assert place(left) == pytest.approx(place(right))
        assert place(right)[2] == pytest.approx(offset)
        assert node.GetFieldOfView() == pytest.approx(right.mrmlSliceNode().GetFieldOfView())
        # the pixels match too if the output equals the input
        index = round((offset + 300) / 2.5)
        slicer.util.arrayFromVolume(pair[1])[index] = slicer.util.arrayFromVolume(pair[0])[index]
        slicer.util.arrayFromVolumeModified(pair[1])
        assert (left.image() == right.image()).all()
        assert left.image()[..., :3].any()


def test_zoom_is_linked(slicer, pair, comparison):
    comparison.start(*pair)
    left, right = view(slicer, "BioAttInput"), view(slicer, "BioAttOutput")
    logic = left.sliceLogic()
    logic.StartSliceNodeInteraction(slicer.vtkMRMLSliceNode.FieldOfViewFlag)
    width = left.mrmlSliceNode().GetFieldOfView()[0] / 2
    left.mrmlSliceNode().SetFieldOfView(width, width, 1)
    logic.EndSliceNodeInteraction()
    assert right.mrmlSliceNode().GetFieldOfView()[0] == pytest.approx(width)


def test_it_opens_where_the_user_was(slicer, pair, comparison):
    view(slicer, "Red").mrmlSliceNode().SetOrientation("Axial")
    view(slicer, "Red").mrmlSliceNode().JumpSliceByOffsetting(0, 0, -282.5)
    comparison.start(*pair)
    assert place(view(slicer, "BioAttOutput"))[2] == pytest.approx(-282.5)


def test_the_window_is_one(slicer, pair, comparison):
    comparison.start(*pair)
    displays = [node.GetDisplayNode() for node in pair]
    displays[0].SetWindowLevel(1500, -600)
    assert [(d.GetWindow(), d.GetLevel()) for d in displays] == [(1500, -600)] * 2
    displays[1].SetWindowLevel(80, 40)  # as dragging the mouse does, in either view
    assert (displays[0].GetWindow(), displays[0].GetLevel()) == (80, 40)
    comparison.leave()
    displays[1].SetWindowLevel(400, 40)
    assert displays[0].GetWindow() == 80


def test_a_window_dragged_over_one_of_them_goes_for_both_that_slicer_windowed_by_itself(slicer, pair, comparison):
    comparison.start(*pair)
    displays = [node.GetDisplayNode() for node in pair]
    for dragged in (0, 1):
        displays[1 - dragged].SetAutoWindowLevel(True)
        displays[dragged].SetWindowLevel(80 + dragged, 40)
        assert [(d.GetWindow(), d.GetLevel()) for d in displays] == [(80 + dragged, 40)] * 2


@pytest.mark.parametrize("follow", [False, True])
def test_a_window_dragged_over_swipe_or_spyglass_goes_for_both_halves(slicer, pair, comparison, drag, follow):
    comparison.start(*pair, "single")
    widget = view(slicer, "BioAttInput")
    comparison.reveal.start(*pair, widget.mrmlSliceNode(), follow=follow)
    displays = [node.GetDisplayNode() for node in (*pair, comparison.reveal.node)]
    drag(widget, 80, 40)
    assert [(d.GetWindow(), d.GetLevel()) for d in displays] == [(80, 40)] * 3
    comparison.reveal.update()
    displays[0].SetWindowLevel(1500, -600)
    assert [(d.GetWindow(), d.GetLevel()) for d in displays] == [(1500, -600)] * 3
    drag(widget, 400, 50)
    comparison.reveal.clear()
    assert [(d.GetWindow(), d.GetLevel()) for d in displays[:2]] == [(400, 50)] * 2


def test_a_volume_loaded_meanwhile_stays_out_of_the_comparison(slicer, pair, make_ct, comparison):
    comparison.start(*pair, "grid")
    names = ("BioAttInput", "BioAttOutput", "BioAttDifference", "BioAttAttention")
    composites = [view(slicer, name).mrmlSliceCompositeNode() for name in names]
    shown = [composite.GetBackgroundVolumeID() for composite in composites]
    selection = slicer.app.applicationLogic().GetSelectionNode()
    loaded = make_ct(name="another")
    selection.SetActiveVolumeID(loaded.GetID())
    slicer.app.applicationLogic().PropagateVolumeSelection()  # as Slicer does with a volume that it loads
    assert [composite.GetBackgroundVolumeID() for composite in composites] == shown
    assert view(slicer, "Red").mrmlSliceCompositeNode().GetBackgroundVolumeID() == loaded.GetID()
    comparison.leave()
    assert view(slicer, "Red").mrmlSliceCompositeNode().GetDoPropagateVolumeSelection()


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_the_difference_is_exact(slicer, make_ct, comparison, dtype):
    from BioAttDenoiseLib.scene import volumes

    before = make_ct(slices=4, dtype=dtype)
    after = volumes.make_output(before, None, "out")
    hu = slicer.util.arrayFromVolume(before)
    change = np.random.default_rng(0).integers(-300, 300, hu.shape).astype(dtype)
    slicer.util.updateVolumeFromArray(after, hu + change)
    comparison.start(before, after, "grid")
    found = slicer.util.arrayFromVolume(comparison.difference)
    np.testing.assert_array_equal(found, slicer.util.arrayFromVolume(after) - hu)
    shown = view(slicer, "BioAttDifference")
    assert shown.mrmlSliceCompositeNode().GetBackgroundVolumeID() == comparison.difference.GetID()
    slicer.util.arrayFromVolume(after)[:] = hu
    slicer.util.arrayFromVolumeModified(after)  # denoised again
    assert not slicer.util.arrayFromVolume(comparison.difference).any()


def test_extreme_differences_do_not_wrap():
    from BioAttDenoiseLib.inspection.comparison import difference

    low, high = np.full((1, 1, 2), -32768, np.int16), np.full((1, 1, 2), 32767, np.int16)
    assert (difference(low, high) == 65535).all()
    assert (difference(high, low) == -65535).all()
    assert difference(low, low + np.int16(5)).dtype == np.int16


def test_the_difference_is_drawn_through_its_colors(slicer, pair, comparison):
    from BioAttDenoiseLib.scene import colour, slice_views

    comparison.start(*pair, "grid")
    comparison.setRange(80)
    widget = view(slicer, "BioAttDifference")
    widget.resize(48, 48)
    widget.mrmlSliceNode().SetFieldOfView(48 * 0.8, 48 * 0.8, 1)
    from BioAttDenoiseLib.scene import volumes

    middle = volumes.ijk_to_ras(pair[0]) @ [24, 23, 4, 1]  # aligns pixels with voxels
    widget.mrmlSliceNode().JumpSliceByCentering(*middle[:3])
    comparison.difference.GetDisplayNode().SetInterpolate(False)
    hu = slicer.util.arrayFromVolume(comparison.difference)[slice_views.slice_index(widget.mrmlSliceNode(), pair[0])]
    ramp = np.round(colour.ramp("difference") * 255)
    expected = ramp[np.clip(np.floor((hu + 80) / 160 * 256), 0, 255).astype(int)]
    inner = (slice(4, 44), slice(4, 44))
    difference = np.abs(widget.image()[..., :3].astype(int) - expected)[inner]
    assert np.percentile(difference, 99) <= 6


def test_flicker_exchanges_and_returns(slicer, pair, comparison):
    comparison.start(*pair)
    composite = view(slicer, "BioAttOutput").mrmlSliceCompositeNode()
    comparison.flicker()
    assert composite.GetBackgroundVolumeID() == pair[0].GetID()
    comparison.flicker()
    assert composite.GetBackgroundVolumeID() == pair[1].GetID()


def test_flickering_by_itself(slicer, pair, comparison, until):
    comparison.start(*pair)
    composite = view(slicer, "BioAttOutput").mrmlSliceCompositeNode()
    comparison.setFlickering(True)
    until(lambda: composite.GetBackgroundVolumeID() == pair[0].GetID(), seconds=5)
    comparison.setFlickering(False)
    assert composite.GetBackgroundVolumeID() == pair[1].GetID()


@pytest.mark.parametrize("fraction", [0.25, 0.5])
def test_swipe_shows_the_output_right_of_the_line(slicer, pair, comparison, fraction):
    comparison.start(*pair)
    left, right = view(slicer, "BioAttInput"), view(slicer, "BioAttOutput")
    for widget in (left, right):
        widget.resize(96, 96)
        widget.fitSliceToBackground()
    before, after = left.image(), right.image()
    comparison.reveal.fraction = fraction
    comparison.reveal.start(*pair, left.mrmlSliceNode())
    line = round(96 * fraction)
    for offset in (None, -282.5):
        if offset is not None:
            for widget in (left, right):
                widget.mrmlSliceNode().JumpSliceByOffsetting(0, 0, offset)
            after = right.image()
            comparison.reveal.clear()
            before = left.image()
            comparison.reveal.start(*pair, left.mrmlSliceNode())
        shown = left.image()
        assert (shown[:, : line - 4] == before[:, : line - 4]).all()
        assert (shown[:, line + 4 : 94] == after[:, line + 4 : 94]).mean() > 0.97
        assert (before[:, line + 4 : 94] != after[:, line + 4 : 94]).any()
    comparison.reveal.clear()
    assert (left.image() == before).all()


def test_the_spyglass_shows_the_output_around_a_place(slicer, pair, comparison):
    comparison.start(*pair)
    left = view(slicer, "BioAttInput")
    before = left.image()
    comparison.reveal.radius_mm = 6
    comparison.reveal.start(*pair, left.mrmlSliceNode(), follow=True)
    changed = (left.image() != before).any(axis=2)
    field = left.mrmlSliceNode().GetFieldOfView()[0]
    rows, columns = np.nonzero(changed)
    assert changed.any()
    assert max(np.ptp(rows), np.ptp(columns)) * field / 320 <= 14


def test_leaving_restores_everything(slicer, pair, comparison):
    manager = slicer.app.layoutManager()
    former = manager.layout
    count = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode")
    red = view(slicer, "Red")
    picture = red.image()
    comparison.start(*pair, "grid")
    comparison.start(*pair, "side by side")
    comparison.flicker()
    comparison.reveal.start(*pair, view(slicer, "BioAttInput").mrmlSliceNode())
    assert manager.layout != former
    comparison.leave()
    assert manager.layout == former
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode") == count
    assert (red.image() == picture).all()


def test_a_layout_chosen_meanwhile_stays(slicer, pair, comparison):
    manager = slicer.app.layoutManager()
    comparison.start(*pair)
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    comparison.leave()
    assert manager.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView


def test_removing_a_volume_ends_it(slicer, pair, comparison):
    ended = []
    comparison.onChanged = lambda: ended.append(True)
    comparison.start(*pair, "grid")
    slicer.mrmlScene.RemoveNode(pair[1])
    assert ended
    assert not comparison.active


def test_volumes_of_other_geometry_are_refused(slicer, pair, make_ct, comparison):
    with pytest.raises(ValueError, match="different geometry"):
        comparison.start(pair[0], make_ct(slices=5))
    assert not comparison.active


def test_without_a_window_it_says_so(slicer, pair, comparison, monkeypatch):
    monkeypatch.setattr(slicer.app, "_main_window", False)
    with pytest.raises(RuntimeError, match="without a main window"):
        comparison.start(*pair)


def test_where_nothing_changed_the_difference_is_as_dark_as_air(slicer, pair, comparison):
    """A white view next to dark ones would dazzle the reader."""
    before, after = pair
    slicer.util.updateVolumeFromArray(after, slicer.util.arrayFromVolume(before).copy())
    comparison.start(before, after, "triple")
    assert view(slicer, "BioAttDifference").image()[..., :3].max() < 40


def test_the_difference_has_a_color_bar_in_its_view_alone(slicer, pair, comparison):
    comparison.start(*pair, "triple")
    (legend,) = slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode")
    assert legend.GetVisibility()
    assert "HU" in legend.GetTitleText()
    assert [legend.GetNthViewNodeID(0)] == [view(slicer, "BioAttDifference").mrmlSliceNode().GetID()]
    assert legend.GetNumberOfViewNodeIDs() == 1
    comparison.leave()
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLColorLegendDisplayNode") == 0


@pytest.mark.parametrize("follow", [False, True])
def test_a_line_parts_input_and_output(slicer, pair, comparison, follow):
    from BioAttDenoiseLib.inspection.reveal import LINE

    comparison.start(*pair, "single")
    comparison.reveal.radius_mm = 10
    comparison.reveal.start(*pair, view(slicer, "BioAttInput").mrmlSliceNode(), follow=follow)
    shown = slicer.util.arrayFromVolume(comparison.reveal.node)[0]
    line, revealed = shown == LINE, shown > -3000
    assert 0 < line.sum() < 120
    if follow:
        assert line[revealed.any(axis=1)].any(axis=1).all(), "all around"
    else:
        assert (line.sum(axis=1) == 1).all()
        comparison.reveal.swipeTo(0)
        assert not (slicer.util.arrayFromVolume(comparison.reveal.node) == LINE).any(), "no line: all is output"


def test_the_line_is_not_much_wider_than_its_voxels(slicer, pair, comparison):
    """Interpolated, at 6 pixels per voxel."""
    comparison.start(*pair, "single")
    widget = view(slicer, "BioAttInput")
    comparison.reveal.start(*pair, widget.mrmlSliceNode())
    widget.resize(288, 288)
    widget.mrmlSliceNode().SetFieldOfView(48 * 0.8, 48 * 0.8, 1)
    white = (widget.image()[144, :, :3] == 255).all(axis=1).sum()
    assert 4 <= white <= 7
