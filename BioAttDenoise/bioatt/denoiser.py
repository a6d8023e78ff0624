"""Volume in, volume out: the one implementation behind the command line, Slicer's worker, batch and validation."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bioatt import device as devices
from bioatt import tiling
from bioatt.anatomy import DescriptorSet, load_descriptor_set
from bioatt.attention import AttentionRecorder, AttentionRequest
from bioatt.body import body_weight
from bioatt.errors import BioAttError, Cancelled, InputError
from bioatt.metrics import noise_sd
from bioatt.models import OFFSET_HU, SCALE_HU, TrainedModel, default_model, load_model
from bioatt.network import Stage
from bioatt.priors import AnatomicalPrior, Prior, build_prior
from bioatt.priors.spatial import SpatialRows
from bioatt.suitability import training_range_warnings
from bioatt.volume import Canonical, Volume, canonical

CLIP_HU = (-1024.0, 3071.0)
"""Range the network is shown, CT's usual 12 bits. Voxels above it (metal) keep their value exactly."""
SMALLEST_TILE = 64
PRIOR_CONTEXT = 4
"""Slices on either side that a prior may look at when it smooths along z."""

Progress = Callable[[float, int, int, float | None], None]


@dataclass(frozen=True)
class Result:
    """A denoised volume and how it came about.

    volume has the input's geometry and dtype. noise_before and noise_after are soft-tissue σ in HU by slice, NaN where
    a slice has none. attention is keyed by (stage, descriptor | "unified").
    """

    volume: Volume
    prior: Prior | None
    seconds: float
    model: TrainedModel
    device: str
    precision: str
    strength: float
    noise_before: NDArray[np.float32]
    noise_after: NDArray[np.float32]
    warnings: tuple[str, ...] = ()
    attention: dict[tuple[Stage, str], Volume] = field(default_factory=dict)


