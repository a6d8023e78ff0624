"""What a scan tells of itself, as far as rules ask for it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Facts:
    """What rules ask of a scan; None if it does not tell. ctdi_vol_mgy: CTDIvol (0018,9345)."""

    series_description: str | None = None
    kernel: str | None = None
    modality: str | None = None
    thickness_mm: float | None = None
    ctdi_vol_mgy: float | None = None
