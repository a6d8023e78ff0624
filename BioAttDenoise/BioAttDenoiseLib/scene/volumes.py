"""Volume nodes: which can be denoised, their arrays and geometry, and creating the output node."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from bioatt.core.provenance import DENOISED, DERIVED_MARK, SERIES_NUMBER_OFFSET, series_description

ATTRIBUTE = "BioAttDenoise."
MADE_HERE = tuple(f"{ATTRIBUTE}{name}" for name in ("Model", "AttentionMap", "Map"))
"""Attributes of the volumes created by the module: outputs, kept attention maps, noise and error maps."""
INPUT_ROLE = "BioAttDenoiseInput"
REFERENCE_ROLE = "BioAttDenoiseReference"
"""Node reference from a scan to its selected reference volume, because equal geometry alone does not prove the same
patient.
"""
WHOLE = "whole"
"""Value of the attribute Region if every voxel was denoised."""
HOUNSFIELD = "[hnsf'U]"  # UCUM code that Slicer's DICOM reader gives CT voxels


def problem(node: Any) -> str:
    """Why a node cannot be denoised, as a message for the user; empty if it can. Does not read voxels."""
    if node is None:
        return _("Choose the CT volume to denoise.")
    image = node.GetImageData()
    if image is None or 0 in image.GetDimensions():
        return _("This volume has no voxels. Choose another one.")
    if image.GetNumberOfScalarComponents() != 1:
        return _("This is a color image. Choose a CT volume.")
    found = modality(node)
    if found not in ("", "CT"):
        return _(
            "This volume is not CT (modality {modality}); the network was trained only on CT. Choose a CT volume."
        ).format(modality=found)
    return ""


def file_name(node: Any) -> str:
    """A node's name as a valid file or folder name."""
    return re.sub(r'[<>:"/\\|?*\x00-\x1f]+', "_", node.GetName()).strip(" .") or "volume"


def takes_output(node: Any, source: Any) -> bool:
    """Whether a node may receive an output of `source`: an earlier output of it, or a volume without voxels. A node
    whose own input is gone may not: it may belong to another patient.
    """
    image = node.GetImageData()
    return image is None or 0 in image.GetDimensions() or node.GetNodeReference(INPUT_ROLE) is source


def output_made(source: Any, settings: str) -> Any:
    """The scene's output of a whole volume with these settings (`EngineOptions.settings`), made from the volume's
    current voxels; None if there is none.
    """
    made = [
        node
        for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        if node.GetNodeReference(INPUT_ROLE) is source
        and node.GetAttribute(f"{ATTRIBUTE}Region") == WHOLE
        and node.GetAttribute(f"{ATTRIBUTE}Settings") == settings
    ]
    checksum = voxels_checksum(source) if made else ""
    return next((node for node in made if node.GetAttribute(f"{ATTRIBUTE}InputVoxels") == checksum), None)


def voxels_checksum(node: Any) -> str:
    """CRC-32 of a volume's voxels, which shows even in a saved scene whether an output's input was edited since."""
    return f"{zlib.crc32(np.ascontiguousarray(slicer.util.arrayFromVolume(node))):08x}"


def series_tag(node: Any, keyword: str) -> str:
    """A volume's DICOM series attribute from the subject hierarchy, such as SeriesNumber; empty if missing."""
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = tree.GetItemByDataNode(node) if tree is not None else 0
    prefix = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMAttributePrefix()
    return tree.GetItemAttribute(item, prefix + keyword) if item else ""


def series_uid(node: Any) -> str:
    """SeriesInstanceUID of the series that a volume was loaded from, empty if it is not from DICOM."""
    return _item_uid(node, slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMUIDName())


def instance_uids(node: Any) -> list[str]:
    """SOPInstanceUIDs that a volume was loaded from; Slicer's DICOM readers write them to the node, its subject
    hierarchy item, or both.
    """
    name = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMInstanceUIDName()
    return (node.GetAttribute("DICOM.instanceUIDs") or _item_uid(node, name)).split()


def _item_uid(node: Any, name: str) -> str:
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = tree.GetItemByDataNode(node) if tree is not None else 0
    return tree.GetItemUID(item, name) if item else ""


