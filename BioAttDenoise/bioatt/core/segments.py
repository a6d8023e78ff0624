"""A segment of a label volume, with its metadata for files and Slicer."""

from __future__ import annotations

from dataclasses import dataclass

ANATOMICAL_STRUCTURE = ("91723000", "SCT", "Anatomical Structure")
"""Segmented property category (PS3.16 CID 7150)."""
BILATERAL = ("51440002", "SCT", "Bilateral")
"""Laterality (PS3.16 CID 244)."""
_SLICERS_CONTEXT = "Segmentation category and type - DICOM master list"
_SLICERS_CATEGORY = ("123037004", "SCT", "Anatomical Structure")
"""Slicer's terminologies list the category under this SNOMED CT code."""
_SLICERS_BILATERAL = ("51440002", "SCT", "Right and left")


@dataclass(frozen=True)
class Segment:
    """A segment. value: in the label volume. color: red, green, blue, 0 to 255. code, meaning: segmented property type,
    SNOMED CT (scheme SCT). bilateral: whether it covers the organs of both sides.
    """

    value: int
    name: str
    color: tuple[int, int, int]
    code: str
    meaning: str
    bilateral: bool = False

    @property
    def terminology(self) -> str:
        """Slicer's value of the segment tag `TerminologyEntry`: context ~ category ~ type ~ modifier, then the anatomic
        region and its modifier, which stay empty."""
        codes = [
            _SLICERS_CATEGORY,
            (self.code, "SCT", self.meaning),
            _SLICERS_BILATERAL if self.bilateral else ("", "", ""),
        ]
        described = "~".join(f"{scheme}^{value}^{meaning}" for value, scheme, meaning in codes)
        return f"{_SLICERS_CONTEXT}~{described}~Anatomic codes - DICOM master list~^^~^^"
