"""Timing of denoising from file to file: the network as part of the whole, each other part alone on the same input."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bioatt.benchmark.ceilings import counted
from bioatt.benchmark.clock import Times, Work, clocked, median
from bioatt.core.noise import noise_by_slice
from bioatt.core.volume import Volume
from bioatt.inference.denoiser import Denoiser
from bioatt.inference.run import Run
from bioatt.inference.slices import Preparation
from bioatt.io.images import read_volume, write_volume
from bioatt.priors import organ_maps

WHOLE = "whole"
PREPARATION = "body and planes"
NETWORK = "network"


@dataclass
class _ClockedRun(Run):
    """Records the network's time for each slice."""

    taken: list[Times] = field(default_factory=list)

    def __call__(self, *given: Any) -> Tensor:
        with clocked(self.taken):
            return super().__call__(*given)


class Steps:
    """Functions to time for a file: the whole, and its parts except the network, which is timed within the whole.

    folder: where results are written.
    """

    def __init__(self, denoiser: Denoiser, file: Path, folder: Path) -> None:
        self.denoiser, self.file, self.output = denoiser, file, folder / "denoised.nrrd"
        self.volume = read_volume(file)
        self.context = denoiser._context(self.volume, range(self.volume.shape[0]))
        self.run = denoiser._run()
        self.guard = denoiser._conditions(self.context, self.run, None, None)[1]
        self.noise = self.context.noise_levels()
        self.ready = [one for one in map(self._preparation(), range(self.volume.shape[0])) if one is not None]
        self.result = denoiser.denoise(self.volume, strength=1.0).volume
        self._in_wholes: list[Times] = []

    def works(self) -> dict[str, Work]:
        """The whole and its parts; the rest of the whole is the network, blending, rounding and bookkeeping."""
        return {
            WHOLE: self._whole,
            "read": lambda: read_volume(self.file),
            "prior": self._prior,
            "noise level": self.context.noise_levels,
            PREPARATION: lambda: [*map(self._preparation(), range(self.volume.shape[0]))],
            "noise for the report": lambda: [noise_by_slice(one.hu) for one in (self.volume, self.result)],
            "write": lambda: self._write(self.result),
        }

    def network(self, preparation: Times) -> Times:
        """Median time of the network within the whole, without the first run, and at most that of the whole.

        preparation: time to prepare all slices, which runs in parallel with the network and counts in its CPU seconds.
        """
        found = median(self._in_wholes[1:])
        return Times(max(found.cpu - preparation.cpu, 0.0), found.wall)

    def counted(self) -> tuple[int, int]:
        """FLOPs and bytes of the network on a whole middle slice."""
        one = self.ready[len(self.ready) // 2]
        p = None if one.p is None else torch.from_numpy(np.ascontiguousarray(one.p))[None]
        return counted(self.denoiser.model.network, torch.from_numpy(one.planes)[None], p)

    def _preparation(self) -> Preparation:
        return Preparation(self.context, self.denoiser.model.network, self.guard, self.noise, 1.0)

    def _prior(self) -> None:
        organ_maps.forget()
        self.denoiser._conditions(self.context, self.run, None, None)

    def _whole(self) -> None:
        organ_maps.forget()
        run = _ClockedRun(**vars(self.denoiser._run()))
        usual, self.denoiser._run = self.denoiser._run, lambda: run  # type: ignore[method-assign]
        try:
            self._write(self.denoiser.denoise(read_volume(self.file)).volume)
        finally:
            self.denoiser._run = usual  # type: ignore[method-assign]
        self._in_wholes.append(Times(*(sum(getattr(one, kind) for one in run.taken) for kind in ("cpu", "wall"))))

    def _write(self, volume: Volume) -> None:
        write_volume(volume, self.output)


def network_alone(denoiser: Denoiser, steps: Steps, threads: int) -> Work:
    """The network alone, computed by another denoiser of the same model on the same slices with `threads` threads."""
    run = denoiser._run()

    def work() -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        for one in steps.ready:
            run(one.planes, one.p, one.box, None)
        torch.set_num_threads(before)

    return work