def modality(node: Any) -> str:
    """DICOM modality of a volume ("CT", "MR", …), empty if unknown."""
    found = series_tag(node, "Modality")
    units = node.GetVoxelValueUnits()
    if not found and units is not None and units.GetCodeValue():
        return "CT" if units.GetCodeValue() == HOUNSFIELD else ""
    return found


def ct_volumes() -> list[Any]:
    """The scene's volumes that look like CT scans and were not created by the module."""
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    scans = [n for n in nodes if n.GetClassName() == "vtkMRMLScalarVolumeNode" and not n.GetHideFromEditors()]
    return [n for n in scans if not (problem(n) or denoised(n) or any(n.GetAttribute(name) for name in MADE_HERE))]


def denoised(node: Any) -> bool:
    """Whether a volume is an output: of the module, or of the engine as NRRD (Slicer keeps its note as an attribute) or
    as a derived series.
    """
    noted = DENOISED in (node.GetAttribute("Note") or "") or DERIVED_MARK in series_tag(node, "SeriesDescription")
    return noted or bool(node.GetAttribute(f"{ATTRIBUTE}Model"))


def voxels_of(*nodes: Any) -> tuple[tuple[Any, int | None], ...]:
    """Nodes with the time stamps of their voxels: equal as long as neither is modified."""
    images = [node and node.GetImageData() for node in nodes]
    return tuple((node, image and image.GetMTime()) for node, image in zip(nodes, images, strict=True))


def ijk_to_ras(node: Any) -> np.ndarray:
    """(4, 4) matrix from voxel indices to RAS mm of the node itself (parent transforms left out)."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def middle(node: Any) -> np.ndarray:
    """(3,) centre of the voxel grid in RAS mm of the node itself."""
    last = np.array(node.GetImageData().GetDimensions()) - 1
    return (ijk_to_ras(node) @ [*(last / 2), 1.0])[:3]


def straight(node: Any) -> bool:
    """Whether its slices are planes on screen: no non-linear transform, as Slicer applies to tilted-gantry scans."""
    parent = node.GetParentTransformNode()
    return parent is None or bool(parent.IsTransformToWorldLinear())


def to_world(node: Any, places: Any) -> np.ndarray:
    """(n, 3) points in RAS mm of a volume node itself → world RAS mm, through its parent transforms."""
    parent = node.GetParentTransformNode()
    return places if parent is None else _moved(places, parent.GetTransformToWorld)


def from_world(node: Any, places: Any) -> np.ndarray:
    """(n, 3) points in world RAS mm → RAS mm of a volume node itself."""
    parent = node.GetParentTransformNode()
    return places if parent is None else _moved(places, parent.GetTransformFromWorld)


def _moved(places: Any, fill: Callable[[Any], None]) -> np.ndarray:
    transform = vtk.vtkGeneralTransform()
    fill(transform)
    return np.array([transform.TransformPoint(place) for place in places])


def box_corners(roi: Any, node: Any) -> np.ndarray:
    """(8, 3) corners of a markups ROI in the RAS frame of a volume node, through the transforms of both."""
    half = np.array(roi.GetSize()) / 2
    signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, 8).T
    to_world = slicer.util.arrayFromVTKMatrix(roi.GetObjectToWorldMatrix())
    return from_world(node, (signs * half) @ to_world[:3, :3].T + to_world[:3, 3])


def place_in_the_middle(roi: Any, node: Any) -> None:
    """Centre a markups ROI in a volume, at half its size in every direction."""
    bounds = [0.0] * 6
    node.GetRASBounds(bounds)
    low, high = np.array(bounds[::2]), np.array(bounds[1::2])
    roi.CreateDefaultDisplayNodes()
    roi.SetCenter(*((low + high) / 2))
    roi.SetSize(*((high - low) / 2))


def acquisition(node: Any) -> dict[str, Any]:
    """Acquisition parameters of a scan loaded from DICOM that the engine uses: kernel, slice thickness, tube voltage,
    modality.
    """
    found: dict[str, Any] = {"modality": modality(node) or None}
    uids = instance_uids(node)
    database = getattr(slicer, "dicomDatabase", None)
    if not uids or database is None:
        return found
    for key, tag, kind in (
        ("kernel", "0018,1210", str),
        ("slice_thickness_mm", "0018,0050", float),
        ("kvp", "0018,0060", float),
    ):
        text = database.instanceValue(uids[0], tag).split("\\")[0].strip()
        try:
            found[key] = kind(text) if text else None
        except ValueError:
            found[key] = None  # ignore invalid header values
    return found


def dicom_files(node: Any) -> list[str]:
    """The files that a scan was loaded from, if Slicer's DICOM database knows them."""
    database = getattr(slicer, "dicomDatabase", None)
    return [] if database is None else [file for uid in instance_uids(node) if (file := database.fileForInstance(uid))]


