"""One run of the network over a volume: device, tiles, cancellation, and recovery when memory runs out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bioatt.compute import device as devices
from bioatt.compute.device import Compute
from bioatt.core.errors import BioAttError, Cancelled
from bioatt.inference import tiling
from bioatt.network import BioAttNetwork, Stage

if TYPE_CHECKING:
    from bioatt.compute.backends.openvino import OpenVinoNetwork

SMALLEST_TILE = 64
_OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "could not create a memory")


def placed(network: BioAttNetwork, device: torch.device) -> BioAttNetwork:
    """Copy the network to a device, in channels-last memory format."""
    return copy.deepcopy(network).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


@dataclass
class Run:
    """Runs `network` on boxes of one volume's slices.

    backend: computes the network instead of PyTorch, with the parameters of `network`; it records no attention maps.
    After memory ran out, `tile` and `compute` hold the settings that still worked, and `warnings` a note on them.
    """

    network: BioAttNetwork
    compute: Compute
    tile: int | None
    backend: OpenVinoNetwork | None = None
    warnings: list[str] = field(default_factory=list)

    def __call__(
        self,
        padded: NDArray[np.float32],
        p: NDArray[np.float32] | None,
        box: tiling.Box,
        maps: dict[Stage, Tensor] | None,
    ) -> Tensor:
        """`tiling.run`; if memory runs out, tiles are halved down to the smallest, then the CPU is used.

        Raises BioAttError if memory runs out on the CPU too.
        """
        while True:
            device = self.compute.device
            weights = (
                None if p is None else torch.from_numpy(tiling.pad(p, self.network) if p.ndim == 3 else p).to(device)
            )
            try:
                with torch.inference_mode(), self.compute.arithmetic():
                    x = torch.from_numpy(padded).to(device)
                    forward = None if maps is not None else self.backend
                    return tiling.run(self.network, x, weights, box, tile=self.tile, record=maps, forward=forward)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
            if maps is not None:
                maps.clear()
            self._make_smaller(box)

    def _make_smaller(self, box: tiling.Box) -> None:
        side = max(box.y1 - box.y0, box.x1 - box.x0)
        largest = min(self.tile or side, side)
        if self.network.tileable and largest > SMALLEST_TILE:
            self.tile = max(largest // 2, SMALLEST_TILE)
            self.warnings.append(f"memory ran out on {self.compute.device}: continued in tiles of {self.tile} px")
        elif self.compute.device.type != "cpu":
            self.warnings.append(f"memory ran out on {self.compute.device}: continued on the CPU, which is slower")
            self.compute = devices.choose("cpu")
            self.network = placed(self.network, self.compute.device)
        else:
            raise BioAttError("memory ran out: close other programs, or denoise on a machine with more memory")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, by its text: CUDA, MPS, the CPU and oneDNN raise different types."""
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in _OUT_OF_MEMORY)


@contextmanager
def cancellable(run: Run, cancelled: Callable[[], bool] | None) -> Iterator[None]:
    """Poll `cancelled` before every layer, so that a run stops within one layer. Raises Cancelled."""

    def ask(*_: object) -> None:
        if cancelled is not None and cancelled():
            raise Cancelled("cancelled")

    layers = [layer for layer in run.network.modules() if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))]
    hooks = [layer.register_forward_pre_hook(ask) for layer in layers]
    if run.backend is not None:
        run.backend.cancelled = cancelled
    try:
        ask()
        yield
    finally:
        for hook in hooks:
            hook.remove()
        if run.backend is not None:
            run.backend.cancelled = None
