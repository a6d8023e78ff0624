"""OpenVINO on the CPU, from PyTorch's trace of the network; results equal PyTorch's to rounding.

Its telemetry is switched off before it is imported.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bioatt.compute.device import Compute
from bioatt.core.errors import Cancelled

_PRECISIONS = {"fp32": "f32", "bf16": "bf16"}
_ASK_EVERY_MS = 20
_TRACED_PX = 64


def import_openvino() -> Any:
    """The module `openvino`, which finds no telemetry to report to: it would say over the network that it is used."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # an import of it fails, as meant
    import openvino

    return openvino


class OpenVinoNetwork:
    """`network.residual(x, p)` of a network with at most one slice at a time, compiled at the first call.

    network: on the CPU. cancelled is asked while it computes.
    """

    def __init__(self, network: nn.Module, compute: Compute, threads: int) -> None:
        self.network = network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self.options = {
            "INFERENCE_PRECISION_HINT": _PRECISIONS[compute.precision],  # unset, it is bf16 where the CPU has it
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        self.cancelled: Callable[[], bool] | None = None
        self._requests: dict[int, Any] = {}

    def __call__(self, x: Tensor, p: Tensor | None) -> Tensor:
        """(1, 1, H, W) of x (1, C, H, W) and p (1, N), (1, N, H, W) or None. Raises Cancelled."""
        kind = 0 if p is None else p.ndim
        if kind not in self._requests:
            self._requests[kind] = self._compiled(x, p)
        request, ov = self._requests[kind], import_openvino()
        for index, tensor in enumerate(_given(x, p)):
            request.set_input_tensor(index, ov.Tensor(np.ascontiguousarray(tensor.numpy())))
        request.start_async()
        while not request.wait_for(_ASK_EVERY_MS):
            if self.cancelled is not None and self.cancelled():
                request.cancel()
                with suppress(RuntimeError):  # says that it was cancelled
                    request.wait()
                raise Cancelled("cancelled")
        return torch.from_numpy(request.get_output_tensor().data.copy())

    def _compiled(self, x: Tensor, p: Tensor | None) -> Any:
        ov = import_openvino()
        side = slice(0, _TRACED_PX)
        example = [x[..., side, side], *([] if p is None else [p[..., side, side] if p.ndim == 4 else p])]
        # the precision is OpenVINO's to choose: what autocast adds to a trace it cannot always convert
        with torch.no_grad(), torch.autocast("cpu", enabled=False), warnings.catch_warnings():
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
            model = ov.convert_model(torch.jit.trace(_Residual(self.network), tuple(example), check_trace=False))
        shapes = [[1, x.shape[1], -1, -1], *([] if p is None else [[*p.shape[:2], -1, -1] if p.ndim == 4 else p.shape])]
        model.reshape({port: ov.PartialShape(list(shape)) for port, shape in zip(model.inputs, shapes, strict=True)})
        return ov.Core().compile_model(model, "CPU", self.options).create_infer_request()


class _Residual(nn.Module):
    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, *given: Tensor) -> Any:
        return self.network.residual(*given)


def _given(x: Tensor, p: Tensor | None) -> list[Tensor]:
    return [x] if p is None else [x, p]
