"""Sequences of volumes, such as a 4-D CT: access to their items as volume nodes, and a sequence for the results."""

from __future__ import annotations

from typing import Any

import slicer
from slicer.i18n import tr as _

from . import slice_views, volumes


def problem(sequence: Any) -> str:
    """Why a sequence cannot be denoised; empty if it can."""
    if sequence.GetNumberOfDataNodes() == 0:
        return _('The sequence "{name}" is empty.').format(name=sequence.GetName())
    if sequence.GetDataNodeClassName() != "vtkMRMLScalarVolumeNode":
        return _('The sequence "{name}" holds no volumes.').format(name=sequence.GetName())
    return ""


def item_name(sequence: Any, number: int) -> str:
    """Name of item `number`: the sequence's name, and the item's index with its unit."""
    return f"{sequence.GetName()} {sequence.GetNthIndexValue(number)} {sequence.GetIndexUnit() or ''}".strip()


def item(sequence: Any, number: int) -> Any:
    """A hidden copy of item `number` in the scene; it is not saved."""
    stored = sequence.GetNthDataNode(number)
    node = slice_views.hidden_volume(item_name(sequence, number), stored)
    node.SetAndObserveTransformNodeID(None)
    slicer.util.updateVolumeFromArray(node, slicer.util.arrayFromVolume(stored).copy())
    return node


def make_like(sequence: Any) -> Any:
    """An empty sequence for the results."""
    name = slicer.mrmlScene.GenerateUniqueName(_("{name} denoised").format(name=sequence.GetName()))
    made = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
    made.SetIndexName(sequence.GetIndexName())
    made.SetIndexUnit(sequence.GetIndexUnit())
    made.SetIndexType(sequence.GetIndexType())
    return made


def play_with(made: Any, sequence: Any) -> None:
    """Add another sequence to every sequence browser that plays `sequence`."""
    for browser in slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode"):
        if browser.IsSynchronizedSequenceNode(sequence, True):
            browser.AddSynchronizedSequenceNode(made)


def take(made: Any, output: Any, index: str) -> None:
    """Move an output from the scene into a sequence."""
    output.RemoveNodeReferenceIDs(volumes.INPUT_ROLE)
    made.SetDataNodeAtValue(output, index)
    slice_views.remove(output)
