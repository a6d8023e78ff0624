"""What to denoise and how, as plain values: the same for the panel, scripts and batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bioatt.core.strength import DEFAULT_STRENGTH


@dataclass(frozen=True)
class DenoiseOptions:
    """How to denoise.

    model: "auto" (the catalogue's default for the device), a catalogue name, or a .safetensors file. prior:
    embedded, biomedclip, uniform, random[:SEED] or a .json file. descriptors: a descriptor set of one's own for the
    prior (.json), empty for the model's. strength: 0 (nothing) to 1. device: auto, gpu, cpu. precision: auto, fp32,
    bf16, fp16. tile: pixels, 0 for whole slices.
    """

    model: str = "auto"
    prior: str = "embedded"
    descriptors: str = ""
    strength: float = DEFAULT_STRENGTH
    device: str = "auto"
    precision: str = "auto"
    tile: int = 0

    def request(self) -> dict[str, Any]:
        """The fields of a worker's request."""
        fields: dict[str, Any] = {
            "model": self.model,
            "prior": self.prior,
            "strength": self.strength,
            "device": self.device,
            "precision": self.precision,
        }
        if self.descriptors:
            fields["descriptors"] = self.descriptors
        if self.tile:
            fields["tile"] = self.tile
        return fields
