"""The Denoiser, which the command line, Slicer's worker, batch processing and validation all use."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bioatt.anatomy.descriptors import DescriptorSet, load_descriptor_set
from bioatt.anatomy.sources import AnatomySource, organs_of
from bioatt.anatomy.strength import StrengthMap, checked_organ_strength
from bioatt.compute import device as devices
from bioatt.compute import memory
from bioatt.compute.backends import BackendName, check_backend
from bioatt.compute.tuning import Choice, tuning_wanted
from bioatt.core.errors import InputError
from bioatt.core.noise import median_noise, noise_by_slice
from bioatt.core.noise.removal import NoiseRemoval, measure
from bioatt.core.resources import models_folder
from bioatt.core.strength import DEFAULT_STRENGTH, Strength
from bioatt.core.volume import Volume
from bioatt.inference.attention import AttentionMaps, AttentionRecorder, AttentionRequest
from bioatt.inference.context import Context
from bioatt.inference.models import TrainedModel, default_model, load_model
from bioatt.inference.run import Run, cancellable, out_of_memory, placed
from bioatt.inference.slices import Progress, denoise_slices
from bioatt.inference.strength import measured_slices, needs_measuring, soft_tissue_noise, strength_for
from bioatt.inference.suitability import filled_area_warnings, training_range_warnings, unchanged_warnings
from bioatt.network import Stage
from bioatt.priors import AnatomicalPrior, FixedPrior, Prior, build_prior
from bioatt.priors.anatomy import build_anatomy
from bioatt.priors.guard import PriorGuard, trained_rise
from bioatt.priors.organ_maps import OrganMapPrior

log = logging.getLogger(__name__)

IsCancelled = Callable[[], bool]


@dataclass(frozen=True)
class Result:
    """A denoised volume and its provenance.

    volume: with the geometry and dtype of the input. device, precision, backend, threads: where and how it was
    computed; threads of the CPU.
    noise: SD in HU before and after in homogeneous soft tissue, to which levels refer; None if there is too little of
    it. noise_before, noise_after: (z,) mode of the local SD in soft tissue, HU, by slice of the file; NaN for a slice
    without soft tissue.
    strength: the applied value. strength_asked: the requested level or target, empty if a value was requested.
    prior: the requested prior. prior_blended: for each of its rows, the share of the model's own prior that
    `priors.guard` blended in, 0 for none.
    organ_strength: requested strengths by organ. anatomy: source of the organs.
    attention: maps keyed by (stage, descriptor or "unified").
    """

    volume: Volume
    prior: Prior | None
    seconds: float
    model: TrainedModel
    device: str
    precision: devices.Precision
    backend: BackendName
    threads: int
    strength: float
    noise: tuple[float, float] | None
    noise_before: NDArray[np.float32]
    noise_after: NDArray[np.float32]
    strength_asked: str = ""
    warnings: tuple[str, ...] = ()
    prior_blended: NDArray[np.float32] | None = None
    organ_strength: Mapping[str, float] = field(default_factory=dict)
    anatomy: str | None = None
    attention: Mapping[tuple[Stage, str], Volume] = field(default_factory=dict)

    @property
    def way(self) -> str:
        """Readable form of backend, precision and threads: "OpenVINO, float32, 2 threads"."""
        choice = Choice(self.backend, self.precision, self.threads)
        return str(choice) if self.device == "cpu" else str(choice).rsplit(", ", 1)[0]


class _Strength:
    """The requested strength. Raises InputError if it is out of range, and for unknown organs.

    measured: whether it depends on the volume.
    """

    def __init__(
        self, asked: Strength, by_organ: Mapping[str, float] | None, anatomy: str | AnatomySource = "maps"
    ) -> None:
        self.measured = needs_measuring(asked)
        self.asked, self.by_organ, self.anatomy = asked, checked_organ_strength(by_organ or {}), anatomy

    def most(self, everywhere: float) -> float:
        """The largest strength of all organs and the rest."""
        return max(everywhere, *self.by_organ.values(), 0)

    def on(
        self, context: Context, everywhere: float, prior: object, cancelled: IsCancelled | None
    ) -> tuple[float | StrengthMap, str | None]:
        """Return the strength in a context's box, and the name of the anatomy source used.

        everywhere: the requested or measured value, returned without finding organs if no organ differs from it.
        prior: the denoiser's source; reused for the anatomy if it is the organ maps, which have then been computed.
        """
        if all(strength == everywhere for strength in self.by_organ.values()):
            return everywhere, None
        source = prior if self.anatomy == "maps" and isinstance(prior, OrganMapPrior) else self.anatomy
        source = build_anatomy(source) if isinstance(source, str) else source
        organs = organs_of(source, context.canonical.volume, context.original, cancelled=cancelled)
        return StrengthMap(organs, self.by_organ, everywhere, context.box), organs.source


class Denoiser:
    """A model loaded on a device, ready to denoise any number of volumes.

    model: catalogue name, file or TrainedModel; "auto" is the catalogue's default for the device.
    prior: a source for `build_prior`, an AnatomicalPrior, or a Prior already computed for the volume; "auto" is the
    source that the model was trained with.
    tile: side of the tiles in pixels, for small GPUs; None runs whole slices. The result is the same.
    backend: "torch", or "openvino" on the CPU if installed (`assembly.make_denoiser` chooses the faster one).
    Raises InputError for an unknown model, device, precision or backend.
    """

    def __init__(
        self,
        model: str | Path | TrainedModel = "auto",
        *,
        prior: str | AnatomicalPrior | Prior = "auto",
        device: str = "auto",
        precision: devices.Precision = "auto",
        tile: int | None = None,
        backend: str = "torch",
    ) -> None:
        if tile is not None and tile < 1:
            raise InputError(f"tile size must be positive, not {tile}")
        self.compute = devices.choose(device, precision)
        if model == "auto":
            model = default_model(self.compute.device.type)
        self.model = load_model(model)
        self.tile = tile
        self._prior = self.model.prior_source(prior) if isinstance(prior, str) else prior
        self._own_prior: AnatomicalPrior | None = None
        self._removal: tuple[object, NoiseRemoval | None] | None = None
        self._network = placed(self.model.network, self.compute.device)
        self._backend = None
        if check_backend(backend, self.compute) == "openvino":
            from bioatt.compute.backends.openvino import OpenVinoNetwork

            if self.model.network.weighting == "random":
                raise InputError("a network that draws random weights at every call needs PyTorch: use --backend torch")
            kept = models_folder() / "openvino" if tuning_wanted() else None
            self._backend = OpenVinoNetwork(self._network, self.compute, torch.get_num_threads(), kept)

    @property
    def way(self) -> Choice:
        """Backend, precision and threads."""
        return Choice("torch" if self._backend is None else "openvino", self.compute.precision, torch.get_num_threads())

    @property
    def descriptors(self) -> DescriptorSet:
        """The descriptor set that the model was trained with."""
        return load_descriptor_set(self.model.metadata["descriptor_set"])

    def predicted_bytes(self, volume: Volume) -> int:
        """Main memory in bytes that denoising needs in addition to the volume; `denoise` warns of a shortage."""
        cpu = self.compute.device.type == "cpu"
        return memory.predicted(volume.shape, self._network.filters, cpu=cpu, tile=self.tile)

    def denoise(
        self,
        volume: Volume,
        *,
        strength: Strength = DEFAULT_STRENGTH,
        organ_strength: Mapping[str, float] | None = None,
        anatomy: str | AnatomySource = "maps",
        slices: range | None = None,
        attention: AttentionRequest | None = None,
        progress: Progress | None = None,
        cancelled: IsCancelled | None = None,
    ) -> Result:
        """Denoise a volume, or only its `slices`; the result then holds only those.

        strength: share of the network's change to apply, 0 (none) to 1; or a level ("low", "medium" or "high") or a
        TargetNoise, from which `noise_removal` finds one value for the whole volume, whichever slices are denoised.
        organ_strength: values for organs with a different strength, blended at organ borders. anatomy: source of the
        organs, for `build_anatomy` or as an object; unused if no organ's strength differs.
        progress(fraction, slices_done, slices, eta_s) is called after every axial slice. cancelled() is polled between
        the network's layers. Raises Cancelled, and InputError for a strength or slices out of range, an unknown organ,
        or an anatomy that cannot be used.
        """
        wanted = _Strength(strength, organ_strength, anatomy)
        return self._denoise(volume, None, wanted, slices, attention, progress, cancelled)

    def preview(
        self,
        volume: Volume,
        slice_index: int,
        *,
        strength: Strength = DEFAULT_STRENGTH,
        organ_strength: Mapping[str, float] | None = None,
        anatomy: str | AnatomySource = "maps",
        p: NDArray[np.float32] | None = None,
    ) -> Result:
        """Denoise one slice, with the same values as in the result for the whole volume.

        p: (N,) over the model's descriptors, instead of the denoiser's prior; unused by a model without prior.
        Raises InputError as `denoise`, and if p is not a distribution.
        """
        fixed = None
        if p is not None and self._network.uses_prior:
            fixed = FixedPrior(p, self.model.descriptors, source="override")
        wanted = _Strength(strength, organ_strength, anatomy)
        return self._denoise(volume, fixed, wanted, range(slice_index, slice_index + 1))

    def noise_removal(self, volume: Volume, cancelled: IsCancelled | None = None) -> NoiseRemoval | None:
        """Measure how much of a volume's noise a strength removes, on five fixed slices; None if not measurable.

        Uses the denoiser's own prior. The result for the last volume is cached. Raises Cancelled.
        """
        stack, chosen = measured_slices(volume)
        seen = hashlib.sha1(np.ascontiguousarray(stack.hu[chosen]).tobytes(), usedforsecurity=False)
        key = seen.digest(), stack.slice_ids, stack.spacing, stack.padding, stack.even
        if self._removal is None or self._removal[0] != key:
            self._removal = key, measure(self._before_and_after(stack, k, cancelled) for k in chosen)
        return self._removal[1]

    def _before_and_after(
        self, stack: Volume, k: int, cancelled: IsCancelled | None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """HU of an axial slice before and after the network's full change."""
        context, run = self._context(stack, range(k, k + 1)), self._run()
        guard = self._conditions(context, run, None, cancelled)[1]
        with cancellable(run, cancelled):
            output = denoise_slices(run, context, guard, self._noise_levels(context), 1.0, None, None)
        return context.hu[0], output[0]

    def _denoise(
        self,
        volume: Volume,
        fixed: FixedPrior | None,
        wanted: _Strength,
        slices: range | None,
        attention: AttentionRequest | None = None,
        progress: Progress | None = None,
        cancelled: IsCancelled | None = None,
    ) -> Result:
        start = time.monotonic()
        slices = range(volume.shape[0]) if slices is None else slices
        part = volume.part(slices)
        short = memory.shortage(self.predicted_bytes(part))
        if short:
            log.warning(short)
        context, run = self._context(volume, slices), self._run()
        hu = context.hu
        recorder = None if attention is None else AttentionRecorder(attention, self.model.descriptors, hu.shape)
        removal = self.noise_removal(volume, cancelled) if wanted.measured else None
        everywhere, notes = strength_for(wanted.asked, removal)
        prior, guard = self._conditions(context, run, fixed, cancelled)
        shares, anatomy = wanted.on(context, everywhere, self._prior, cancelled)
        with cancellable(run, cancelled):
            output = denoise_slices(run, context, guard, self._noise_levels(context), shares, recorder, progress)
        result = part.with_hu(context.restored(output))
        before, after = noise_by_slice(part.hu), noise_by_slice(result.hu)
        warnings = [*volume.warnings, *([short] if short else []), *run.warnings, *notes]
        warnings += training_range_warnings(self.model, part, median_noise(before))
        warnings += filled_area_warnings(hu, median_noise(before))
        warnings += unchanged_warnings(part, result, wanted.most(everywhere))
        warnings += [] if guard is None else guard.warnings()
        maps = {} if recorder is None else {key: context.restored(stored) for key, stored in recorder.maps.items()}
        return Result(
            volume=result,
            prior=prior,
            seconds=time.monotonic() - start,
            model=self.model,
            device=str(run.compute.device),
            precision=run.compute.precision,
            backend=self.way.backend,
            threads=self.way.threads,
            strength=everywhere,
            strength_asked=str(wanted.asked) if wanted.measured else "",
            noise=soft_tissue_noise(part, result),
            noise_before=before,
            noise_after=after,
            warnings=tuple(dict.fromkeys(warnings)),
            prior_blended=None if guard is None else guard.shares,
            organ_strength=wanted.by_organ,
            anatomy=anatomy,
            attention=AttentionMaps(maps, part),
        )

    def _context(self, volume: Volume, slices: range) -> Context:
        return Context.of(volume, slices, self._network.halo, self._network.block)

    def _run(self) -> Run:
        return Run(self._network, self.compute, self.tile, self._backend)

    def _noise_levels(self, context: Context) -> NDArray[np.float32] | None:
        return context.noise_levels() if self._network.neighbours else None

    def _conditions(
        self, context: Context, run: Run, fixed: FixedPrior | None, cancelled: IsCancelled | None
    ) -> tuple[Prior | None, PriorGuard | None]:
        """The requested prior of the slices, and the guard over the box; None for a model without prior."""
        if not self._network.uses_prior:
            return None, None
        asked = self._prior_of(context, run, cancelled) if fixed is None else context.prior(fixed, cancelled)
        asked = asked.aligned_to(self.model.descriptors)
        return asked.cropped(*context.wanted[1:]), self._guarded(asked, context, cancelled)

    def _prior_of(self, context: Context, run: Run, cancelled: IsCancelled | None) -> Prior:
        """Compute the context's prior from the denoiser's source, on the CPU if its device runs out of memory."""
        source, named = self._prior, None
        if isinstance(source, str):
            named, source = source, self._built(source, str(self.compute.device))
        try:
            prior = context.prior(source, cancelled)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error) or named is None or self.compute.device.type == "cpu":
                raise
            run.warnings.append("memory ran out while computing the prior: it was computed on the CPU")
            source = self._built(named, "cpu")
            prior = context.prior(source, cancelled)
        self._prior = source
        return prior

    def _built(self, source: str, device: str) -> AnatomicalPrior:
        complete = not self._network.none_passes
        return build_prior(source, descriptors=self.descriptors, device=device, complete=complete)

    def _guarded(self, prior: Prior, context: Context, cancelled: IsCancelled | None) -> PriorGuard:
        """Guard the prior on the context's box. The model's own prior passes unchanged, however peaked it is."""

        def trained() -> Prior:
            """The training prior; uniform if it is not shipped, since every training included flat priors."""
            if self._own_prior is None:
                self._own_prior = self._built("maps" if own.startswith("maps") else "uniform", "cpu")
            return context.prior(self._own_prior, cancelled).aligned_to(self.model.descriptors)

        own = self.model.prior_source()
        rise = None if prior.source == own else trained_rise(self.model.metadata)
        return PriorGuard(prior.cropped(*context.box[1:]), rise, trained)
