"""The panel's state, saved and restored with the scene."""

from enum import Enum
from inspect import isclass
from typing import Annotated, Any, get_type_hints

from slicer import vtkMRMLMarkupsROINode, vtkMRMLNode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import Minimum, WithinRange, parameterNodeWrapper

from bioatt.core.strength import DEFAULT_STRENGTH


class Region(Enum):
    """Which part of the volume is denoised."""

    WHOLE = "whole"
    SLICES = "slices"
    ROI = "roi"

    def label(self) -> str:
        return {"WHOLE": _("Whole volume"), "SLICES": _("Slice range"), "ROI": _("Region of interest")}[self.name]


class Device(Enum):
    """Device that runs the network; the value is the engine's name for it."""

    AUTO = "auto"
    GPU = "gpu"
    CPU = "cpu"

    def label(self) -> str:
        return {"AUTO": _("Automatic"), "GPU": _("Graphics card (GPU)"), "CPU": _("Processor (CPU)")}[self.name]


class Precision(Enum):
    """Floating-point precision of the network; the value is the engine's name for it."""

    AUTO = "auto"
    FULL = "fp32"
    BRAIN = "bf16"
    HALF = "fp16"

    def label(self) -> str:
        return {"AUTO": _("Automatic"), "FULL": "float32", "BRAIN": "bfloat16", "HALF": "float16"}[self.name]


class MapSlices(Enum):
    """Slices for which attention maps are computed."""

    SLICE = "slice"
    VOLUME = "volume"

    def label(self) -> str:
        return {"SLICE": _("Current slice"), "VOLUME": _("Whole volume")}[self.name]


class MapOrgans(Enum):
    """Structures whose maps are kept in addition to the unified map."""

    PROBABLE = "probable"
    ALL = "all"
    NONE = "none"

    def label(self) -> str:
        return {"PROBABLE": _("Most probable"), "ALL": _("All"), "NONE": _("Unified map only")}[self.name]


class MapStages(Enum):
    """Attention blocks whose maps are kept."""

    LAST = "last"
    MIDDLE = "middle"
    BOTH = "both"

    def label(self) -> str:
        return {"LAST": _("Last"), "MIDDLE": _("Middle"), "BOTH": _("Both")}[self.name]


class Stage(Enum):
    """The attention block whose map is shown; the value is the engine's name for it."""

    MIDDLE = "middle"
    LAST = "last"

    def label(self) -> str:
        return {"MIDDLE": _("Middle"), "LAST": _("Last")}[self.name]


class MapView(Enum):
    """How a map's values are displayed; the value is the engine's name for it."""

    RAW = "raw"
    CONTRAST = "contrast"
    CONTRIBUTION = "contribution"

    def label(self) -> str:
        return {
            "RAW": _("Raw (A)"),
            "CONTRAST": _("Contrast over structures"),
            "CONTRIBUTION": _("Contribution (p·A)"),
        }[self.name]


class OrganSource(Enum):
    """Source of the organs on the page "Organs"."""

    MAPS = "maps"
    FILE = "file"
    SEGMENTATION = "segmentation"

    def label(self) -> str:
        return {
            "MAPS": _("Organ maps (built-in)"),
            "FILE": _("Label file"),
            "SEGMENTATION": _("Segmentation in the scene"),
        }[self.name]


class OrganView(Enum):
    """Overlay shown in the slice views when an organ is selected."""

    OUTLINES = "outlines"
    MAP = "map"
    ATTENTION = "raw"
    CONTRIBUTION = "contribution"

    def label(self) -> str:
        return {
            "OUTLINES": _("Outlines only"),
            "MAP": _("Organ map (p)"),
            "ATTENTION": _("Attention (A)"),
            "CONTRIBUTION": _("Contribution (p·A)"),
        }[self.name]


@parameterNodeWrapper
class BioAttDenoiseParameterNode:
    """The module's parameters.

    outputVolume None creates a new volume. firstSlice and lastSlice count from 1, unlike the slice views; lastSlice 0
    means the last slice. strength is in percent; strengthLevel is "low", "medium", "high", or empty if the strength was
    set by hand. tileSize 0 means whole slices. prior is a source or a .json file; descriptors a .json file, empty for
    the model's own set. The rest holds the state of the sections: positions and opacities in percent, the difference's
    range in HU; organFile is a label file, organStrengths JSON, {organ: percent}.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    outputVolume: vtkMRMLScalarVolumeNode
    region: Region = Region.WHOLE
    firstSlice: Annotated[int, Minimum(1)] = 1
    lastSlice: Annotated[int, Minimum(0)] = 0
    roi: vtkMRMLMarkupsROINode
    model: str = "auto"
    prior: str = "maps"
    descriptors: str = ""
    strength: Annotated[float, WithinRange(0, 100)] = 100 * DEFAULT_STRENGTH
    strengthLevel: str = ""
    livePreview: bool = False
    device: Device = Device.AUTO
    precision: Precision = Precision.AUTO
    tileSize: Annotated[int, WithinRange(0, 2048)] = 0
    swipePosition: Annotated[float, WithinRange(0, 100)] = 50.0
    differenceRange: Annotated[float, WithinRange(1, 1000)] = 50.0
    mapSlices: MapSlices = MapSlices.SLICE
    mapOrgans: MapOrgans = MapOrgans.ALL
    mapStages: MapStages = MapStages.BOTH
    keepMaps: bool = False
    mapStage: Stage = Stage.LAST
    mapName: str = "unified"
    mapView: MapView = MapView.RAW
    mapOpacity: Annotated[float, WithinRange(0, 100)] = 50.0
    mapThreshold: Annotated[float, WithinRange(0, 1)] = 0.0
    mapLegend: bool = True
    firstRegion: vtkMRMLMarkupsROINode
    secondRegion: vtkMRMLMarkupsROINode
    referenceVolume: vtkMRMLScalarVolumeNode
    organSource: OrganSource = OrganSource.MAPS
    organFile: str = ""
    organSegmentation: vtkMRMLSegmentationNode
    organReference: str = "muscle"
    organView: OrganView = OrganView.OUTLINES
    organOutlines: bool = True
    organStrengths: str = "{}"
    studyReader: str = ""
    studySlices: Annotated[int, WithinRange(1, 100)] = 5
    studySeed: Annotated[int, WithinRange(0, 999999)] = 1


def renew(parameters: BioAttDenoiseParameterNode) -> None:
    """Translate values from scenes saved by earlier versions."""
    if parameters.prior == "embedded":
        parameters.prior = "maps"


def release(parameters: BioAttDenoiseParameterNode, node: Any) -> None:
    """Clear every selector whose node is about to be removed.

    A node selector does not fall back to "None" but selects the next row, which as the output would be overwritten by
    the next denoising.
    """
    for name, kind in get_type_hints(BioAttDenoiseParameterNode).items():
        if isclass(kind) and issubclass(kind, vtkMRMLNode) and getattr(parameters, name) is node:
            setattr(parameters, name, None)
