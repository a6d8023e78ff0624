"""BiomedCLIPPrior: the paper's prior, a softmax over cosine similarities of slice and descriptor embeddings (§2.1)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import safetensors
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from bioatt.anatomy.descriptors import DescriptorSet
from bioatt.compute import device as devices
from bioatt.core.errors import Cancelled, InputError
from bioatt.core.volume import Volume
from bioatt.priors.base import Prior
from bioatt.priors.biomedclip.files import HOW_TO_GET, BiomedCLIPFiles, find_files
from bioatt.priors.biomedclip.text import import_open_clip, text_embeddings

_NO_TEXT_TOWER = {"context_length": 1, "vocab_size": 1, "width": 1, "heads": 1, "layers": 1}
CPU_BATCH, BATCH = 2, 16
"""Batch sizes. CPUs gain nothing from larger ones (measured: 0.18 s per slice alone, 0.17 s in batches of 16)."""


class BiomedCLIPPrior:
    """Prior from BiomedCLIP's image tower on slices in the descriptor set's HU windows.

    place: see `find_files`. Only the image tower is loaded; the text tower runs once per descriptor set (see
    `text_embeddings`). Raises InputError if files are missing or inconsistent. Never uses the network.
    """

    def __init__(
        self,
        descriptors: DescriptorSet,
        place: str = "",
        device: str = "cpu",
        precision: devices.Precision = "auto",
        batch: int | None = None,
    ) -> None:
        files = find_files(place)
        self.compute = devices.choose(device, precision)
        self.descriptors = descriptors
        self.text = text_embeddings(files, descriptors).to(self.compute.device)
        self.tower, self.scale = load_image_tower(files)
        self.tower = self.tower.to(self.compute.device)
        self.side = int(files.model_config["vision_cfg"]["image_size"])
        statistics = torch.tensor([files.preprocessing["mean"], files.preprocessing["std"]], dtype=torch.float32)
        self.mean, self.std = statistics.to(self.compute.device).view(2, 3, 1, 1)
        self.batch = batch or (CPU_BATCH if self.compute.device.type == "cpu" else BATCH)

    def probabilities(self, volume: Volume, *, cancelled: Callable[[], bool] | None = None) -> Prior:
        """See AnatomicalPrior. Equations 1 and 2: p = softmax(logit scale · cosine)."""
        rows = []
        for start in range(0, len(volume.hu), self.batch):
            if cancelled is not None and cancelled():
                raise Cancelled("cancelled")
            rows.append(self.of_slices(volume.hu[start : start + self.batch]))
        return Prior(np.concatenate(rows), self.descriptors.descriptors, "biomedclip", volume.slice_ids)

    def of_slices(self, hu: NDArray[np.floating]) -> NDArray[np.float32]:
        """p (slices, N) of hu (slices, y, x), at most `batch` slices.

        The batch is padded so that rounding does not depend on the number of slices.
        """
        slices = torch.as_tensor(np.ascontiguousarray(hu, np.float32), device=self.compute.device)
        filled = F.pad(slices, (0, 0, 0, 0, 0, self.batch - len(slices)), value=-1000.0)
        with torch.inference_mode():
            images = (clip_images(filled, self.descriptors.hu_windows, self.side) - self.mean) / self.std
            with self.compute.arithmetic():
                embedded = self.tower(images)
            cosine = F.normalize(embedded.float(), dim=-1) @ self.text.T
            return F.softmax(self.scale * cosine, dim=-1)[: len(slices)].cpu().numpy()


def clip_images(hu: Tensor, windows: tuple[tuple[float, float], ...], side: int) -> Tensor:
    """Convert HU (B, y, x) to RGB (B, 3, side, side) in 0…1: windowed, padded with air to a square, resized (bicubic).

    One window gives a grey image, three give red, green and blue.
    """
    high, wide = hu.shape[-2:]
    left, top = (max(high - wide, 0)) // 2, (max(wide - high, 0)) // 2
    square = F.pad(hu, (left, max(high - wide, 0) - left, top, max(wide - high, 0) - top), value=-1000.0)
    channels = [((square - low) / (high_hu - low)).clamp(0, 1) for low, high_hu in windows]
    images = F.interpolate(
        torch.stack(channels, dim=1), (side, side), mode="bicubic", align_corners=False, antialias=True
    )
    return images.clamp(0, 1).expand(-1, 3, -1, -1)


def load_image_tower(files: BiomedCLIPFiles) -> tuple[nn.Module, float]:
    """Load the image tower, (B, 3, side, side) → (B, D) in evaluation mode, and the logit scale, exp(logit_scale).

    Raises InputError if the weights cannot be read or belong to another model.
    """
    open_clip = import_open_clip()
    config = files.model_config
    try:
        state = image_weights(files)
        model = open_clip.CustomTextCLIP(
            embed_dim=config["embed_dim"], vision_cfg=dict(config["vision_cfg"]), text_cfg=_NO_TEXT_TOWER
        )
        scale = float(state.pop("logit_scale").exp())
        model.visual.load_state_dict({name.removeprefix("visual."): weight for name, weight in state.items()})
    except (
        OSError,
        KeyError,
        TypeError,
        ValueError,
        RuntimeError,
        AssertionError,
        safetensors.SafetensorError,
    ) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"BiomedCLIP's weights cannot be used ({reason}); get another copy: {HOW_TO_GET}") from None
    return model.visual.eval(), scale


def image_weights(files: BiomedCLIPFiles) -> dict[str, Tensor]:
    """`visual.*` and `logit_scale` of the weights; the text tower's 440 MB are not read."""
    if files.weights.suffix == ".safetensors":
        with safetensors.safe_open(files.weights, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys() if _is_image_weight(name)}  # noqa: SIM118
    state = load_pickled(files)
    return {name: weight for name, weight in state.items() if _is_image_weight(name)}


def _is_image_weight(name: str) -> bool:
    return name.startswith("visual.") or name == "logit_scale"


def load_pickled(files: BiomedCLIPFiles) -> dict[str, Tensor]:
    """Load the published `.bin`, tensors only. Raises InputError if torch is too old to read a pickle safely."""
    version = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    if version < (2, 6):
        raise InputError(
            f"{files.weights.name} needs torch 2.6 or later: import the folder on such a machine to convert it"
        )
    state = torch.load(files.weights, map_location="cpu", weights_only=True, mmap=True)
    return {name.removeprefix("module."): weight for name, weight in state.get("state_dict", state).items()}
