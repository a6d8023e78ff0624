"""Provenance marks of outputs, in files and in Slicer's scene alike."""

from __future__ import annotations

from collections.abc import Mapping

DENOISED = "Denoised by BioAttDenoise"
"""Start of the note in every output."""
ORGANS = "Organs by BioAttDenoise"
"""Start of the note in segmentations."""
DENOISED_BEFORE = "this volume was denoised by BioAttDenoise before: denoising it again adds to that"
DERIVED_MARK = "[BioAtt "
"""Start of what is appended to the Series Description of a derived series."""
SERIES_NUMBER_OFFSET = 1000
"""Added to the Series Number of the original for a derived series."""
LO_LENGTH = 64
"""Maximum length of the value representation LO (DICOM PS3.5 6.2)."""


def strength_note(strength: float, by_organ: Mapping[str, float]) -> str:
    """Strengths for notes: "strength 0.75", with strengths by organ "strength 0.75 (lungs 0.50, liver 1.00)"."""
    organs = ", ".join(f"{name} {value:.2f}" for name, value in by_organ.items())
    return f"strength {strength:.2f}{f' ({organs})' if organs else ''}"


def series_description(original: str, model: str, strength: float, part: str = "") -> str:
    """Series Description of a derived series: the original's, shortened to fit LO, with model and strength appended.

    strength: 0 to 1. part: appended where only a part was denoised.
    """
    suffix = f" {DERIVED_MARK}{model[:24]} {strength:.0%}{part and ' ' + part}, research]"
    return original[: LO_LENGTH - len(suffix)] + suffix
