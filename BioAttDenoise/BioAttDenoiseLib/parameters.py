"""The panel's state in the scene: saved and restored with it."""

from enum import Enum
from typing import Annotated

from slicer import vtkMRMLMarkupsROINode, vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import Minimum, WithinRange, parameterNodeWrapper

from .options import DenoiseOptions


class Region(Enum):
    """Which part of the volume is denoised."""

    WHOLE = "whole"
    SLICES = "slices"
    ROI = "roi"

    def label(self) -> str:
        return {"WHOLE": _("Whole volume"), "SLICES": _("Slice range"), "ROI": _("Region of interest")}[self.name]


class Device(Enum):
    """Where the network runs; the value is the engine's name for it."""

    AUTO = "auto"
    GPU = "gpu"
    CPU = "cpu"

    def label(self) -> str:
        return {"AUTO": _("Automatic"), "GPU": _("Graphics card (GPU)"), "CPU": _("Processor (CPU)")}[self.name]


class Precision(Enum):
    """Arithmetic of the network; the value is the engine's name for it."""

    AUTO = "auto"
    FULL = "fp32"
    BRAIN = "bf16"
    HALF = "fp16"

    def label(self) -> str:
        return {"AUTO": _("Automatic"), "FULL": "float32", "BRAIN": "bfloat16", "HALF": "float16"}[self.name]


@parameterNodeWrapper
class BioAttDenoiseParameterNode:
    """The module's parameters.

    outputVolume None means that a new volume is made. firstSlice and lastSlice count from 1 as the slice views do not,
    but people do; lastSlice 0 means the last one. strength is in percent. tileSize 0 means whole slices.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    outputVolume: vtkMRMLScalarVolumeNode
    region: Region = Region.WHOLE
    firstSlice: Annotated[int, Minimum(1)] = 1
    lastSlice: Annotated[int, Minimum(0)] = 0
    roi: vtkMRMLMarkupsROINode
    model: str = "auto"
    prior: str = "embedded"
    strength: Annotated[float, WithinRange(0, 100)] = 100.0
    livePreview: bool = False
    device: Device = Device.AUTO
    precision: Precision = Precision.AUTO
    tileSize: Annotated[int, WithinRange(0, 2048)] = 0


def options(parameters: BioAttDenoiseParameterNode) -> DenoiseOptions:
    """How to denoise, as the panel says."""
    return DenoiseOptions(
        model=parameters.model,
        prior=parameters.prior,
        strength=parameters.strength / 100,
        device=parameters.device.value,
        precision=parameters.precision.value,
        tile=parameters.tileSize,
    )
