"""Scans that were denoised before they came here: iterative and deep-learning reconstruction, as headers name it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_NAMES: tuple[tuple[str, str, str], ...] = (
    # element, pattern (whole value or words of it), method
    ("ConvolutionKernel", r"^[IJ]\d{2}[a-z]?\b", "SAFIRE"),
    ("ConvolutionKernel", r"^Q\d{2}[a-z]?\b|^[BHQ][a-z]\d{2}[a-z]?\\[1-5]$", "ADMIRE or QIR"),
    ("ConvolutionKernel", r"\bAiCE\b", "AiCE (deep learning)"),
    ("ReconstructionAlgorithm", r"ITERATIVE", "iterative reconstruction"),
    ("SeriesDescription", r"\bSAFIRE\b", "SAFIRE"),
    ("SeriesDescription", r"\bADMIRE\b", "ADMIRE"),
    ("SeriesDescription", r"\bQIR\b", "QIR"),
    ("SeriesDescription", r"\bASI?R(-?V)?\b", "ASiR"),
    ("SeriesDescription", r"\bVEO\b", "Veo"),
    ("SeriesDescription", r"\biDose\b", "iDose"),
    ("SeriesDescription", r"\bIMR\b", "IMR"),
    ("SeriesDescription", r"\bAIDR\b", "AIDR 3D"),
    ("SeriesDescription", r"\bFIRST\b.*\bIR\b", "FIRST"),
    ("SeriesDescription", r"\bAiCE\b", "AiCE (deep learning)"),
    ("SeriesDescription", r"\bDLIR\b|\bTrue ?Fidelity\b", "TrueFidelity (deep learning)"),
    ("SeriesDescription", r"\bPrecise ?Image\b", "Precise Image (deep learning)"),
    ("DerivationDescription", r"\b(ASiR|AIDR|AiCE|iDose|SAFIRE|ADMIRE|TrueFidelity)\b", "iterative reconstruction"),
)
SUGGESTED_STRENGTH = 0.5
"""Where to begin with such a scan: half of the change, since part of the noise is gone already.

A cautious choice, not a measured one: the project has no scan of such a reconstruction.
"""


def reconstruction(header: Dataset | Mapping[str, Any]) -> str | None:
    """The method that took noise away in reconstruction, None if the header names none.

    header: a data set, or values by keyword where a file of another format tells them.
    """
    for keyword, pattern, method in _NAMES:
        value = header.get(keyword)
        text = "" if value is None else value if isinstance(value, str) else "\\".join(str(part) for part in value)
        if re.search(pattern, text, 0 if keyword == "ConvolutionKernel" else re.IGNORECASE):
            return method
    return None


def reconstruction_warning(method: str) -> str:
    """One line that says what it means for denoising."""
    return (
        f"reconstructed with noise reduction already ({method}): its texture is unlike the training's and there is "
        f"less to gain, begin with --strength {SUGGESTED_STRENGTH:g}"
    )
