"""Volume in, volume out: the one implementation behind the command line, Slicer's worker, batch and validation."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bioatt.anatomy.descriptors import DescriptorSet, load_descriptor_set
from bioatt.compute import device as devices
from bioatt.core.body import body_weight
from bioatt.core.canonical import Canonical, canonical
from bioatt.core.errors import InputError
from bioatt.core.hu import CLIP_HU, OFFSET_HU, SCALE_HU
from bioatt.core.noise import CONTEXT_SLICES, noise_levels, noise_sd
from bioatt.core.strength import DEFAULT_STRENGTH, check_strength
from bioatt.core.volume import Volume
from bioatt.inference import tiling
from bioatt.inference.attention import AttentionRecorder, AttentionRequest
from bioatt.inference.models import TrainedModel, default_model, load_model
from bioatt.inference.run import Run, cancellable, out_of_memory, placed
from bioatt.inference.suitability import filled_area_warnings, training_range_warnings, unchanged_warnings
from bioatt.network import BioAttNetwork, Stage
from bioatt.priors import AnatomicalPrior, Prior, build_prior
from bioatt.priors.base import part_prior
from bioatt.priors.guard import PriorGuard, trained_rise

Progress = Callable[[float, int, int, float | None], None]


@dataclass(frozen=True)
class Result:
    """A denoised volume and how it came about.

    volume has the input's geometry and dtype. noise_before and noise_after are soft-tissue σ in HU by slice, NaN where
    a slice has none. attention is keyed by (stage, descriptor | "unified"). prior is the one that was asked for;
    prior_blended is, for each of its rows, the share of the model's own prior in what the network was shown instead
    (see `priors.guard`), 0 where nothing was blended.
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
    prior_blended: NDArray[np.float32] | None = None
    attention: Mapping[tuple[Stage, str], Volume] = field(default_factory=dict)


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
        self.tile = tile
        self._prior = prior
        self._own_prior: AnatomicalPrior | None = None
        self._network = placed(self.model.network, self.compute.device)

    @property
    def descriptors(self) -> DescriptorSet:
        """The descriptor set that the model was trained with."""
        return load_descriptor_set(self.model.metadata["descriptor_set"])

    def denoise(
        self,
        volume: Volume,
        *,
        strength: float = DEFAULT_STRENGTH,
        slices: range | None = None,
        attention: AttentionRequest | None = None,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Result:
        """Denoise a volume, or the slices of it named by `slices` (then the result holds only those).

        strength: share of the network's change that is applied, 0 (none) to 1.
        progress(fraction, slices_done, slices, eta_s) is called after every axial slice. cancelled() is asked between
        the network's layers. Raises Cancelled, and InputError for a strength or slices out of range.
        """
        return self._denoise(volume, None, strength, slices, attention, progress, cancelled)

    def preview(
        self,
        volume: Volume,
        slice_index: int,
        *,
        strength: float = DEFAULT_STRENGTH,
        p: NDArray[np.float32] | None = None,
    ) -> Result:
        """Denoise one slice: the same values as in the whole volume's result. p (N,) overrides the prior."""
        return self._denoise(volume, p, strength, range(slice_index, slice_index + 1))

    def _denoise(
        self,
        volume: Volume,
        override: NDArray[np.float32] | None,
        strength: float,
        slices: range | None,
        attention: AttentionRequest | None = None,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Result:
        check_strength(strength)
        start = time.monotonic()
        wanted = range(volume.shape[0]) if slices is None else slices
        part = volume.part(wanted)
        around = wanted if volume.axial else _surroundings(wanted, self._network, volume.shape[0])
        oriented = canonical(volume.part(around))
        run = Run(self._network, self.compute, self.tile, self.model.mixture)
        prior = guard = None
        if self._network.uses_prior:
            prior = self._prior_of(volume, wanted, oriented, override, run, cancelled)
            # its own prior passes: the model was trained on it, however peaked
            rise = None if prior.source == self.model.metadata.get("prior") else trained_rise(self.model.metadata)
            guard = PriorGuard(len(prior.p), rise, lambda: self._trained_on(volume, wanted, oriented, cancelled))
        recorder = None
        if attention is not None:
            recorder = AttentionRecorder(attention, self.model.descriptors, oriented.volume.shape)
        noise = None if self.model.mixture is None else _canonical_noise(volume, wanted, oriented)
        with cancellable(run.network, cancelled):
            output = _denoise_slices(run, oriented.volume.hu, prior, guard, noise, strength, recorder, progress)
        inner = slice(wanted.start - around.start, wanted.stop - around.start)
        result = part.with_hu(oriented.undo(output)[inner])
        if prior is not None and prior.spatial and not oriented.axial:
            prior = _cut_out(prior, oriented.volume, canonical(part).volume)
        before, after = (noise_by_slice(one) for one in (part, result))
        unsuitable = training_range_warnings(self.model, part, median(before))
        unsuitable += filled_area_warnings(oriented.volume.hu, median(before))
        unsuitable += unchanged_warnings(part, result, strength)
        warnings = [*volume.warnings, *run.warnings, *unsuitable]
        if prior is not None and guard is not None:
            warnings += guard.warnings(prior.source)
        return Result(
            volume=result,
            prior=prior,
            seconds=time.monotonic() - start,
            model=self.model,
            device=str(run.compute.device),
            precision=run.compute.precision,
            strength=strength,
            noise_before=before,
            noise_after=after,
            warnings=tuple(dict.fromkeys(warnings)),
            prior_blended=None if guard is None else guard.shares,
            attention={} if recorder is None else recorder.maps_of(oriented, part, inner),
        )

    def _prior_of(
        self,
        volume: Volume,
        wanted: range,
        oriented: Canonical,
        override: NDArray[np.float32] | None,
        run: Run,
        cancelled: Callable[[], bool] | None,
    ) -> Prior:
        """Prior of the slices of `oriented`, columns as the model's.

        Neighbours that smoothing along z needs are looked at too, so that a slice has the same prior alone as in its
        volume. Of a coronal or sagittal stack the whole is looked at: a part of it holds no whole axial slice. What a
        spatial prior says beside the part is left out.
        """
        ids = oriented.volume.slice_ids
        if override is not None:
            rows = np.tile(np.asarray(override, np.float32), (len(ids), 1))
            return Prior(rows, self.model.descriptors, "override", ids)
        seen = _seen(volume, wanted, oriented)
        prior = self._prior if isinstance(self._prior, Prior) else self._probabilities(seen, volume, run, cancelled)
        if oriented.axial:
            prior = prior.select(ids)
        else:
            prior = replace(_cut_out(prior.select(seen.slice_ids), seen, oriented.volume), slice_ids=ids)
        return prior.aligned_to(self.model.descriptors)

    def _trained_on(
        self, volume: Volume, wanted: range, oriented: Canonical, cancelled: Callable[[], bool] | None
    ) -> Prior:
        """The prior of the model's training, rows and columns as `_prior_of`; uniform where that is not embedded.

        Flat priors were in every training that tells its range.
        """
        if self._own_prior is None:
            name = "embedded" if self.model.metadata.get("prior") == "embedded" else "uniform"
            self._own_prior = build_prior(name, descriptors=self.descriptors)
        prior = self._own_prior.probabilities(_seen(volume, wanted, oriented), cancelled=cancelled)
        ids = oriented.volume.slice_ids
        prior = prior.select(ids) if oriented.axial else replace(prior, slice_ids=ids)
        return prior.aligned_to(self.model.descriptors)

    def _probabilities(self, seen: Volume, whole: Volume, run: Run, cancelled: Callable[[], bool] | None) -> Prior:
        """Ask the source; where its device runs out of memory, once more on the CPU."""
        source = self._prior
        assert not isinstance(source, Prior)
        if isinstance(source, str):
            source = build_prior(source, descriptors=self.descriptors, device=str(self.compute.device))
        try:
            prior = part_prior(source, seen, whole, cancelled)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error) or not isinstance(self._prior, str) or self.compute.device.type == "cpu":
                raise
            run.warnings.append("memory ran out for the prior: it was computed on the CPU")
            source = build_prior(self._prior, descriptors=self.descriptors, device="cpu")
            prior = part_prior(source, seen, whole, cancelled)
        self._prior = source
        return prior


def _denoise_slices(
    run: Run,
    hu: NDArray[np.float32],
    prior: Prior | None,
    guard: PriorGuard | None,
    noise: NDArray[np.float32] | None,
    strength: float,
    recorder: AttentionRecorder | None,
    progress: Progress | None,
) -> NDArray[np.float32]:
    """Canonical hu (z, y, x) and the slices' noise (z,) → output."""
    output = hu.copy()
    start = time.monotonic()
    for k, image in enumerate(hu):
        run.noise_hu = None if noise is None else float(noise[k])
        p = None if prior is None or guard is None else guard(k, prior.p[k])
        _denoise_slice(run, k, image, p, strength, recorder, output[k])
        if progress is not None:
            done = k + 1
            progress(done / len(hu), done, len(hu), (time.monotonic() - start) / done * (len(hu) - done))
    return output


def _denoise_slice(
    run: Run,
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
    if not run.network.tileable:
        box = tiling.Box(0, image.shape[0], 0, image.shape[1])
    shown = np.clip(image, *CLIP_HU)
    maps: dict[Stage, Tensor] | None = None if recorder is None else {}
    denoised = run(tiling.pad((shown - OFFSET_HU) / SCALE_HU, run.network), p, box, maps)
    change = denoised.cpu().numpy() * SCALE_HU + OFFSET_HU - shown[box.slices]
    change *= weight[box.slices] * (image[box.slices] <= CLIP_HU[1])
    output[box.slices] += np.float32(strength) * change
    if recorder is not None and maps is not None and p is not None:
        inside = p if p.ndim == 1 else p[(slice(None), *box.slices)]
        p_inside = torch.from_numpy(np.ascontiguousarray(inside)).to(denoised.device)
        recorder.add(k, box, maps, p_inside, weight[box.slices] == 1)


def _seen(volume: Volume, wanted: range, oriented: Canonical) -> Volume:
    """What a prior must look at (canonical): the wanted slices and neighbours, of a stack that is not axial all."""
    context = widened(wanted, CONTEXT_SLICES, volume.shape[0]) if oriented.axial else range(volume.shape[0])
    return oriented.volume if context == wanted else canonical(volume.part(context)).volume


def _cut_out(prior: Prior, seen: Volume, part: Volume) -> Prior:
    """What a prior of `seen` says of `part`, a box of the same axial slices; both canonical.

    Its place comes from the geometry, since canonical axes may run against the stack's.
    """
    x, y = np.rint(np.linalg.inv(seen.ijk_to_lps) @ [*part.origin, 1])[:2].astype(int)
    return prior.cropped(range(y, y + part.shape[1]), range(x, x + part.shape[2]))


def noise_by_slice(volume: Volume) -> NDArray[np.float32]:
    """Soft-tissue σ in HU of each slice, in the file's order; NaN where a slice has no soft tissue."""
    return np.array([noise_sd(image) for image in volume.hu], np.float32)


def _canonical_noise(volume: Volume, wanted: range, oriented: Canonical) -> NDArray[np.float32]:
    """`noise_levels` of the slices of `oriented`, the same in a part as in the whole volume.

    Of a coronal or sagittal stack the whole is looked at, since a part of it holds no whole axial slice.
    """
    if not oriented.axial:
        return noise_levels(canonical(volume).volume.hu)
    context = widened(wanted, CONTEXT_SLICES, volume.shape[0])
    seen = oriented if context == wanted else canonical(volume.part(context))
    in_file = seen.undo(noise_levels(seen.volume.hu)[:, None, None])
    inner = slice(wanted.start - context.start, wanted.stop - context.start)
    return oriented.apply(in_file[inner])[:, 0, 0]


def median(noise_hu: NDArray[np.float32]) -> float:
    """Median σ of the slices that have one; NaN where none has."""
    known = noise_hu[np.isfinite(noise_hu)]
    return float(np.median(known)) if known.size else float("nan")


def _surroundings(slices: range, network: BioAttNetwork, count: int) -> range:
    """What the network must see of a non-axial stack: whole blocks from either end, since axes may be turned round."""
    wide = widened(slices, network.halo, count)
    block = network.block
    return range(wide.start - wide.start % block, wide.stop + (count - wide.stop) % block)


def widened(slices: range, by: int, count: int) -> range:
    """The range and `by` neighbours on either side, within 0 … count."""
    return range(max(slices.start - by, 0), min(slices.stop + by, count))
