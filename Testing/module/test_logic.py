"""Denoising volume nodes without a panel: geometry, display, place in the scene, regions and errors."""

from __future__ import annotations

import time

import numpy as np
import pytest

from bioatt.core.provenance import series_description
from BioAttDenoiseLib.engine.errors import EngineError


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
    assert output.GetAttribute("BioAttDenoise.Prior") == "maps"
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


@pytest.mark.parametrize("kind", ["scan", "output of another", "output of what is gone"])
def test_what_was_not_made_from_the_input_is_not_overwritten(slicer, logic, make_ct, kind):
    """Otherwise another patient's voxels would be stored under this patient's name and study."""
    first, node = make_ct(name="a"), make_ct(name="b")
    target = first if kind == "scan" else logic.denoise(first, model="steady")
    if kind == "output of what is gone":
        slicer.mrmlScene.RemoveNode(first)
    before = slicer.util.arrayFromVolume(target).copy()
    with pytest.raises(ValueError, match=f'"{target.GetName()}" was not made from "b". Choose another') as caught:
        logic.denoise(node, target, model="steady")
    assert "\n" not in str(caught.value)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(target), before)


def make_roi(slicer, node, low, high):
    """A region of interest from the centre of voxel `low` to that of voxel `high` (i, j, k)."""
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    matrix = affine(slicer, node)
    roi.SetCenter(*(matrix @ [*((low + high) / 2), 1])[:3])
    roi.SetSize(*(np.abs(np.diag(matrix)[:3]) * (high - low)))
    return roi


def test_an_output_says_which_part_was_denoised(slicer, logic, make_ct):
    node = make_ct(slices=12, size=32)
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    box = make_roi(slicer, node, np.array([4, 6, 2]), np.array([10, 20, 8]))
    everything = make_roi(slicer, node, np.array([0, 0, 0]), np.array([31, 31, 11]))
    for region, name, part in (
        ({}, "CT denoised", "whole"),
        ({"slices": (3, 5)}, "CT partly denoised", "axial slices 3-5 of 12"),
        ({"slices": (1, 0)}, "CT denoised", "whole"),
        ({"roi": box}, "CT partly denoised", "voxels i 4-10, j 6-20, k 2-8"),
        ({"roi": everything}, "CT denoised", "whole"),
    ):
        output = logic.denoise(node, model="steady", **region)
        assert (output.GetName(), output.GetAttribute("BioAttDenoise.Region")) == (name, part)
        exported = tree.GetItemAttribute(tree.GetItemByDataNode(output), "DICOM.SeriesDescription")
        assert ("partly" in exported) == (part != "whole")
        slicer.mrmlScene.RemoveNode(output)
    output = logic.denoise(node, model="steady")
    logic.denoise(node, output, slices=(12, 12), model="steady")
    assert output.GetAttribute("BioAttDenoise.Region") == "axial slices 12-12 of 12"


def test_a_second_denoising_is_told_and_no_part_of_a_batch(slicer, logic, make_ct):
    from BioAttDenoiseLib.scene import volumes

    node, results = make_ct(), []
    output = logic.denoise(node, model="steady")
    file = make_ct(name="written by the command line")
    file.SetAttribute("Note", "Denoised by BioAttDenoise, model bioatt, strength 0.75: research use only")
    derived = make_ct(name="derived series")
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    tree.SetItemAttribute(
        tree.GetItemByDataNode(derived), "DICOM.SeriesDescription", series_description("CT", "bioatt", 0.75)
    )
    assert volumes.ct_volumes() == [node]
    for source in (node, output, file, derived):
        logic.denoiseAsync(source, model="steady", onDone=results.append)
        logic.wait()
    told = [any("BioAttDenoise already denoised this volume" in line for line in result.warnings) for result in results]
    assert told == [False, True, True, True]


