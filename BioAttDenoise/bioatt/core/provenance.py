"""Provenance marks of outputs, in files and in Slicer's scene alike."""

from __future__ import annotations

DENOISED = "Denoised by BioAttDenoise"
"""Start of the note in every output."""
DENOISED_BEFORE = "this volume was denoised by BioAttDenoise before: denoising it again adds to that"
DERIVED_MARK = "[BioAtt "
"""Start of what is appended to the Series Description of a derived series."""
SERIES_NUMBER_OFFSET = 1000
"""Added to the Series Number of the original for a derived series."""
LO_LENGTH = 64
"""Maximum length of the value representation LO (DICOM PS3.5 6.2)."""


def series_description(original: str, model: str, strength: float, asked: str = "", part: str = "") -> str:
    """Series Description of a derived series: the original's, shortened to fit LO, with model and strength appended.

    strength: 0 to 1. asked: the level or target that it comes from. part: appended where only a part was denoised.
    """
    suffix = f" {DERIVED_MARK}{model[:24]} {asked and asked + ' '}{strength:.0%}{part and ' ' + part}, research]"
    return original[: LO_LENGTH - len(suffix)] + suffix
