"""A reader study by keys and clicks: blinded, randomised by a seed, resumable, and leaving nothing behind."""

from __future__ import annotations

import csv

import numpy as np
import pytest

KINDS = {"low dose", "denoised", "reference"}


@pytest.fixture
def study(slicer, story, make_ct, tmp_path):
    """A driver with a denoised scan, a reference, and the section filled in: 3 pairs on 4 slices."""
    from BioAttDenoiseLib.scene import volumes

    reference = volumes.make_output(story.parameters.inputVolume, None, "full dose")
    hu = slicer.util.arrayFromVolume(story.parameters.inputVolume)
    slicer.util.updateVolumeFromArray(reference, np.full_like(hu, 33))
    story.parameters.referenceVolume = reference
    story.section = story.sections["StudySection"]
    story.study, story.file = story.section.ui, tmp_path / "scores.csv"
    story.study.readerLineEdit.text = "AB"
    story.study.studySlicesSpinBox.value = 4
    story.study.seedSpinBox.value = 7
    story.study.studyFileLineEdit.currentPath = str(story.file)
    return story


def rows(study):
    with study.file.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def shown(slicer, views):
    composites = [views.sliceWidget(name).mrmlSliceCompositeNode() for name in ("BioAttFirst", "BioAttSecond")]
    return [slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID()) for composite in composites]


def press(study, *keys):
    """Trigger the shortcuts for these keys."""
    for key in keys:
        index = 5 if key == "Backspace" else int(key) - 1
        assert study.section.shortcuts[index].key.toString() == key
        assert study.section.shortcuts[index].enabled
        study.section.shortcuts[index].activated.emit()
        study.settle()


def test_a_study_from_start_to_end(slicer, study, views):
    former, nodes = views.layout, slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    study.click(study.study.studyButton)
    assert "1 of 12" in study.study.studyProgressLabel.text
    truth = {"low dose": study.parameters.inputVolume, "denoised": study.parameters.outputVolume,
             "reference": study.parameters.referenceVolume}  # fmt: skip
    for number in range(12):
        pair = shown(slicer, views)
        assert [node.GetName() for node in pair] == ["1", "2"], "nothing tells which is which"
        assert all(node.GetHideFromEditors() and not node.GetSaveWithScene() for node in pair)
        windows = {(node.GetDisplayNode().GetWindow(), node.GetDisplayNode().GetLevel()) for node in pair}
        assert len(windows) == 1
        images = [node.GetImageData() for node in pair]
        press(study, str(1 + number % 5))
        row = rows(study)[-1]
        assert images == [truth[row[side]].GetImageData() for side in ("left", "right")]
    assert "All 12 pairs are scored" in study.study.studyProgressLabel.text
    assert not study.study.score1Button.enabled
    found = rows(study)
    assert [row["score"] for row in found] == [str(1 + number % 5) for number in range(12)]
    assert {row["left"] for row in found} == KINDS, "sides are at random"
    assert {(row["seed"], row["reader"], row["strength"]) for row in found} == {("7", "AB", "0.75")}
    study.click(study.study.studyButton)
    assert views.layout == former
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == nodes


def test_the_trials_slice_is_on_screen(slicer, study, views):
    from BioAttDenoiseLib.scene import slice_views

    study.click(study.study.studyButton)
    for _trial in range(4):
        for name in ("BioAttFirst", "BioAttSecond"):
            view = views.sliceWidget(name).mrmlSliceNode()
            assert slice_views.slice_index(view, study.parameters.inputVolume) == study.section.study.trial.index
        press(study, "3")


def test_the_window_stays_from_pair_to_pair(slicer, study, views):
    study.click(study.study.studyButton)
    shown(slicer, views)[0].GetDisplayNode().SetWindowLevel(150, 90)
    press(study, "2")
    assert {node.GetDisplayNode().GetWindow() for node in shown(slicer, views)} == {150}
    assert rows(study)[0]["window"] == "150"


def test_a_study_is_continued(slicer, study):
    study.click(study.study.studyButton)
    press(study, "1", "5", "4")
    study.click(study.study.studyButton)
    study.click(study.study.studyButton)
    assert "4 of 12" in study.study.studyProgressLabel.text
    press(study, "2")
    assert [row["score"] for row in rows(study)] == ["1", "5", "4", "2"]
    assert len({row["trial"] for row in rows(study)}) == 4


def test_the_last_score_can_be_taken_back(study):
    study.click(study.study.studyButton)
    press(study, "1", "5", "Backspace")
    assert "2 of 12" in study.study.studyProgressLabel.text
    press(study, "3")
    assert [row["score"] for row in rows(study)] == ["1", "3"]


def test_a_file_of_another_study_is_refused(study):
    study.click(study.study.studyButton)
    press(study, "1")
    study.click(study.study.studyButton)
    study.study.seedSpinBox.value = 8
    study.click(study.study.studyButton)
    assert "another study" in study.status
    assert not study.section.study.active
    assert len(rows(study)) == 1


def test_the_same_seed_is_the_same_study(slicer, study):
    from BioAttDenoiseLib.inspection.reader_study import cases_of_scene, plan

    cases = cases_of_scene()
    one, same, other = (plan(cases, 4, seed) for seed in (7, 7, 8))
    assert one == same
    assert one != other
    assert all(0 < trial.index < 8 for trial in one), "not at the ends"


def test_two_patients_on_one_grid_keep_their_references(study, make_ct, slicer):
    """A reference belongs to the input that it was chosen for, not to every scan on the same grid."""
    from BioAttDenoiseLib.inspection.reader_study import REFERENCE, cases_of_scene

    first, theirs = study.parameters.inputVolume, study.parameters.referenceVolume
    second = make_ct(9, 48, name="other patient")
    study.parameters.inputVolume = second
    assert study.parameters.referenceVolume is None
    study.denoise()
    found = {case.name: case.volumes.get(REFERENCE) for case in cases_of_scene()}
    assert found == {"CT denoised": theirs, "other patient denoised": None}
    own = make_ct(9, 48, name="other patient, full dose")
    study.sections["NumbersSection"].ui.referenceSelector.setCurrentNode(own)
    study.parameters.inputVolume = first
    assert study.parameters.referenceVolume is theirs
    found = {case.name: case.volumes.get(REFERENCE) for case in cases_of_scene()}
    assert found == {"CT denoised": theirs, "other patient denoised": own}
    slicer.mrmlScene.RemoveNode(theirs)
    assert REFERENCE not in next(case for case in cases_of_scene() if case.name == "CT denoised").volumes


def test_what_is_missing_is_said(study, make_ct, slicer):
    study.study.studyFileLineEdit.currentPath = ""
    study.click(study.study.studyButton)
    assert "Choose a file" in study.status
    slicer.mrmlScene.RemoveNode(study.parameters.outputVolume)
    study.click(study.study.studyButton)
    assert "Denoise a scan first" in study.status


def test_a_place_that_cannot_be_written_is_told(study, tmp_path):
    study.study.studyFileLineEdit.currentPath = str(tmp_path / "missing" / "scores.csv")
    study.click(study.study.studyButton)
    press(study, "1")
    assert "Could not write" in study.status
    assert "1 of 12" in study.study.studyProgressLabel.text, "the pair is asked again"


def test_a_closed_scene_ends_the_study(slicer, study):
    study.click(study.study.studyButton)
    slicer.mrmlScene.Clear(0)
    study.settle()
    assert not study.section.study.active
