"""Denoising volume nodes without a panel: geometry, look, place in the scene, regions, and what goes wrong."""

from __future__ import annotations

import time

import numpy as np
import pytest

from BioAttDenoiseLib.engine import EngineError


def affine(slicer, node):
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def test_the_output_is_like_its_input(slicer, logic, make_ct):
    node = make_ct()
    node.GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLColorTableNodeInvertedGrey")
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = tree.CreateStudyItem(tree.GetSceneItemID(), "Study")
    tree.SetItemParent(tree.GetItemByDataNode(node), study)
    original = slicer.util.arrayFromVolume(node).copy()

    output = logic.denoise(node, model="steady", strength=0.5)

    np.testing.assert_array_equal(slicer.util.arrayFromVolume(output), original - 10)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(node), original)
    assert slicer.util.arrayFromVolume(output).dtype == original.dtype
    np.testing.assert_allclose(affine(slicer, output), affine(slicer, node))
    assert output.GetName() == "CT denoised"
    display = output.GetDisplayNode()
    assert (display.GetWindow(), display.GetLevel(), display.GetAutoWindowLevel()) == (350, 45, 0)
    assert display.GetColorNodeID() == node.GetDisplayNode().GetColorNodeID() != ""
    assert display.GetID() != node.GetDisplayNode().GetID()
    assert tree.GetItemParent(tree.GetItemByDataNode(output)) == study
    assert output.GetAttribute("BioAttDenoise.ModelSHA256") == "f" * 64
    assert output.GetAttribute("BioAttDenoise.Model") == "steady"
    assert output.GetAttribute("BioAttDenoise.Prior") == "embedded"
    assert output.GetAttribute("BioAttDenoise.Strength") == "0.5"
    assert output.GetNodeReferenceID("BioAttDenoiseInput") == node.GetID()


def test_names_stay_unique_and_an_output_can_be_overwritten(slicer, logic, make_ct):
    node = make_ct()
    first = logic.denoise(node, model="steady")
    second = logic.denoise(node, model="steady")
    assert first.GetName() == "CT denoised"
    assert second.GetName() != first.GetName()
    again = logic.denoise(node, first, model="steady", strength=0.1)
    assert again is first
    assert slicer.util.arrayFromVolume(first)[0, 0, 0] == slicer.util.arrayFromVolume(node)[0, 0, 0] - 2
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 3


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
def test_the_voxel_type_is_kept(slicer, logic, make_ct, dtype):
    output = logic.denoise(make_ct(dtype=dtype), model="steady")
    assert slicer.util.arrayFromVolume(output).dtype == dtype


def test_a_slice_range_changes_nothing_else(slicer, logic, make_ct):
    node = make_ct(slices=12)
    before = slicer.util.arrayFromVolume(node)
    change = before - slicer.util.arrayFromVolume(logic.denoise(node, slices=(3, 5), model="steady"))
    assert change.any(axis=(1, 2)).tolist() == [k in (2, 3, 4) for k in range(12)]
    change = before - slicer.util.arrayFromVolume(logic.denoise(node, slices=(11, 0), model="steady"))
    assert change.any(axis=(1, 2)).tolist() == [k in (10, 11) for k in range(12)]
    with pytest.raises(ValueError, match="slices 1 … 12"):
        logic.denoise(node, slices=(4, 13), model="steady")


def test_a_region_of_interest_changes_its_voxels_alone(slicer, logic, make_ct, change_hu):
    node = make_ct(slices=12, size=32)
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    low, high = np.array([4, 6, 2]), np.array([10, 20, 8])  # i, j, k
    matrix = affine(slicer, node)
    centre = (matrix @ [*((low + high) / 2), 1])[:3]
    roi.SetCenter(*centre)
    roi.SetSize(*(np.abs(np.diag(matrix)[:3]) * (high - low)))
    output = logic.denoise(node, roi=roi, model="steady")
    change = slicer.util.arrayFromVolume(node) - slicer.util.arrayFromVolume(output)
    expected = np.zeros(change.shape, bool)
    expected[2:9, 6:21, 4:11] = True
    np.testing.assert_array_equal(change == change_hu, expected)
    assert not change[~expected].any()
    roi.SetCenter(5000, 0, 0)
    with pytest.raises(ValueError, match="outside the volume"):
        logic.denoise(node, roi=roi, model="steady")


@pytest.mark.parametrize("axes", ["axial", "coronal", "sagittal"])
def test_slices_are_axial_however_the_volume_is_stored(slicer, logic, scene, axes):
    """Columns i, j, k of the affine point along other world axes; the range counts slices from feet to head."""
    world_of_ijk = {"axial": (0, 1, 2), "coronal": (0, 2, 1), "sagittal": (1, 2, 0)}[axes]
    matrix = np.eye(4)
    matrix[:3, :3] = 0
    for index, world in enumerate(world_of_ijk):
        matrix[world, index] = 1.5
    hu = np.random.default_rng(1).integers(-1000, 500, (9, 9, 9)).astype(np.int16)
    node = slicer.util.addVolumeFromArray(hu, ijkToRAS=matrix, name="CT")
    output = logic.denoise(node, slices=(2, 3), model="steady")
    change = np.argwhere(slicer.util.arrayFromVolume(node) != slicer.util.arrayFromVolume(output))
    heights = matrix[2, :3] @ change[:, ::-1].T
    assert set(np.round(heights / 1.5).astype(int)) == {1, 2}


