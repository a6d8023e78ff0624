"""Segmentation nodes: created from the engine's label volume, and exported to one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util.numpy_support import numpy_to_vtk

from bioatt.anatomy.descriptors import ANATOMY_SET, DescriptorSet, load_descriptor_set

from . import slice_views, volumes

TERMINOLOGY_TAG = "TerminologyEntry"
"""The segment tag in which Slicer stores the terminology entry."""
FAINT = 0.35
"""Opacity of the outlines other than the selected one."""


@dataclass(frozen=True)
class Labels:
    """A label volume (k, j, i), its matrix from IJK to RAS, and the name of each value."""

    array: np.ndarray
    ijk_to_ras: np.ndarray
    names: dict[int, str]


def make(source: Any, labels: np.ndarray, segments: list[dict[str, Any]]) -> Any:
    """A hidden, unsaved segmentation node of a volume: labels (k, j, i) uint8 on its grid, segments as the engine's
    {value, name, color, terminology}. It is outlined in the slice views; `keep` makes it a regular node.
    """
    node = slice_views.hidden_node(_("{name} organs").format(name=source.GetName()), "vtkMRMLSegmentationNode")
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetSaveWithScene(False)
    display.SetVisibility3D(False)
    display.SetVisibility2DFill(False)
    node.SetReferenceImageGeometryParameterFromVolumeNode(source)
    node.SetAndObserveTransformNodeID(source.GetTransformNodeID())
    image = _oriented_image(source, labels)
    binary = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    for each in segments:
        segment = slicer.vtkSegment()
        segment.SetName(each["name"])
        segment.SetColor(*each["color"])
        segment.SetTag(TERMINOLOGY_TAG, each["terminology"])
        segment.AddRepresentation(binary, image)  # all share one label volume
        segment.SetLabelValue(each["value"])
        node.GetSegmentation().AddSegment(segment, each["name"])
    return node


def keep(node: Any) -> None:
    """Make a segmentation a regular node: listed, and saved with the scene."""
    node.SetSaveWithScene(True)
    node.GetDisplayNode().SetSaveWithScene(True)
    node.SetHideFromEditors(False)


def show_outlines(node: Any, visible: bool, chosen: str = "") -> None:
    """Outline the segments in the slice views; if one is selected, the others are faint."""
    display = node.GetDisplayNode()
    display.SetVisibility2DOutline(visible)
    for name in node.GetSegmentation().GetSegmentIDs():
        display.SetSegmentOpacity2DOutline(name, 1.0 if chosen in ("", name) else FAINT)


def show_surfaces(node: Any, visible: bool) -> None:
    """Show the segments in the 3-D views; the surfaces are created when first shown."""
    if visible:
        node.CreateClosedSurfaceRepresentation()
    node.GetDisplayNode().SetVisibility3D(visible)


def labels_of(segmentation: Any, scan: Any) -> Labels:
    """The segments of a segmentation node as a label volume on a scan's grid, with the engine's organ names. Raises
    ValueError if no segment is named after an organ.
    """
    names = load_descriptor_set(ANATOMY_SET)
    segments = segmentation.GetSegmentation()
    found = [
        (identity, known_name(names, segments.GetSegment(identity), identity)) for identity in segments.GetSegmentIDs()
    ]
    found = [(identity, name) for identity, name in found if name]
    if not found:
        text = _('No segment of "{name}" is named after an organ, such as "liver" or "right kidney".')
        raise ValueError(text.format(name=segmentation.GetName()))
    identities = vtk.vtkStringArray()
    for identity, _name in found:
        identities.InsertNextValue(identity)
    target = slice_views.hidden_node("labels", "vtkMRMLLabelMapVolumeNode")
    try:
        logic = slicer.vtkSlicerSegmentationsModuleLogic
        if not logic.ExportSegmentsToLabelmapNode(segmentation, identities, target, scan):
            raise ValueError(
                _('"{name}" cannot be exported as labels. Choose another segmentation.').format(
                    name=segmentation.GetName()
                )
            )
        array = slicer.util.arrayFromVolume(target).astype(np.uint8 if len(found) < 256 else np.uint16)
        return Labels(array, volumes.ijk_to_ras(target), {n + 1: name for n, (_id, name) in enumerate(found)})
    finally:
        slice_views.remove(target)


def known_name(names: DescriptorSet, segment: Any, identity: str) -> str:
    """The descriptor that matches a segment, empty if none does: by its name, its segment ID, or its name with the side
    at the end ("right kidney": "kidney_right").
    """
    name = segment.GetName()
    side, _space, rest = name.partition(" ")
    turned = f"{rest}_{side}" if side.lower() in ("left", "right") else ""
    return next((each for each in (name, identity, turned) if each and names.columns_of(each)), "")


def _oriented_image(source: Any, labels: np.ndarray) -> Any:
    image, matrix = slicer.vtkOrientedImageData(), vtk.vtkMatrix4x4()
    source.GetIJKToRASMatrix(matrix)
    image.SetDimensions(*labels.shape[::-1])
    image.SetGeometryFromImageToWorldMatrix(matrix)
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(labels).ravel(), deep=True))
    return image
