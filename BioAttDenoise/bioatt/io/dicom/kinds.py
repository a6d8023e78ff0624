"""Classification of DICOM images by header: CT slices in HU, or images that must not be taken for them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.uid import UID

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"

_NOT_HU = (
    (r"LOCALIZER|SCOUT|TOPOGRAM", "localizer"),
    (r"SCREEN ?SAVE", "screen capture"),
    (r"MAT_(SPECIFIC|FRACTIONAL|VALUE_BASED)", "material map"),
    (r"(?!.*(NO_IODINE|REMOVED|MINUS)).*IODINE|(^|_)IOD(_|$)", "iodine map"),
    (r"EFF_ATOMIC_NUM|Z_?EFF|EFFECTIVE_?Z", "map of effective atomic numbers"),
    (r"ELECTRON_DENSITY|(^|_)RHO(_|$)", "map of electron density"),
    (r"URIC_ACID|CALCIUM_ONLY", "material map"),
    (r"PERFUSION|CBF|CBV|MTT|TTP|TMAX|PERMEABILITY", "perfusion map"),
)
"""Image Type values (PS3.3 C.8.2.1.1.1, C.8.15.3.1.1 and vendor-specific) of images that do not hold HU of tissue."""
_COMPUTED = ((r"MAT_REMOVED|MAT_MODIFIED|(^|_)VNC(_|$)|VIRTUAL_NON_CONTRAST", "a material was removed"),)
"""Image Type values of HU images that were computed from others."""
_HU_TYPES = ("", "HU", "US", "HU_MOD")
_METHODS = {
    "ISO_10918_1": "JPEG",
    "ISO_14495_1": "JPEG-LS",
    "ISO_15444_1": "JPEG 2000",
    "ISO_15444_15": "HTJ2K",
    "ISO_13818_2": "MPEG-2",
}
_PER_YEAR = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}
ADULT_YEARS = 18
_LOSSY_SYNTAXES = {"1.2.840.10008.1.2.4.50": "JPEG", "1.2.840.10008.1.2.4.51": "JPEG (12 bits)"}


@dataclass(frozen=True)
class Kind:
    """Kind of an image. name: short description; usable: whether it holds CT slices or frames in HU."""

    name: str
    usable: bool = False


CT = Kind("CT", usable=True)
UNNAMED_CT = Kind("CT without a SOP class", usable=True)
MULTI_FRAME = Kind("enhanced CT", usable=True)


def sop_class(header: Dataset) -> str:
    """SOP Class UID of the data set, else of its file meta information, else ""."""
    meta = getattr(header, "file_meta", None) or Dataset()
    return str(header.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID") or "")


def kind_of(header: Dataset) -> Kind:
    """Classify a header by Modality, SOP class, Image Type, frames and Rescale Type, in this order."""
    if header.get("Modality") != "CT":
        return Kind(f"modality {str(header.get('Modality') or 'unknown')[:16]}")
    said = sop_class(header)
    if said.startswith(_SECONDARY_CAPTURE):
        return Kind("screen capture")
    if said not in ("", CT_IMAGE, *ENHANCED):
        return Kind(UID(said).name if not UID(said).is_private else "private SOP class")
    values = [str(value).strip().upper().replace(" ", "_") for value in header.get("ImageType") or ()][2:]
    for pattern, name in _NOT_HU:
        found = next((value for value in values if re.search(pattern, value)), None)
        if found is not None:
            return Kind(name if name == "localizer" else f"{name} (Image Type {found[:24]})")
    scale = str(header.get("RescaleType") or "").strip().upper()
    if scale not in _HU_TYPES:
        return Kind(f"values of type {scale[:16]} (Rescale Type), not HU")
    if int(header.get("SamplesPerPixel") or 1) != 1:
        return Kind("colour image")
    if said in ENHANCED:
        return MULTI_FRAME
    if int(header.get("NumberOfFrames") or 1) > 1:
        return Kind("multi-frame CT without frame positions (convert it to enhanced CT or NRRD)")
    return CT if header.get("SOPClassUID") else UNNAMED_CT


def header_warnings(header: Dataset) -> list[str]:
    """Warnings from a slice's header: a child, lossy compression, a computed image."""
    lines = []
    if _years(header) < ADULT_YEARS:
        lines.append(f"the patient is under {ADULT_YEARS}: the models were trained on adults, compare with care")
    values = "\\".join(str(value).upper() for value in header.get("ImageType") or ())
    for pattern, what in _COMPUTED:
        if any(re.search(pattern, value) for value in values.split("\\")):
            lines.append(f"a computed image ({what}): its noise differs from that in training, compare with care")
    syntax = str((getattr(header, "file_meta", None) or {}).get("TransferSyntaxUID") or "")
    if str(header.get("LossyImageCompression") or "") == "01" or syntax in _LOSSY_SYNTAXES:
        method = _last(header.get("LossyImageCompressionMethod"))
        name = _METHODS.get(method, method) or _LOSSY_SYNTAXES.get(syntax, "an unnamed method")
        ratio = _last(header.get("LossyImageCompressionRatio"))
        how = f"{name}, ratio {float(ratio):g}" if ratio else name
        lines.append(f"lossy compression ({how}) has already changed noise and detail: {_CARE}")
    return lines


def _years(header: Dataset) -> float:
    """Age from Patient's Age (PS3.5, VR AS), else from birth and study date; infinity if unknown."""
    age = re.fullmatch(r"(\d{3})([DWMY])", str(header.get("PatientAge") or "").strip())
    if age:
        return int(age[1]) / _PER_YEAR[age[2]]
    dates = [str(header.get(keyword) or "").strip() for keyword in ("PatientBirthDate", "StudyDate")]
    if not all(re.fullmatch(r"\d{8}", date) for date in dates):
        return math.inf
    born, scanned = map(int, dates)
    return (scanned - born) // 10_000 if born <= scanned else math.inf


_CARE = "use the uncompressed series if there is one"


def _last(value: object) -> str:
    """The last of several values."""
    values = [value] if isinstance(value, (str, float, int)) else list(value or ())  # type: ignore[call-overload]
    return str(values[-1]) if values else ""
