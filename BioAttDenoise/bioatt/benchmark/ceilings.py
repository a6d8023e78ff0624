"""Peak performance of this machine, measured in the same run: convolutions by precision, and memory copies."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bioatt.benchmark.clock import Work
from bioatt.compute.device import cpu_has_bf16
from bioatt.network import BioAttNetwork

CHANNELS, SIDE = 64, 256
FLOPS = 2 * 9 * CHANNELS**2 * SIDE**2
COPIED = 64 << 20


def works() -> dict[str, Work]:
    """A 3×3 convolution of 64 channels on 256², in each precision that the CPU supports, and a copy of 64 MB."""
    layer = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.randn(1, CHANNELS, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
    source, target = torch.zeros(COPIED, dtype=torch.uint8), torch.zeros(COPIED, dtype=torch.uint8)

    def convolution(dtype: torch.dtype) -> Work:
        own, image = layer.to(dtype) if dtype != torch.float32 else layer, x.to(dtype)

        def run() -> None:
            with torch.inference_mode():
                own(image)

        return run

    found: dict[str, Work] = {"fp32": convolution(torch.float32), "copy": lambda: target.copy_(source)}
    if cpu_has_bf16():
        layer = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        found["bf16"] = convolution(torch.bfloat16)
    return found


def counted(network: BioAttNetwork, x: Tensor, p: Tensor | None) -> tuple[int, int]:
    """Floating-point operations of a forward pass (PyTorch's counter), and bytes that its convolutions read and write.

    The bytes are for float32 without any cache hits.
    """
    moved = 0

    def add(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal moved
        tensors = (inputs[0], output, *layer.parameters())
        moved += sum(4 * tensor.numel() for tensor in tensors)

    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    hooks = [layer.register_forward_hook(add) for layer in layers]
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(x, p)
    finally:
        for hook in hooks:
            hook.remove()
    return counter.get_total_flops(), moved