class Denoiser:
    """A loaded model on a device, ready for any number of volumes.

    model: catalogue name, file or TrainedModel; "auto" takes the catalogue's default for the device.
    prior: a name or file for `build_prior`, an AnatomicalPrior, or a Prior already computed for the volume.
    tile: side in pixels of the pieces a slice is run in, for small GPUs; None runs it whole. The result is the same.
    Raises InputError for an unknown model, device or precision.
    """

    def __init__(
        self,
        model: str | Path | TrainedModel = "auto",
        *,
        prior: str | AnatomicalPrior | Prior = "embedded",
        device: str = "auto",
        precision: devices.Precision = "auto",
        tile: int | None = None,
    ) -> None:
        if tile is not None and tile < 1:
            raise InputError(f"tile size must be positive, not {tile}")
        self.compute = devices.choose(device, precision)
        if model == "auto":
            model = default_model(self.compute.device.type)
        self.model = model if isinstance(model, TrainedModel) else load_model(model)
        self.prior = prior
        self.tile = tile
        self._warnings: list[str] = []
        self._place_network()

    def _place_network(self) -> None:
        self.network = self.model.network.to(self.compute.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def descriptors(self) -> DescriptorSet:
        """The descriptor set that the model was trained with."""
        return load_descriptor_set(self.model.metadata["descriptor_set"])

    def denoise(
        self,
        volume: Volume,
        *,
        strength: float = 1.0,
        slices: range | None = None,
        attention: AttentionRequest | None = None,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Result:
        """Denoise a volume, or the slices of it named by `slices` (then the result holds only those).

        strength: share of the network's change that is applied, 0 (none) to 1.
        progress(fraction, slices_done, slices, eta_s) is called after every slice. cancelled() is asked between the
        network's layers. Raises Cancelled, and InputError for a strength or slices out of range.
        """
        if not 0 <= strength <= 1:
            raise InputError(f"strength must lie between 0 and 1, not {strength}")
        start = time.monotonic()
        self._warnings = list(volume.warnings)
        wanted = range(volume.shape[0]) if slices is None else slices
        part = volume.part(wanted)
        oriented = canonical(part)
        prior = self._prior_of(volume, wanted, oriented, cancelled)
        p = None if prior is None else prior.aligned_to(self.model.descriptors).p
        recorder = None
        if attention is not None:
            recorder = AttentionRecorder(attention, self.model.descriptors, oriented.volume.shape)
        with self._asking(cancelled):
            output, before, after = self._denoise_slices(oriented.volume.hu, p, strength, recorder, progress)
        self._warnings += training_range_warnings(self.model, part, median(before))
        return Result(
            volume=part.with_hu(oriented.undo(output)),
            prior=prior,
            seconds=time.monotonic() - start,
            model=self.model,
            device=str(self.compute.device),
            precision=self.compute.precision,
            strength=strength,
            noise_before=before,
            noise_after=after,
            warnings=tuple(dict.fromkeys(self._warnings)),
            attention={} if recorder is None else recorder.volumes(oriented, part),
        )

    def preview(
        self, volume: Volume, slice_index: int, *, strength: float = 1.0, p: NDArray[np.float32] | None = None
    ) -> Result:
        """Denoise one slice: the same values as in the whole volume's result. p (N,) overrides the prior."""
        if p is None:
            return self.denoise(volume, strength=strength, slices=range(slice_index, slice_index + 1))
        part = volume.part(range(slice_index, slice_index + 1))
        fixed = Prior(np.asarray(p, np.float32)[None], self.model.descriptors, "override", part.slice_ids)
        other = copy.copy(self)
        other.prior = fixed
        return other.denoise(part, strength=strength)

    def _prior_of(
        self, volume: Volume, wanted: range, oriented: Canonical, cancelled: Callable[[], bool] | None
    ) -> Prior | None:
        """Prior of the slices of `oriented`. Neighbours that smoothing along z needs are looked at too, so that a slice
        has the same prior alone as in its volume."""
        if not self.network.uses_prior:
            return None
        if isinstance(self.prior, Prior):
            return self.prior.select(oriented.volume.slice_ids)
        source = self.prior
        if isinstance(source, str):
            source = self.prior = build_prior(source, descriptors=self.descriptors, device=str(self.compute.device))
        context = range(max(wanted.start - PRIOR_CONTEXT, 0), min(wanted.stop + PRIOR_CONTEXT, volume.shape[0]))
        if context == wanted or not oriented.axial:
            return source.probabilities(oriented.volume, cancelled=cancelled)
        neighbourhood = canonical(volume.part(context)).volume
        return source.probabilities(neighbourhood, cancelled=cancelled).select(oriented.volume.slice_ids)

    def _denoise_slices(
        self,
        hu: NDArray[np.float32],
        p: NDArray[np.float32] | SpatialRows | None,
        strength: float,
        recorder: AttentionRecorder | None,
        progress: Progress | None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Canonical hu (z, y, x) → output, and soft-tissue σ before and after by slice."""
        output = hu.copy()
        before, after = np.empty(len(hu), np.float32), np.empty(len(hu), np.float32)
        start = time.monotonic()
        for k, image in enumerate(hu):
            self._denoise_slice(k, image, None if p is None else p[k], strength, recorder, output[k])
            before[k], after[k] = noise_sd(image), noise_sd(output[k])
            if progress is not None:
                done = k + 1
                progress(done / len(hu), done, len(hu), (time.monotonic() - start) / done * (len(hu) - done))
        return output, before, after

    def _denoise_slice(
        self,
        k: int,
        image: NDArray[np.float32],
        p: NDArray[np.float32] | None,
        strength: float,
        recorder: AttentionRecorder | None,
        output: NDArray[np.float32],
    ) -> None:
        """Write into `output` what the body of one slice image (y, x) becomes; leave the rest of it."""
        weight = body_weight(image)
        box = tiling.bounding_box(weight)
        if box is None:
            return
        shown = np.clip(image, *CLIP_HU)
        maps: dict[Stage, Tensor] | None = None if recorder is None else {}
        denoised = self._run(tiling.pad((shown - OFFSET_HU) / SCALE_HU), p, box, maps)
        change = denoised.cpu().numpy() * SCALE_HU + OFFSET_HU - shown[box.slices]
        change *= weight[box.slices] * (image[box.slices] <= CLIP_HU[1])
        output[box.slices] += np.float32(strength) * change
        if recorder is not None and maps is not None and p is not None:
            inside = p if p.ndim == 1 else p[(slice(None), *box.slices)]
            p_inside = torch.from_numpy(np.ascontiguousarray(inside)).to(denoised.device)
            recorder.add(k, box, maps, p_inside, weight[box.slices] == 1)

    def _run(
        self,
        padded: NDArray[np.float32],
        p: NDArray[np.float32] | None,
        box: tiling.Box,
        maps: dict[Stage, Tensor] | None,
    ) -> Tensor:
        """`tiling.run`; where memory runs out, with half the tile until the smallest, then on the CPU."""
        while True:
            device = self.compute.device
            weights = None if p is None else torch.from_numpy(tiling.pad(p) if p.ndim == 3 else p).to(device)
            try:
                with torch.inference_mode(), self.compute.autocast():
                    x = torch.from_numpy(padded).to(device)
                    return tiling.run(self.network, x, weights, box, tile=self.tile, record=maps)
            except RuntimeError as error:
                if not _out_of_memory(error):
                    raise
                if maps is not None:
                    maps.clear()
                self._make_smaller(box)

    def _make_smaller(self, box: tiling.Box) -> None:
        """After memory ran out, halve the tile, or move to the CPU when tiles cannot shrink; a warning says so."""
        largest = self.tile or max(box.y1 - box.y0, box.x1 - box.x0)
        if self.network.tileable and largest > SMALLEST_TILE:
            self.tile = max(largest // 2, SMALLEST_TILE)
            self._warnings.append(f"memory ran out on {self.compute.device}: continued in tiles of {self.tile} px")
        elif self.compute.device.type != "cpu":
            self._warnings.append(f"memory ran out on {self.compute.device}: continued on the CPU, which is slower")
            self.compute = devices.choose("cpu")
            self._place_network()
        else:
            raise BioAttError("memory ran out: close other programs, or denoise on a machine with more memory")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    @contextmanager
    def _asking(self, cancelled: Callable[[], bool] | None) -> Iterator[None]:
        """Ask `cancelled` before every layer, so that a slow machine stops within one layer."""

        def ask(*_: object) -> None:
            if cancelled is not None and cancelled():
                raise Cancelled("cancelled")

        hooks = [layer.register_forward_pre_hook(ask) for layer in (*self.network.encoder, *self.network.decoder)]
        try:
            ask()
            yield
        finally:
            for hook in hooks:
                hook.remove()


def median(noise_hu: NDArray[np.float32]) -> float:
    """Median σ of the slices that have one; NaN where none has."""
    known = noise_hu[np.isfinite(noise_hu)]
    return float(np.median(known)) if known.size else float("nan")


def _out_of_memory(error: RuntimeError) -> bool:
    """By its text: CUDA, MPS and the CPU's allocator each raise another type."""
    text = str(error).lower()
    return "out of memory" in text or "not enough memory" in text
