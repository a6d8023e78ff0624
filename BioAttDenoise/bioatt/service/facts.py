"""Properties of a scan to which rules refer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Facts:
    """Properties of a scan to which rules refer; None if unknown. ctdi_vol_mgy: CTDIvol (0018,9345)."""

    series_description: str | None = None
    kernel: str | None = None
    modality: str | None = None
    thickness_mm: float | None = None
    ctdi_vol_mgy: float | None = None
