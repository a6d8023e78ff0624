"""A denoising from file to file, and each of its parts alone on what it gets there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from bioatt.benchmark.ceilings import counted
from bioatt.benchmark.clock import Work
from bioatt.core.noise import noise_by_slice
from bioatt.core.volume import Volume
from bioatt.inference.denoiser import Denoiser
from bioatt.inference.slices import Preparation
from bioatt.io.images import read_volume, write_volume

WHOLE = "whole"
NETWORK = "network"


class Steps:
    """Works by name for a file: `whole`, and its parts. folder: where results are written."""

    def __init__(self, denoiser: Denoiser, file: Path, folder: Path) -> None:
        self.denoiser, self.file, self.output = denoiser, file, folder / "denoised.nrrd"
        self.volume = read_volume(file)
        self.context = denoiser._context(self.volume, range(self.volume.shape[0]))
        self.run = denoiser._run()
        self.guard = denoiser._conditions(self.context, self.run, None, None)[1]
        self.noise = self.context.noise_levels()
        self.ready = [one for one in map(self._preparation(), range(self.volume.shape[0])) if one is not None]
        self.result = denoiser.denoise(self.volume).volume

    def works(self) -> dict[str, Work]:
        """The whole and its parts; what is left of the whole is the blending, rounding and bookkeeping."""
        return {
            WHOLE: self._whole,
            "read": lambda: read_volume(self.file),
            "prior": lambda: self.denoiser._conditions(self.context, self.run, None, None),
            "noise level": self.context.noise_levels,
            "body and planes": lambda: [*map(self._preparation(), range(self.volume.shape[0]))],
            NETWORK: self.network,
            "noise for the report": lambda: [noise_by_slice(one.hu) for one in (self.volume, self.result)],
            "write": lambda: self._write(self.result),
        }

    def network(self) -> None:
        """The network on all slices."""
        for one in self.ready:
            self.run(one.planes, one.p, one.box, None)

    def counted(self) -> tuple[int, int]:
        """FLOPs and bytes of the network on a slice of the middle, whole."""
        one = self.ready[len(self.ready) // 2]
        p = None if one.p is None else torch.from_numpy(np.ascontiguousarray(one.p))[None]
        return counted(self.denoiser.model.network, torch.from_numpy(one.planes)[None], p)

    def _preparation(self) -> Preparation:
        return Preparation(self.context, self.denoiser.model.network, self.guard, self.noise, 1.0)

    def _whole(self) -> None:
        self._write(self.denoiser.denoise(read_volume(self.file)).volume)

    def _write(self, volume: Volume) -> None:
        write_volume(volume, self.output)


def network_alone(denoiser: Denoiser, steps: Steps, threads: int) -> Work:
    """The network as another denoiser of the same model computes it, on the same slices, in so many threads."""
    run = denoiser._run()

    def work() -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        for one in steps.ready:
            run(one.planes, one.p, one.box, None)
        torch.set_num_threads(before)

    return work
