"""Writing label volumes as a DICOM Segmentation (PS3.3 A.51), linked to the CT series they were derived from.

Needs highdicom (Bridge 2022, 10.1007/s10278-022-00683-y), the extra `seg`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

import bioatt
from bioatt.core.errors import InputError
from bioatt.core.provenance import LO_LENGTH, SERIES_NUMBER_OFFSET
from bioatt.core.segments import ANATOMICAL_STRUCTURE, BILATERAL, Segment
from bioatt.core.volume import Volume
from bioatt.io.dicom.frames import Frame, source_header
from bioatt.io.dicom.slices import lenient
from bioatt.io.files import atomic_write, check_folder, check_name

SUFFIX = ".dcm"
_NOT_INSTALLED = "DICOM SEG needs highdicom: pip install 'bioatt[seg]', or name the output .seg.nrrd"
_NETWORK = ("123110", "DCM", "Artificial Intelligence")
_BY_HAND = ("123109", "DCM", "Manual Processing")
"""Segmentation algorithm families (PS3.16 CID 7162)."""
_MAY_BE_EMPTY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
"""Type 2 elements that a segmentation repeats but real headers often lack."""
_DESCRIPTION = " [BioAtt organs, research]"


def check_segmentation_output(scan: Volume, path: Path) -> None:
    """Raise InputError, before the work, if `write_dicom_segmentation` would refuse."""
    _highdicom()
    check_name(path)
    check_folder(path.absolute().parent)
    _headers(scan)


def write_dicom_segmentation(
    labels: NDArray[np.uint8],
    segments: Sequence[Segment],
    scan: Volume,
    path: Path,
    *,
    algorithm: str,
    version: str,
    automatic: bool,
    overwrite: bool = False,
) -> None:
    """Write labels (z, y, x) of the scan's slices atomically as one binary segmentation.

    Segments are numbered from 1 in the order of their values, as the standard requires; empty frames are omitted.
    algorithm, version: the source of the labels. automatic: whether it needed no human input.
    Raises InputError without highdicom, if the scan is not a DICOM series of single-frame images, if a header lacks an
    element that a segmentation must repeat, and if there is no segment.
    """
    hd = _highdicom()
    from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription

    if not segments:
        raise InputError("no organ was found: there is nothing to write")
    sources = _headers(scan)
    number_of = np.zeros(256, np.uint8)
    number_of[[segment.value for segment in segments]] = np.arange(1, len(segments) + 1)
    kind = SegmentAlgorithmTypeValues.AUTOMATIC if automatic else SegmentAlgorithmTypeValues.SEMIAUTOMATIC
    family = hd.sr.CodedConcept(*(_NETWORK if automatic else _BY_HAND))
    identification = hd.AlgorithmIdentificationSequence(name=algorithm[:LO_LENGTH], family=family, version=version)
    descriptions = [
        SegmentDescription(
            segment_number=number,
            segment_label=segment.name,
            segmented_property_category=hd.sr.CodedConcept(*ANATOMICAL_STRUCTURE),
            segmented_property_type=hd.sr.CodedConcept(segment.code, "SCT", segment.meaning),
            algorithm_type=kind,
            algorithm_identification=identification,
            display_color=hd.color.CIELabColor.from_rgb(*segment.color),
        )
        for number, segment in enumerate(segments, start=1)
    ]
    for description, segment in zip(descriptions, segments, strict=True):
        if segment.bilateral:
            side = hd.sr.CodedConcept(*BILATERAL)
            description.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [side]
    first = sources[0]
    title = str(first.get("SeriesDescription") or "CT")[: LO_LENGTH - len(_DESCRIPTION)] + _DESCRIPTION
    try:
        with lenient():
            written = Segmentation(
                source_images=sources,
                pixel_array=number_of[labels],
                segmentation_type=SegmentationTypeValues.BINARY,
                segment_descriptions=descriptions,
                series_instance_uid=generate_uid(prefix=None),
                series_number=2 * SERIES_NUMBER_OFFSET + int(first.get("SeriesNumber") or 0),
                sop_instance_uid=generate_uid(prefix=None),
                instance_number=1,
                manufacturer="BioAttDenoise",
                manufacturer_model_name=algorithm[:LO_LENGTH],
                software_versions=bioatt.__version__,
                device_serial_number=version[:LO_LENGTH],
                content_label="ORGANS",
                content_description="Organs by BioAttDenoise, research use only",
                series_description=title,
                omit_empty_frames=True,
            )
            with atomic_write(path, overwrite=overwrite) as partial:
                written.save_as(partial)
    except InputError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"the series' headers lack elements that a DICOM segmentation needs ({type(error).__name__}): "
            "name the output .seg.nrrd"
        ) from None


def _highdicom() -> Any:
    try:
        import highdicom
    except ImportError:
        raise InputError(_NOT_INSTALLED) from None
    return highdicom


def _headers(scan: Volume) -> list[Dataset]:
    """Headers of the scan's slices, in slice order."""
    if len(scan.sources) != scan.shape[0] or not all(path.is_file() for path in scan.sources):
        raise InputError("a DICOM segmentation needs a DICOM series as input: name the output .seg.nrrd")
    found = []
    for path in scan.sources:
        try:
            found.append(source_header(path, getattr(path, "frame", None)))
        except OSError:
            raise InputError(f"{path.name} is gone or unreadable: the segmentation needs its header") from None
    for header in found:
        for keyword in _MAY_BE_EMPTY:
            if keyword not in header:
                setattr(header, keyword, None)
    if any(isinstance(header, Frame) for header in found):
        raise InputError("a DICOM segmentation of multi-frame images is not supported: name the output .seg.nrrd")
    return found