def test_asynchronous_with_progress(slicer, logic, make_ct, until):
    results, progress = [], []
    logic.denoiseAsync(make_ct(), model="slow", onDone=results.append, onProgress=progress.append)
    assert not results
    until(lambda: results)
    result = results[0]
    assert result.noise_before == 20
    assert result.noise_after == 8
    assert "noise 20.0 → 8.0 HU" in result.summary
    assert result.prior["descriptors"] == ["lungs", "heart", "liver"]
    assert progress[-1]["fraction"] == 1
    assert progress[0]["eta_s"] > 0


def test_cancel_leaves_the_scene_as_it_was(slicer, logic, make_ct, until):
    node, outcome, progress = make_ct(slices=200), [], []
    count = slicer.mrmlScene.GetNumberOfNodes()
    logic.denoiseAsync(node, model="slow", onCancelled=lambda: outcome.append("cancelled"), onProgress=progress.append)
    until(lambda: progress)
    start = time.monotonic()
    logic.cancel()
    until(lambda: outcome)
    assert time.monotonic() - start < 1
    assert slicer.mrmlScene.GetNumberOfNodes() == count


@pytest.mark.parametrize("what", ["removed", "changed", "scene closed"])
def test_an_input_that_is_gone_meanwhile(slicer, logic, make_ct, until, what):
    node, errors = make_ct(), []
    logic.denoiseAsync(node, model="slow", onError=errors.append, onDone=errors.append)
    if what == "removed":
        slicer.mrmlScene.RemoveNode(node)
    elif what == "changed":
        slicer.util.arrayFromVolume(node)[:] = 0
        slicer.util.arrayFromVolumeModified(node)
    else:
        slicer.mrmlScene.Clear(0)
        make_ct(name="another")  # gets the same ID
    count = slicer.mrmlScene.GetNumberOfNodes()
    until(lambda: errors)
    assert isinstance(errors[0], EngineError)
    assert "Nothing was added" in str(errors[0])
    assert slicer.mrmlScene.GetNumberOfNodes() == count


def test_an_output_that_is_gone_meanwhile_is_made_again(slicer, logic, make_ct, until):
    node, done = make_ct(), []
    target = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "target")
    logic.denoiseAsync(node, target, model="slow", onDone=done.append, onError=done.append)
    slicer.mrmlScene.RemoveNode(target)
    until(lambda: done)
    assert slicer.mrmlScene.IsNodePresent(done[0].volume)


def test_what_cannot_be_denoised(slicer, logic, make_ct):
    with pytest.raises(ValueError, match="Choose the CT volume"):
        logic.denoise(None)
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    with pytest.raises(ValueError, match="no voxels"):
        logic.denoise(empty)
    node = make_ct()
    with pytest.raises(ValueError, match="overwrite the input"):
        logic.denoise(node, node)
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    tree.SetItemAttribute(tree.GetItemByDataNode(node), "DICOM.Modality", "MR")
    with pytest.raises(ValueError, match="This is a MR volume"):
        logic.denoise(node)


def test_a_map_or_photograph_is_refused_by_its_values(slicer, logic, scene):
    node = slicer.util.addVolumeFromArray(np.random.default_rng(0).random((4, 16, 16)).astype(np.float32))
    with pytest.raises(EngineError, match="no HU"):
        logic.denoise(node, model="steady")


def test_every_ct_of_the_scene(slicer, logic, make_ct):
    make_ct(name="a")
    make_ct(name="b")
    mr = make_ct(name="c")
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    tree.SetItemAttribute(tree.GetItemByDataNode(mr), "DICOM.Modality", "MR")
    assert [o.result.GetName() for o in logic.denoiseAll(model="steady")] == ["a denoised", "b denoised"]
    assert [o.name for o in logic.denoiseAll(model="steady")] == ["a", "b"]


def test_a_folder_of_files(slicer, logic, scene, tmp_path, change_hu):
    from bioatt.volume import Volume, read_volume, write_volume

    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    hu = rng.integers(-1000, 1000, (3, 16, 16)).astype(np.int16)
    for name in ("a.nrrd", "b.nii.gz"):
        write_volume(Volume(hu), tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").write_text("no image")
    written = [o.result for o in logic.denoiseFolder(tmp_path / "in", tmp_path / "out", model="steady")]
    assert [path.name for path in written] == ["a.nrrd", "b.nii.gz"]
    for path in written:
        np.testing.assert_array_equal(read_volume(path).hu, hu - change_hu)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0
