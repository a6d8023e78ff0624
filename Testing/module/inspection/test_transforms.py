"""Volumes under a transform, such as registered follow-ups or scans with a tilted gantry: everything stays aligned."""

from __future__ import annotations

import numpy as np
import pytest
import vtk

MOVE = (100.0, 50.0, 30.0)


@pytest.fixture
def moved(slicer, pair):
    """The pair under a translation."""
    matrix = np.eye(4)
    matrix[:3, 3] = MOVE
    return under(slicer, pair, "vtkMRMLLinearTransformNode", slicer.util.vtkMatrixFromArray(matrix))


def under(slicer, pair, kind, change):
    node = slicer.mrmlScene.AddNewNodeByClass(kind)
    set_change = (
        node.SetMatrixTransformToParent if kind.startswith("vtkMRMLLinear") else node.SetAndObserveTransformToParent
    )
    set_change(change)
    for volume in pair:
        volume.SetAndObserveTransformNodeID(node.GetID())
    return pair


def bent():
    """A grid transform that shifts along z by 10 mm over 400 mm of y, like that of a tilted gantry."""
    grid = vtk.vtkImageData()
    grid.SetDimensions(2, 2, 2)
    grid.SetOrigin(-200, -200, -400)
    grid.SetSpacing(400, 400, 400)
    grid.AllocateScalars(vtk.VTK_DOUBLE, 3)
    for index in range(8):
        grid.GetPointData().GetScalars().SetTuple3(index, 0, 0, 10.0 * (index // 2 % 2))
    transform = vtk.vtkOrientedGridTransform() if hasattr(vtk, "vtkOrientedGridTransform") else vtk.vtkGridTransform()
    transform.SetDisplacementGridData(grid)
    return transform


def bounds(node):
    found = np.zeros(6)
    node.GetRASBounds(found)
    return found


def test_there_and_back(slicer, moved):
    from BioAttDenoiseLib.scene import volumes

    places = np.array([[0.0, 1.0, 2.0], [-7.0, 5.0, -300.0]])
    np.testing.assert_allclose(volumes.to_world(moved[0], places), places + MOVE)
    np.testing.assert_allclose(volumes.from_world(moved[0], places), places - MOVE)
    np.testing.assert_allclose(
        volumes.to_world(moved[0], [volumes.middle(moved[0])])[0], bounds(moved[0]).reshape(3, 2).mean(1)
    )


def test_noise_maps_and_kept_attention_maps_lie_on_the_scan(slicer, moved, maps):
    from BioAttDenoiseLib.inspection.overlay import Overlay
    from BioAttDenoiseLib.panel.sections.numbers import _map_volume
    from BioAttDenoiseLib.scene import colour

    voxels = slicer.util.arrayFromVolume(moved[0]).astype(np.float32)
    np.testing.assert_allclose(bounds(_map_volume("noise", moved[0], voxels, colour.NOISE)), bounds(moved[0]))
    overlay = Overlay()
    overlay.setMaps(moved[0], maps)
    overlay.show("last", "lungs", "raw", [])
    np.testing.assert_allclose(bounds(overlay.keep()), bounds(moved[0]))
    overlay.clear()


def test_the_strongest_mark_is_found_where_it_is_on_screen(slicer, moved):
    from BioAttDenoiseLib.inspection.structure_check import StructureCheck
    from BioAttDenoiseLib.scene import volumes

    before, after = moved
    hu = slicer.util.arrayFromVolume(before)
    slicer.util.updateVolumeFromArray(after, hu.copy())
    slicer.util.arrayFromVolume(after)[4, 20:30, 30:34] -= 60
    slicer.util.arrayFromVolumeModified(after)
    alarm = StructureCheck()
    assert alarm.run(before, after).alarm
    inverse = np.linalg.inv(volumes.ijk_to_ras(before))
    i, j, k = (round(index) for index in (inverse @ [*(np.array(alarm.worst()) - MOVE), 1.0])[:3])
    assert alarm.found.marks[k, j, i]
    np.testing.assert_allclose(bounds(alarm.node), bounds(before))
    alarm.forget()


def test_the_spyglass_opens_around_the_mouse(slicer, moved):
    from BioAttDenoiseLib.inspection.reveal import HIDDEN, Reveal

    view = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    reveal = Reveal()
    reveal.radius_mm = 5.0
    reveal.start(*moved, view, follow=True)
    revealed = slicer.util.arrayFromVolume(reveal.node) > HIDDEN
    assert 0.8 < revealed.sum() / (np.pi * (5.0 / 0.8) ** 2) < 1.2, "a circle around the middle of the scan"
    reveal.clear()


def test_a_view_is_axial_as_the_scan_lies_on_screen(slicer, pair):
    from BioAttDenoiseLib.scene import slice_views

    view = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    view.SetOrientation("Axial")
    assert slice_views.axial(view, pair[0])
    upright = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    under(slicer, pair, "vtkMRMLLinearTransformNode", slicer.util.vtkMatrixFromArray(upright))
    assert not slice_views.axial(view, pair[0])
    view.SetOrientation("Coronal")
    assert slice_views.axial(view, pair[0])


def test_a_scan_that_a_grid_bends_can_be_compared(slicer, pair, capfd):
    from BioAttDenoiseLib.inspection.comparison import Comparison
    from BioAttDenoiseLib.scene import volumes

    under(slicer, pair, "vtkMRMLGridTransformNode", bent())
    assert not volumes.straight(pair[0])
    comparison = Comparison()
    comparison.start(*pair)
    assert comparison.composite("BioAttOutput").GetBackgroundVolumeID() == pair[1].GetID()
    comparison.leave()
    assert "non-linear" not in "".join(capfd.readouterr()), "VTK complained"


def test_a_prior_along_z_is_told_by_places_on_screen(slicer, moved, maps):
    from BioAttDenoiseLib.inspection.chart import table_along_z

    table = table_along_z(moved[0], maps.prior).GetTable()
    z = [table.GetValue(row, 0).ToDouble() for row in range(table.GetNumberOfRows())]
    np.testing.assert_allclose(z, -300 + 2.5 * np.arange(9) + MOVE[2])