@pytest.mark.parametrize("number", ["3", "", "three"])
def test_an_exported_output_is_told_from_its_scan(slicer, logic, make_ct, number):
    """Slicer's DICOM export takes a series' tags from its subject hierarchy item."""
    node = make_ct(name="A name that is longer than a series description can be: " + 20 * "x")
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    source = tree.GetItemByDataNode(node)
    if number:
        tree.SetItemAttribute(source, "DICOM.SeriesNumber", number)
    output = logic.denoise(node, model="steady", strength=0.5)
    item = tree.GetItemByDataNode(output)

    def tags():
        return [
            tree.GetItemAttribute(item, f"DICOM.{key}") for key in ("SeriesDescription", "SeriesNumber", "Modality")
        ]

    mark = " [BioAtt steady 50%, research]"
    assert tags() == [node.GetName()[: 64 - len(mark)] + mark, "1003" if number == "3" else "1000", "CT"]
    tree.SetItemAttribute(source, "DICOM.SeriesDescription", "Abdomen")
    assert logic.denoise(node, output, model="steady", strength=0.8) is output
    assert tags()[0] == "Abdomen [BioAtt steady 80%, research]"
    assert tree.GetItemAttribute(source, "DICOM.SeriesDescription") == "Abdomen"


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
    with pytest.raises(ValueError, match="slices 1 to 12"):
        logic.denoise(node, slices=(4, 13), model="steady")


def test_a_region_of_interest_changes_its_voxels_alone(slicer, logic, make_ct, change_hu):
    node = make_ct(slices=12, size=32)
    roi = make_roi(slicer, node, np.array([4, 6, 2]), np.array([10, 20, 8]))
    output = logic.denoise(node, roi=roi, model="steady")
    change = slicer.util.arrayFromVolume(node) - slicer.util.arrayFromVolume(output)
    expected = np.zeros(change.shape, bool)
    expected[2:9, 6:21, 4:11] = True
    np.testing.assert_array_equal(change == change_hu, expected)
    assert not change[~expected].any()
    results = []
    logic.denoiseAsync(node, output, roi=roi, model="steady", onDone=results.append)
    logic.wait()
    assert results[0].noise_before is results[0].noise_after is None, "the engine's are those of whole slices"
    roi.SetCenter(5000, 0, 0)
    with pytest.raises(ValueError, match="outside the volume"):
        logic.denoise(node, roi=roi, model="steady")


@pytest.mark.parametrize("axes", ["axial", "coronal", "sagittal"])
def test_slices_are_axial_however_the_volume_is_stored(slicer, logic, scene, axes):
    """The affine's columns point along different world axes; the slice range always counts from feet to head."""
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
    with pytest.raises(ValueError, match="This volume is not CT"):
        logic.denoise(node)


def test_a_map_or_photograph_is_refused_by_its_values(slicer, logic, scene):
    node = slicer.util.addVolumeFromArray(np.random.default_rng(0).random((4, 16, 16)).astype(np.float32))
    with pytest.raises(EngineError, match="not HU"):
        logic.denoise(node, model="steady")


def test_every_ct_of_the_scene(slicer, logic, make_ct):
    make_ct(name="a")
    make_ct(name="b")
    mr = make_ct(name="c")
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    tree.SetItemAttribute(tree.GetItemByDataNode(mr), "DICOM.Modality", "MR")
    assert [o.result.GetName() for o in logic.denoiseAll(model="steady")] == ["a denoised", "b denoised"]
    assert [o.name for o in logic.denoiseAll(model="steady")] == ["a", "b"]


def test_a_folder(slicer, logic, scene, tmp_path, change_hu, monkeypatch):
    from bioatt.core.volume import Volume
    from bioatt.io.images import read_volume, write_volume
    from BioAttDenoiseLib.engine.errors import EngineError

    (tmp_path / "in").mkdir()
    hu = np.random.default_rng(0).integers(-1000, 1000, (3, 16, 16)).astype(np.int16)
    write_volume(Volume(hu), tmp_path / "in" / "a.nii.gz")
    monkeypatch.chdir(tmp_path)
    report = logic.denoiseFolder("in", "out", model="steady")
    assert report["counts"] == {"done": 1}
    written = tmp_path / "out" / report["scans"][0]["folder"] / "denoised.nii.gz"
    np.testing.assert_array_equal(read_volume(written).hu, hu - change_hu)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0
    with pytest.raises(EngineError, match="is inside the input"):
        logic.denoiseFolder(tmp_path / "in", tmp_path / "in" / "out")
