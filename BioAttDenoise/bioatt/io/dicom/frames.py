"""Unfolding of enhanced multi-frame CT (PS3.3 A.38) into classic CT images, one per frame.

Mapping: attributes outside the functional groups are kept; those of Shared and Per-Frame Functional Groups move to the
top level of each image (plane position and orientation, pixel measures, pixel value transformation, frame type, CT
acquisition, reconstruction, exposure); the SOP class becomes CT Image Storage.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import UID, generate_uid

from bioatt.core.errors import InputError
from bioatt.io.dicom.kinds import CT_IMAGE
from bioatt.io.dicom.streams import check_lengths, is_compressed

_MOST_FRAMES = 10_000
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_OF_THE_WHOLE = (*_GROUPS, "NumberOfFrames", "DimensionIndexSequence", "DimensionOrganizationSequence", "PixelData")
_RENAMED = {
    "FrameType": "ImageType",
    "FrameAcquisitionNumber": "AcquisitionNumber",
    "FrameAcquisitionDateTime": "AcquisitionDateTime",
    "TemporalPositionIndex": "TemporalPositionIdentifier",
    "XRayTubeCurrentInmA": "XRayTubeCurrent",
    "ExposureInmAs": "Exposure",
}
"""Elements of the functional groups whose keyword differs in classic CT."""


class Frame(Dataset):
    """A classic header derived from a frame. reference: the Source Image Sequence item that refers to the frame."""

    reference: Dataset


def unfold(path: Path, folder: Path) -> list[Frame]:
    """Write the frames of an enhanced CT as classic files 0.dcm, 1.dcm, ... in a folder, without transcoding.

    Returns their headers. Raises InputError if frames lack a header or pixels.
    """
    enhanced = pydicom.dcmread(path, force=True)
    check_lengths(enhanced)
    packed, count = is_compressed(enhanced), frame_count(enhanced)
    size = int(enhanced.Rows) * int(enhanced.Columns) * int(enhanced.BitsAllocated) // 8
    if not packed and len(enhanced.get("PixelData") or b"") < size * count:
        raise InputError(f"{path.name} is damaged or truncated: copy it again from its source")
    headers = [classic_header(enhanced, number) for number in range(count)]
    for number, header in enumerate(headers):
        image = Dataset()
        image.update(header)
        image.file_meta = header.file_meta
        if packed:
            image.PixelData = encapsulate([get_frame(enhanced.PixelData, number, number_of_frames=count)])
            image["PixelData"].is_undefined_length = True
        else:
            image.PixelData = enhanced.PixelData[number * size : (number + 1) * size]
        image["PixelData"].VR = "OB" if packed else "OW"
        image.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    return headers


def frame_count(enhanced: Dataset) -> int:
    """Number of frames. Raises InputError unless every frame has a header."""
    count, headers = int(enhanced.get("NumberOfFrames") or 1), len(enhanced.get(_GROUPS[1]) or ())
    if not 0 < headers == count <= _MOST_FRAMES:
        raise InputError(f"multi-frame CT has {count} frames but headers for {headers}: export it as classic CT")
    return count


def source_header(path: Path, frame: int | None = None) -> Dataset:
    """Header of a slice's file without pixels; for an enhanced CT, the classic header of the frame.

    Raises OSError if the file no longer exists.
    """
    if frame is None:
        return pydicom.dcmread(path, stop_before_pixels=True, force=True)
    found = path.stat()
    enhanced = _enhanced(str(path), found.st_mtime_ns, found.st_size)
    if frame >= frame_count(enhanced):
        raise InputError(f"{path.name} has changed since it was read: run again")
    return classic_header(enhanced, frame)


@lru_cache(maxsize=1)
def _enhanced(path: str, changed: int, size: int) -> Dataset:
    return pydicom.dcmread(path, stop_before_pixels=True, force=True)


def classic_header(enhanced: Dataset, number: int) -> Frame:
    """Classic CT header without pixels for the frame `number`, counted from 0."""
    classic = Frame()
    for element in enhanced:
        if element.keyword not in _OF_THE_WHOLE:
            classic.add(copy.deepcopy(element))
    shared = (enhanced.get(_GROUPS[0]) or [Dataset()])[0]
    for keyword, value in (*_attributes(shared), *_attributes(enhanced[_GROUPS[1]].value[number])):
        setattr(classic, _RENAMED.get(keyword, keyword), value)
    uid = str(enhanced.get("SOPInstanceUID") or "")
    classic.SOPClassUID = CT_IMAGE
    classic.SOPInstanceUID = generate_uid(entropy_srcs=[uid, str(number)])
    classic.InstanceNumber = number + 1
    classic.file_meta = copy.deepcopy(enhanced.file_meta)
    classic.file_meta.MediaStorageSOPClassUID = UID(CT_IMAGE)
    classic.file_meta.MediaStorageSOPInstanceUID = classic.SOPInstanceUID
    implicit, little = enhanced.original_encoding
    classic.set_original_encoding(implicit, little, enhanced.original_character_set)
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = enhanced.get("SOPClassUID"), uid
    reference.ReferencedFrameNumber = number + 1
    classic.reference = reference
    return classic


def _attributes(groups: Dataset) -> Iterator[tuple[str, object]]:
    """Keyword and value of each element in the functional groups, without private groups and sequences."""
    for group in groups:
        if group.tag.is_private or group.VR != "SQ" or not group.value:
            continue
        for element in group.value[0]:
            if element.keyword and element.VR != "SQ":
                yield element.keyword, element.value
