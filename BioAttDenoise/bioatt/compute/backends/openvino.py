"""OpenVINO backend for the CPU, from a PyTorch trace of the network; results equal PyTorch's up to rounding.

OpenVINO's telemetry is disabled before the import.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bioatt.compute.device import Compute
from bioatt.core.errors import Cancelled, InputError
from bioatt.io.files import atomic_write, make_folder

_PRECISIONS = {"fp32": "f32", "bf16": "bf16"}
_ASK_EVERY_MS = 20
_TRACED_PX = 64
_MOST_KEPT = 8
"""Maximum number of converted networks in a folder; the oldest are removed first."""
log = logging.getLogger(__name__)


def import_openvino() -> Any:
    """Import `openvino` without its telemetry, which would report the use over the network."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # makes importing it fail
    import openvino

    return openvino


class OpenVinoNetwork:
    """`network.residual(x, p)` for one slice at a time, compiled at the first call.

    network: on the CPU. kept: cache folder for converted networks; None for no cache. `cancelled` is polled during
    computation.
    """

    def __init__(self, network: nn.Module, compute: Compute, threads: int, kept: Path | None = None) -> None:
        self.network = network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self.options = {
            "INFERENCE_PRECISION_HINT": _PRECISIONS[compute.precision],  # the default is bf16 if the CPU has it
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        self.kept = kept
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
                with suppress(RuntimeError):  # raised because it was cancelled
                    request.wait()
                raise Cancelled("cancelled")
        return torch.from_numpy(request.get_output_tensor().data.copy())

    def _compiled(self, x: Tensor, p: Tensor | None) -> Any:
        """Compile the network, from the cache if possible, and create an inference request."""
        core = import_openvino().Core()
        path = None if self.kept is None else self.kept / f"{self._fingerprint(x, p)}.blob"
        if path is not None and (blob := _read(path)):
            with suppress(RuntimeError):  # from another version: convert again
                return core.import_model(blob, "CPU", self.options).create_infer_request()
        compiled = core.compile_model(self._converted(x, p), "CPU", self.options)
        if path is not None:
            _keep(path, compiled.export_model().getvalue())
        return compiled.create_infer_request()

    def _converted(self, x: Tensor, p: Tensor | None) -> Any:
        ov = import_openvino()
        side = slice(0, _TRACED_PX)
        example = [x[..., side, side], *([] if p is None else [p[..., side, side] if p.ndim == 4 else p])]
        # OpenVINO sets the precision; it cannot always convert the operations that autocast adds to a trace
        with torch.no_grad(), torch.autocast("cpu", enabled=False), warnings.catch_warnings():
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
            model = ov.convert_model(torch.jit.trace(_Residual(self.network), tuple(example), check_trace=False))
        shapes = [[1, x.shape[1], -1, -1], *([] if p is None else [[*p.shape[:2], -1, -1] if p.ndim == 4 else p.shape])]
        model.reshape({port: ov.PartialShape(list(shape)) for port, shape in zip(model.inputs, shapes, strict=True)})
        return model

    def _fingerprint(self, x: Tensor, p: Tensor | None) -> str:
        """Hash of everything that the compiled network depends on: programs, options, shapes, code and weights."""
        shape = None if p is None else (p.ndim, p.shape[1])
        versions = import_openvino().__version__, torch.__version__
        found = hashlib.sha256(repr((versions, self.options, x.shape[1], shape)).encode())
        for source in sorted(Path(inspect.getfile(type(self.network))).parent.glob("*.py")):
            found.update(source.read_bytes())
        for name, value in self.network.state_dict().items():
            found.update(name.encode() + value.numpy().tobytes())
        return found.hexdigest()[:32]


def _read(path: Path) -> bytes | None:
    """Read a cached network; None if there is none or its checksum is wrong."""
    with suppress(OSError):
        content = path.read_bytes()
        digest, blob = content[:32], content[32:]
        if hashlib.sha256(blob).digest() == digest:
            return blob
    return None


def _keep(path: Path, blob: bytes) -> None:
    """Cache a network with its checksum; if that fails, the next process converts it again."""
    try:
        make_folder(path.parent)
        with atomic_write(path) as partial:
            partial.write_bytes(hashlib.sha256(blob).digest() + blob)
        for old in sorted(path.parent.glob("*.blob"), key=lambda one: one.stat().st_mtime)[:-_MOST_KEPT]:
            old.unlink(missing_ok=True)
    except (OSError, InputError) as error:
        log.info("the converted network was not cached: %s", error)


class _Residual(nn.Module):
    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, *given: Tensor) -> Any:
        return self.network.residual(*given)


def _given(x: Tensor, p: Tensor | None) -> list[Tensor]:
    return [x] if p is None else [x, p]
