"""A sequence of volumes (4-D CT) denoised from the "Batch" page, by clicks, with the stand-in engine."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def phases(slicer, make_ct):
    """A sequence of three phases with 30, 31 and 32 slices, and its browser."""
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "4-D CT")
    sequence.SetIndexName("phase")
    sequence.SetIndexUnit("%")
    for number in range(3):
        node = make_ct(slices=30 + number, name="frame")
        slicer.util.arrayFromVolume(node)[0, 0, 0] = 500 + number
        sequence.SetDataNodeAtValue(node, str(30 * number))
        slicer.mrmlScene.RemoveNode(node)
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "player")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    return sequence, browser


@pytest.fixture
def driver(phases, make_driver, slicer):
    made = make_driver()
    made.behave("steady")
    made.unfold()
    made.batch = made.sections["BatchSection"].ui
    made.turn_to(made.batch.sequenceSelector)
    assert not made.batch.sequenceButton.enabled
    made.batch.sequenceSelector.setCurrentNode(phases[0])
    return made


def output(slicer):
    """The output sequence, not the proxy node of the same name."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSequenceNode")
    return next(node for node in nodes if node.GetName() == "4-D CT denoised")


def test_every_phase_goes_into_a_sequence_that_plays_beside(driver, phases, slicer):
    sequence, browser = phases
    count = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    driver.ui.strengthSlider.value = 50
    driver.click(driver.batch.sequenceButton)
    driver.wait_idle()
    assert driver.status == "Done, 3 volumes: 4-D CT denoised."
    made = output(slicer)
    assert [made.GetNthIndexValue(n) for n in range(3)] == ["0", "30", "60"]
    assert (made.GetIndexName(), made.GetIndexUnit()) == ("phase", "%")
    for number in range(3):
        before, after = (slicer.util.arrayFromVolume(s.GetNthDataNode(number)) for s in (sequence, made))
        np.testing.assert_array_equal(after, before - 10)
        assert made.GetNthDataNode(number).GetAttribute("BioAttDenoise.Strength") == "0.5"
    assert browser.IsSynchronizedSequenceNode(made, True)
    proxies = [browser.GetProxyNode(made)] if browser.GetProxyNode(made) is not None else []
    left = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    assert left == count + len(proxies), "no single volumes are left"


def test_a_level_means_one_strength_for_all_phases(driver, slicer):
    """The strength found for the first phase applies to all."""
    driver.behave("by noise")
    driver.parameters.strengthLevel = "medium"
    driver.click(driver.batch.sequenceButton)
    driver.wait_idle()
    made = output(slicer)
    found = [made.GetNthDataNode(n).GetAttribute("BioAttDenoise.Strength") for n in range(3)]
    assert found == ["0.3"] * 3


def test_cancel_keeps_the_phases_that_are_done(driver, slicer, until):
    driver.behave("slow")
    driver.click(driver.batch.sequenceButton)
    until(lambda: "volume 2 of 3 · slice" in driver.ui.progressBar.format)
    driver.click(driver.ui.denoiseButton)
    driver.wait_idle()
    assert driver.status == "Cancelled. Volumes denoised before: 1."
    assert output(slicer).GetNumberOfDataNodes() == 1
    hidden = [n for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if n.GetName().startswith("4-D CT 30")]
    assert hidden == []


def test_a_sequence_of_anything_else_is_refused(driver, slicer):
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "motion")
    driver.batch.sequenceSelector.setCurrentNode(other)
    driver.click(driver.batch.sequenceButton)
    driver.wait_idle()
    assert driver.status == '⚠ The sequence "motion" is empty.'
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "t")
    other.SetDataNodeAtValue(transform, "0")
    driver.click(driver.batch.sequenceButton)
    driver.wait_idle()
    assert driver.status == '⚠ The sequence "motion" holds no volumes.'
