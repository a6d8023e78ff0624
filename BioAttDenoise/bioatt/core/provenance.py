"""How an output says what it is, in the engine's files and in Slicer's scene alike."""

from __future__ import annotations

DENOISED = "Denoised by BioAttDenoise"
"""How the note begins that every output carries."""
DENOISED_BEFORE = "this volume was denoised by BioAttDenoise before: what is done now comes on top of that"
DERIVED_MARK = "[BioAtt "
"""How what a derived series adds to the Series Description begins."""
SERIES_NUMBER_OFFSET = 1000
"""What the number of a derived series is greater by."""
LO_LENGTH = 64
"""Characters of DICOM's value representation LO (PS3.5 6.2)."""


def series_description(original: str, model: str, strength: float, part: str = "") -> str:
    """Series Description of a derived series: the original's, cut as LO asks for, and what was done. strength: 0 … 1;
    part: a word more where not all of it was denoised.
    """
    suffix = f" {DERIVED_MARK}{model[:24]} {strength:.0%}{part and ' ' + part}, research]"
    return original[: LO_LENGTH - len(suffix)] + suffix
