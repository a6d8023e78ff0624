"""EmbeddedPrior: the small network that ships with the project and needs no download."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from bioatt.anatomy.descriptors import DescriptorSet
from bioatt.compute import device as devices
from bioatt.core.errors import Cancelled, InputError
from bioatt.core.resources import resources_folder
from bioatt.core.volume import Volume
from bioatt.network.embedded import EmbeddedNetwork, fuse, share
from bioatt.priors.base import Prior
from bioatt.priors.slice_image import slice_image

FILE = "embedded_prior.safetensors"


class EmbeddedPrior:
    """Presence of each descriptor by a small network, averaged over the eight rotations and reflections of a slice, so
    that the prior is the same for a prone, rotated or mirrored patient.

    Raises InputError where the network was not trained for all of `descriptors`, or the file is missing or damaged.
    """

    def __init__(self, descriptors: DescriptorSet, device: str = "cpu", path: Path | None = None) -> None:
        network, metadata = load_embedded(path or resources_folder() / "Models" / FILE)
        self.compute = devices.choose(device, "fp32")
        self.device = self.compute.device
        own = fuse(copy.deepcopy(network))  # what is loaded is shared
        self.network = own.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        taught: list[str] = metadata["descriptors"]
        missing = [name for name in descriptors.descriptors if name not in taught]
        if missing:
            raise InputError(
                f"the embedded prior was not trained for {', '.join(missing)} of the set {descriptors.name}: "
                "use the prior biomedclip for them, or the set paper17"
            )
        self.taught = tuple(taught)
        self.descriptors = descriptors.descriptors
        self.slope = torch.tensor(metadata["calibration"]["slope"], device=self.device)
        self.offset = torch.tensor(metadata["calibration"]["offset"], device=self.device)

    def probabilities(self, volume: Volume, *, cancelled: Callable[[], bool] | None = None) -> Prior:
        """See AnatomicalPrior."""
        rows = []
        for image in volume.hu:
            if cancelled is not None and cancelled():
                raise Cancelled("cancelled")
            rows.append(share(self._presence(image, volume.spacing[:2])).cpu().numpy())
        return Prior(np.concatenate(rows), self.taught, "embedded", volume.slice_ids).aligned_to(self.descriptors)

    def presence(self, volume: Volume) -> NDArray[np.float32]:
        """(slices, trained descriptors): probability that the slice shows each, 0…1; not a distribution."""
        spacing = volume.spacing[:2]
        return np.concatenate([self._presence(image, spacing).cpu().numpy() for image in volume.hu])

    def _presence(self, hu: NDArray[Any], spacing: tuple[float, float]) -> Tensor:
        """(1, trained descriptors). One slice at a time: bitwise the same alone as in its volume."""
        image = torch.from_numpy(slice_image(np.asarray(hu, np.float32), spacing)).to(self.device)
        with torch.inference_mode(), self.compute.arithmetic():
            views = turned(self.network.windowed(image[None, None])).contiguous(memory_format=torch.channels_last)
            logits = self.network.logits(views).mean(dim=0, keepdim=True)
            return torch.sigmoid(logits * self.slope + self.offset)


def turned(image: Tensor) -> Tensor:
    """(1, C, g, g) → (8, C, g, g): the image and its mirror image, each turned by 0, 90, 180 and 270 degrees."""
    both = torch.cat([image, image.flip(3)])
    return torch.cat([torch.rot90(both, quarter, (2, 3)) for quarter in range(4)])


def save_embedded(path: Path, network: EmbeddedNetwork, metadata: dict[str, Any]) -> None:
    """Write weights and metadata: descriptors, calibration {slope, offset} by descriptor, and any other keys."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    described = {"width": network.width, **metadata}
    partial = path.with_name(f".{path.name}.partial")
    safetensors.torch.save_file(weights, partial, metadata={"bioatt": json.dumps(described, sort_keys=True)})
    partial.replace(path)


@cache
def load_embedded(path: Path) -> tuple[EmbeddedNetwork, dict[str, Any]]:
    """Network in evaluation mode, and the metadata of its file. Raises InputError for a missing or damaged file."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = json.loads(file.metadata()["bioatt"])
        network = EmbeddedNetwork(len(metadata["descriptors"]), metadata["width"])
        network.load_state_dict(safetensors.torch.load_file(path))
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"the embedded prior's file {path.name} is missing or damaged ({type(error).__name__}): reinstall"
        ) from None
    return network.eval(), metadata