def make_output(source: Any, target: Any, name: str) -> Any:
    """The output node: `target`, or a new one, with the geometry and display properties of `source`, next to it in the
    subject hierarchy. Voxels are not set.
    """
    created = target is None
    if created:
        name = slicer.mrmlScene.GenerateUniqueName(name) if slicer.mrmlScene.GetFirstNodeByName(name) else name
        target = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    matrix = vtk.vtkMatrix4x4()
    source.GetIJKToRASMatrix(matrix)
    target.SetIJKToRASMatrix(matrix)
    target.SetAndObserveTransformNodeID(source.GetTransformNodeID())
    target.SetVoxelValueQuantity(source.GetVoxelValueQuantity())
    target.SetVoxelValueUnits(source.GetVoxelValueUnits())
    if target.GetDisplayNode() is None:
        target.CreateDefaultDisplayNodes()
    if source.GetDisplayNode() is not None:
        copy_look(source.GetDisplayNode(), target.GetDisplayNode())
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    items = [tree.GetItemByDataNode(node) for node in (source, target)] if created and tree is not None else [0]
    if all(items):
        tree.SetItemParent(items[1], tree.GetItemParent(items[0]))
    return target


def copy_look(source: Any, target: Any) -> None:
    """Copy window, level, colors, threshold and interpolation from one display node to another."""
    target.SetAutoWindowLevel(False)
    target.SetWindowLevel(source.GetWindow(), source.GetLevel())
    target.SetAndObserveColorNodeID(source.GetColorNodeID())
    target.SetInterpolate(source.GetInterpolate())
    target.SetApplyThreshold(source.GetApplyThreshold())
    target.SetThreshold(source.GetLowerThreshold(), source.GetUpperThreshold())


def describe_output(node: Any, source: Any, attributes: dict[str, str | None]) -> None:
    """Record the provenance on the output: attributes with the module's prefix, and a node reference to its input."""
    for key, value in attributes.items():
        node.SetAttribute(f"{ATTRIBUTE}{key}", value)
    node.SetNodeReferenceID(INPUT_ROLE, source.GetID())


def describe_series(node: Any, source: Any, model: str, strength: float, whole: bool, asked: str) -> None:
    """Set name and number of the series that Slicer's DICOM export writes for an output, like `bioatt.io.dicom.write`;
    otherwise it would look like an original scan. strength: 0 … 1; asked: the level it comes from, or empty. whole:
    whether all of it was denoised.

    The export uses these attributes of the subject hierarchy item as tags; an item without a study just keeps them.
    """
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = tree.GetItemByDataNode(node) if tree is not None else 0
    if not item:
        return
    name = series_tag(source, "SeriesDescription") or source.GetName()
    try:
        number = int(series_tag(source, "SeriesNumber"))
    except ValueError:  # not from a series
        number = 0
    prefix = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMAttributePrefix()
    for keyword, value in (
        ("SeriesDescription", series_description(name, model, strength, "" if whole else "partly", asked)),
        ("Modality", "CT"),
        ("SeriesNumber", str(SERIES_NUMBER_OFFSET + number)),
    ):
        tree.SetItemAttribute(item, prefix + keyword, value)


def show_instead(old: Any, new: Any) -> None:
    """Replace `old` by `new` as background of the slice views; every view keeps its slice and zoom."""
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        if composite.GetBackgroundVolumeID() == old.GetID():
            composite.SetBackgroundVolumeID(new.GetID())
