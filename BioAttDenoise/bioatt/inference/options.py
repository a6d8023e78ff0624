"""Options for denoising a volume, shared by the command line and the worker's requests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bioatt.io.files import files_named

if TYPE_CHECKING:
    from bioatt.compute.device import Precision


@dataclass(frozen=True)
class EngineOptions:
    """Choice of model, prior and computation.

    model: catalogue name, "auto" or .safetensors file. prior: a source for `build_prior`, or "auto" for the one used in
    training. descriptors: name or .json file of a custom descriptor set for the prior, None for the model's.
    device, precision: as for `choose`. tile: side of the tiles in pixels, None for whole slices. backend: "torch" or
    "openvino"; "auto" is the measured fastest if device is cpu and precision is auto, else "torch".
    """

    model: str = "auto"
    prior: str = "auto"
    descriptors: str | None = None
    device: str = "auto"
    precision: Precision = "auto"
    tile: int | None = None
    backend: str = "auto"

    def files(self) -> list[Path]:
        """The files that the options name; these are inputs, which no output may replace."""
        return [file for option in (self.model, self.prior, self.descriptors or "") for file in files_named(option)]
