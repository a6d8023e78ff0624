"""A model under examination: one slice of a volume at strength 1, on the CPU."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt.core.volume import Volume
from bioatt.inference.attention import AttentionRequest
from bioatt.inference.denoiser import Denoiser, Result
from bioatt.inference.models import load_model
from bioatt.priors.base import Prior
from bioatt.priors.organ_maps import OrganMapPrior, organ_maps_file
from bioatt.priors.spatial import SpatialRows

Image = NDArray[np.float32]


class Examined:
    """A model by catalogue name or file. identity: key of its stored measurements."""

    def __init__(self, model: str) -> None:
        self.model = load_model(model)
        self.name = self.model.name
        self._default = Denoiser(self.model, device="cpu")
        self._organs: OrganMapPrior | None = None
        organ_maps = hashlib.sha256(organ_maps_file().read_bytes()).hexdigest()
        self.identity = f"{self.model.sha256[:16]} {self._default.compute.precision} maps {organ_maps[:8]}"

    def within(self, volume: Volume, k: int) -> Image:
        """Slice k (y, x) denoised with its neighbours in the volume."""
        return self._default.preview(volume, k, strength=1.0).volume.hu[0].astype(np.float32)

    def alone(self, volume: Volume, k: int = 0) -> Image:
        """Slice k denoised without neighbours."""
        return self._default.denoise(volume.part(range(k, k + 1)), strength=1.0).volume.hu[0].astype(np.float32)

    def under(self, volume: Volume, p: NDArray[np.float32], attention: AttentionRequest | None = None) -> Result:
        """A single-slice volume denoised under p (N,) or (N, H, W), with a sum of at most 1."""
        prior = prior_of(volume, p, self.model.descriptors)
        return Denoiser(self.model, prior=prior, device="cpu").denoise(volume, strength=1.0, attention=attention)

    def organs(self, volume: Volume, k: int = 0) -> tuple[Image, NDArray[np.float32]]:
        """Organ maps of slice k, p (N, H, W) over the model's descriptors, and pooled, p (N,)."""
        if self._organs is None:
            self._organs = OrganMapPrior(load_descriptor_set(self.model.metadata["descriptor_set"]))
        maps = self._organs.maps(volume)
        order = [maps.descriptors.index(name) for name in self.model.descriptors]
        return maps.probabilities(k)[1:][order], maps.pooled()[k][order]


def prior_of(volume: Volume, p: NDArray[np.float32], descriptors: Sequence[str]) -> Prior:
    """The same p for every slice, not normalised: the remainder to 1 belongs to no descriptor."""
    whole = p if p.ndim == 3 else np.broadcast_to(p[:, None, None], (len(p), *volume.shape[1:]))
    if p.ndim == 1 and abs(p.sum() - 1) < 1e-3:
        return Prior(np.tile(p, (len(volume.hu), 1)), tuple(descriptors), "examined", volume.slice_ids)
    count, depth = len(volume.hu), len(p)
    rows = SpatialRows(
        lambda _: whole, tuple(range(count)), tuple(range(depth)), depth, volume.shape[1:], complete=False
    )
    return Prior(rows, tuple(descriptors), "examined", volume.slice_ids)
