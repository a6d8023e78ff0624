"""Denoising options as plain values, shared by the panel, scripts and batches."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from bioatt.core.strength import DEFAULT_STRENGTH


@dataclass(frozen=True)
class EngineOptions:
    """model: "auto" (the catalogue's default for the device), a catalogue name, or a .safetensors file. prior: maps,
    biomedclip, uniform, random[:SEED] or a .json file. descriptors: a custom descriptor set for the prior (.json),
    empty for the model's. strength: 0 (nothing) to 1, or "low", "medium", "high". device: auto, gpu, cpu. precision:
    auto, fp32, bf16, fp16. tile: pixels, 0 for whole slices.
    """

    model: str = "auto"
    prior: str = "maps"
    descriptors: str = ""
    strength: float | str = DEFAULT_STRENGTH
    device: str = "auto"
    precision: str = "auto"
    tile: int = 0

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of a worker request."""
        return {key: value for key, value in asdict(self).items() if value or key not in ("descriptors", "tile")}

    def settings(self, organs: Mapping[str, float]) -> str:
        """The settings that determine an output's voxels, in one line; device, precision and tiles do not. organs:
        strengths by organ.
        """
        strength = self.strength if isinstance(self.strength, str) else f"{self.strength:g}"
        chosen = {"model": self.model, "prior": self.prior, "descriptors": self.descriptors, "strength": strength}
        by_organ = [json.dumps(dict(organs), sort_keys=True)] if organs else []
        return " ".join([*(f"{key}={value}" for key, value in chosen.items() if value), *by_organ])


def takes_descriptors(prior: str) -> bool:
    """Whether a source of anatomy can use any descriptor set."""
    return prior.startswith("biomedclip")


def unblended(options: EngineOptions) -> EngineOptions:
    """The same at full strength, from which any strength can be blended."""
    return replace(options, strength=1.0)


def options_of(parameters: Any) -> EngineOptions:
    """Options from a parameter node (`scene.parameters`)."""
    return EngineOptions(
        model=parameters.model,
        prior=parameters.prior,
        descriptors=parameters.descriptors if takes_descriptors(parameters.prior) else "",
        strength=parameters.strengthLevel or parameters.strength / 100,
        device=parameters.device.value,
        precision=parameters.precision.value,
        tile=parameters.tileSize,
    )
