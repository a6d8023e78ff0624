"""Provenance marks of outputs, shared by files and Slicer's scene."""

from __future__ import annotations

from collections.abc import Mapping

DENOISED = "Denoised by BioAttDenoise"
"""Start of the note in every output."""
ORGANS = "Organs by BioAttDenoise"
"""Start of the note in segmentations."""
DENOISED_BEFORE = "BioAttDenoise already denoised this volume: use the original to avoid denoising twice"
DERIVED_MARK = "[BioAtt "
"""Start of the suffix in the Series Description of a derived series."""
SERIES_NUMBER_OFFSET = 1000
"""Added to the original's Series Number for a derived series."""
LO_LENGTH = 64
"""Maximum length of the value representation LO (DICOM PS3.5 6.2)."""


def strength_note(strength: float, by_organ: Mapping[str, float], asked: str = "") -> str:
    """Format strengths for notes: "strength 0.75", or with the requested level or target "strength medium (0.62)".

    With strengths by organ: "strength 0.75 (lungs 0.50, liver 1.00)", "strength medium (0.62; lungs 0.50)".
    """
    organs = ", ".join(f"{name} {value:.2f}" for name, value in by_organ.items())
    inside = "; ".join(text for text in (f"{strength:.2f}" if asked else "", organs) if text)
    return f"strength {asked or f'{strength:.2f}'}{f' ({inside})' if inside else ''}"


def series_description(original: str, model: str, strength: float, part: str = "", asked: str = "") -> str:
    """Series Description of a derived series: the original's, shortened to fit LO, with model and strength appended.

    strength: 0 to 1. part: appended if only a part was denoised. asked: the requested level or target, if any.
    """
    suffix = f" {DERIVED_MARK}{model[:24]} {asked and asked + ' '}{strength:.0%}{part and ' ' + part}, research]"
    return original[: LO_LENGTH - len(suffix)] + suffix
