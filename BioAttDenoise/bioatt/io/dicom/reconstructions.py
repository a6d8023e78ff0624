"""Detection of iterative and deep-learning reconstruction, which has already reduced the noise, from headers."""

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
"""Starting point for such a scan: half of the change, since part of the noise is already removed.

A cautious choice, not a measured one: the project has no scan with such a reconstruction.
"""


def reconstruction(header: Dataset | Mapping[str, Any]) -> str | None:
    """Name of the reconstruction method that reduces noise, None if the header names none.

    header: a data set, or values by keyword from a file of another format.
    """
    for keyword, pattern, method in _NAMES:
        value = header.get(keyword)
        text = "" if value is None else value if isinstance(value, str) else "\\".join(str(part) for part in value)
        if re.search(pattern, text, 0 if keyword == "ConvolutionKernel" else re.IGNORECASE):
            return method
    return None


def reconstruction_warning(method: str) -> str:
    """Warning about what the method means for denoising, one line."""
    return (
        f"already reconstructed with noise reduction ({method}): its texture differs from that in training and there "
        f"is less to gain; start with --strength {SUGGESTED_STRENGTH:g}"
    )
