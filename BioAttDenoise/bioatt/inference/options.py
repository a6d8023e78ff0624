"""Options that choose how a volume is denoised, as the command line and the worker's requests give them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bioatt.io.files import files_named

if TYPE_CHECKING:
    from bioatt.compute.device import Precision


@dataclass(frozen=True)
class EngineOptions:
    """model: catalogue name, "auto" or .safetensors file. prior: a source for `build_prior`, "auto" for that of the
    model's training. descriptors: name or .json file of the user's own descriptor set for the prior, None for the
    model's. device, precision: as `choose` takes them. tile: side of the tiles in pixels, None for whole slices.
    backend: "torch" or "openvino"; "auto" is, with device cpu and precision auto, what was measured to be fastest.
    """

    model: str = "auto"
    prior: str = "auto"
    descriptors: str | None = None
    device: str = "auto"
    precision: Precision = "auto"
    tile: int | None = None
    backend: str = "auto"

    def files(self) -> list[Path]:
        """The files that the options name: inputs, which no output may replace."""
        return [file for option in (self.model, self.prior, self.descriptors or "") for file in files_named(option)]
