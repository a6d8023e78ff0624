"""`run.sh check`: accuracy of the engine on a GPU against float64, behaviour when memory runs out, and speed.

Needs only torch, NumPy and SciPy; uses the shipped model and its prior if safetensors is installed, else the paper's
network with random weights. Each step's result is written and printed when it is available. Without a GPU, the same
steps run on the CPU, which tests the script.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt.core.body import body_mask, body_weight
from bioatt.core.errors import Cancelled
from bioatt.core.hu import OFFSET_HU, SCALE_HU
from bioatt.core.volume import Volume
from bioatt.inference.denoiser import Denoiser, Result
from bioatt.inference.models import TrainedModel, load_model
from bioatt.inference.run import placed
from bioatt.io.files import atomic_write
from bioatt.network import BioAttNetwork, build_network
from bioatt.priors import Prior

ROOT = Path(__file__).parents[2]
DESCRIPTORS = load_descriptor_set("paper17").descriptors
NOISE_HU = 30.0
HALF_HU, HALF_SHARE = 0.5, 0.999
TILE_HU, FLOAT32_HU = 0.01, 0.05
MEMORY_GB = 4.0
CANCEL_S = 2.0
WARM_UP, REPEATS = 3, 10


class Failed(Exception):
    """A step missed its tolerance; its figures are the exception's argument."""


def main() -> int:
    """Run the steps; exit status 1 if any failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", type=int, default=512, help="rows and columns of a slice")
    parser.add_argument("--large", type=int, default=2048, help="rows and columns of the slice that does not fit")
    parser.add_argument("--slices", type=int, default=300, help="slices of the volume")
    parser.add_argument("--filters", type=int, default=96, help="of the paper's network")
    parser.add_argument("--limit", type=float, default=115.0, help="seconds; the volume is as large as they allow")
    checks = Checks(parser.parse_args())
    for step in (
        checks.float64,
        checks.tiles,
        checks.half_precision,
        checks.short_of_memory,
        checks.cancel,
        checks.ceiling,
        checks.paper_network,
        checks.volume,
    ):
        checks.run(step.__name__, step)
    return 1 if any(one["state"] == "failed" for one in checks.found["steps"].values()) else 0


class Checks:
    """The steps, and their results so far in $OUT/check.json."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.device = args, torch.device(args.device)
        self.end = time.monotonic() + args.limit
        self.path = Path(os.environ.get("OUT", ROOT / "scratch" / "gpu")) / "check.json"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        name = torch.cuda.get_device_name(self.device) if self.on_gpu else self.device.type
        self.found: dict[str, Any] = {"device": name, "torch": torch.__version__, "options": vars(args), "steps": {}}
        self.paper = _paper_network(args.filters)
        self.shipped, self.found["shipped"] = _shipped(self.paper)
        print(f"check on {name}, torch {torch.__version__}\n\n| step | state | seconds | |\n| --- | --- | --- | --- |")

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a CUDA GPU."""
        return self.device.type == "cuda"

    def run(self, name: str, step: Callable[[], dict[str, Any]]) -> None:
        """Run one step; write and print its figures even if it fails."""
        start = time.monotonic()
        if start > self.end:
            found, state = {}, "left out"
        else:
            try:
                found, state = step(), "good"
            except Failed as error:
                found, state = error.args[0], "failed"
            except Exception as error:  # a failure must not stop the next steps
                found, state = {"error": f"{type(error).__name__}: {error}"[:300]}, "failed"
        seconds = time.monotonic() - start
        self.found["steps"][name] = {"state": state, "seconds": seconds, **found}
        with atomic_write(self.path) as partial:
            partial.write_text(json.dumps(self.found, indent=1), encoding="utf-8")
        said = ", ".join(f"{key} {_number(value)}" for key, value in found.items())
        print(f"| {name} | {state} | {seconds:.1f} | {said} |")

    def float64(self) -> dict[str, Any]:
        """float32 on the device against float64 on the CPU."""
        x = torch.from_numpy(_standardised(_body(self.args.size // 4 * 2, 0)))[None, None]
        p = torch.full((1, len(DESCRIPTORS)), 1 / len(DESCRIPTORS))
        with torch.inference_mode():
            reference = copy.deepcopy(self.paper.network).double()(x.double(), p.double())
            network = placed(self.paper.network, self.device)
            with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
                output = network(x.to(self.device), p.to(self.device)).cpu().double()
        residual = (reference - x).norm()
        error = SCALE_HU * float((output - reference).abs().max())
        found = {"largest_hu": error, "relative": float((output - reference).norm() / residual)}
        return _judged(found, error <= FLOAT32_HU)

    def tiles(self) -> dict[str, Any]:
        """A tiled slice against the whole slice, float32."""
        volume = _volume(1, self.args.size)
        whole, tiled = (
            self._denoised(self.paper, volume, precision="fp32", tile=tile) for tile in (None, self.args.size // 3)
        )
        error = _largest(whole, tiled)
        return _judged({"largest_hu": error}, error <= TILE_HU + 0.5 * (whole.volume.hu.dtype.kind == "i"))

    def half_precision(self) -> dict[str, Any]:
        """Half precision against float32 within the body, by model and data type."""
        volume = replace(_volume(2, self.args.size), storage="float32")
        body = np.stack([body_mask(image.astype(np.float32)) for image in volume.hu])
        found: dict[str, Any] = {}
        good = True
        for model in {one.name: one for one in (self.shipped, self.paper)}.values():
            exact = self._denoised(model, volume, precision="fp32").volume.hu[body]
            for precision in ("auto", "bf16", "fp16") if self.on_gpu else ("auto",):
                result = self._denoised(model, volume, precision=precision)
                error = np.abs(result.volume.hu[body] - exact)
                share = float(np.mean(error <= HALF_HU))
                key = f"{model.name}_{precision}" + (f"_{result.precision}" if precision == "auto" else "")
                found[key] = {"share": share, "p999_hu": float(np.quantile(error, 0.999))}
                good = good and (share >= HALF_SHARE or precision != "auto")
        return _judged(found, good)

    def short_of_memory(self) -> dict[str, Any]:
        """A slice that exceeds the memory is processed in tiles on the device, with the same result."""
        volume = _volume(1, self.args.large)
        enough = self._denoised(self.paper, volume, precision="fp32")
        with _memory(self.device, self.paper, self.args.large):
            short = self._denoised(self.paper, volume, precision="fp32")
        said = [text for text in short.warnings if "memory" in text]
        error = _largest(enough, short)
        found = {"largest_hu": error, "device": short.device, "warnings": said}
        return _judged(found, bool(said) and "CPU" not in " ".join(said) and error <= 1)

    def cancel(self) -> dict[str, Any]:
        """A cancelled run ends within CANCEL_S."""
        denoiser, volume = self._denoiser(self.paper), _volume(max(self.args.slices, 50), self.args.size)
        asked = time.monotonic() + 0.2
        try:
            denoiser.denoise(volume, cancelled=lambda: time.monotonic() > asked)
        except Cancelled:
            seconds = time.monotonic() - asked
            return _judged({"after_s": seconds}, seconds <= CANCEL_S)
        raise Failed({"after_s": "never"})

    def ceiling(self) -> dict[str, Any]:
        """Throughput of one large 5×5 convolution of the paper's width, run as in the engine and in training."""
        size, batch = (128, 32) if self.on_gpu else (48, 2)
        filters = self.args.filters
        dtype = torch.bfloat16 if self.on_gpu else torch.float32
        layer = torch.nn.Conv2d(filters, filters, 5).to(self.device, dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        x = torch.randn(batch, filters, size, size, device=self.device, dtype=dtype)
        x = x.contiguous(memory_format=torch.channels_last)
        torch.backends.cudnn.benchmark = True
        with torch.inference_mode():
            seconds = self._seconds(lambda: layer(x))
        torch.backends.cudnn.benchmark = False
        flops = 2 * 25 * filters**2 * batch * (size - 4) ** 2
        self.ceiling_flops = flops / seconds
        return {"tflops": self.ceiling_flops / 1e12, "dtype": str(dtype).removeprefix("torch.")}

    def paper_network(self) -> dict[str, Any]:
        """Steady-state throughput of the paper's network on slices in device memory, and its share of the ceiling."""
        network = placed(self.paper.network, self.device)
        p = torch.full((1, len(DESCRIPTORS)), 1 / len(DESCRIPTORS), device=self.device)
        x = torch.from_numpy(_standardised(_body(self.args.size, 0)))[None, None].to(self.device)
        mixed = torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.on_gpu)
        with torch.inference_mode(), mixed:
            with FlopCounterMode(display=False) as counter:
                network(x, p)
            seconds = self._seconds(lambda: network(x, p))
        flops = counter.get_total_flops()
        rate = flops / seconds
        found = {"slices_per_s": 1 / seconds, "tflop_a_slice": flops / 1e12, "tflops": rate / 1e12}
        return found | ({"of_ceiling": rate / self.ceiling_flops} if hasattr(self, "ceiling_flops") else {})

    def volume(self) -> dict[str, Any]:
        """Time to denoise a volume, memory to memory, with the shipped model and prior; time of the body mask."""
        with_prior = "maps" if self.found["shipped"] else None
        denoiser = self._denoiser(self.shipped, with_prior)
        few = min(8, self.args.slices)
        volume = _volume(self.args.slices, self.args.size)
        denoiser.denoise(volume.part(range(1)))  # warm up
        first = denoiser.denoise(volume.part(range(few))).seconds / few
        count = max(min(self.args.slices, int((self.end - time.monotonic()) / first * 0.8)), few)
        result = denoiser.denoise(volume.part(range(count)))
        image = volume.hu[0].astype(np.float32)
        mask_s = statistics.median(_timed(lambda: body_weight(image)) for _ in range(3))
        return {
            "model": self.shipped.name,
            "prior": with_prior or "uniform",
            "slices": count,
            "seconds": result.seconds,
            "ms_a_slice": 1000 * result.seconds / count,
            "of_it_body_mask_ms": 1000 * mask_s,
            "precision": result.precision,
        }

    def _denoiser(self, model: TrainedModel, prior: str | None = None, **options: Any) -> Denoiser:
        return Denoiser(model, prior=prior or _Uniform(), device=str(self.device), **options)

    def _denoised(self, model: TrainedModel, volume: Volume, **options: Any) -> Result:
        return self._denoiser(model, **options).denoise(volume, strength=1.0)

    def _seconds(self, work: Callable[[], object]) -> float:
        """Median of several synchronised calls after a warm-up."""

        def waited() -> None:
            work()
            if self.on_gpu:
                torch.cuda.synchronize(self.device)

        for _ in range(WARM_UP if self.on_gpu else 1):
            waited()
        return statistics.median(_timed(waited) for _ in range(REPEATS if self.on_gpu else 2))


class _Uniform:
    """Equal probabilities of DESCRIPTORS, like `UniformPrior`."""

    def probabilities(self, volume: Volume, *, cancelled: Callable[[], bool] | None = None) -> Prior:
        p = np.full((volume.shape[0], len(DESCRIPTORS)), 1 / len(DESCRIPTORS), np.float32)
        return Prior(p, DESCRIPTORS, "uniform", volume.slice_ids)


@contextmanager
def _memory(device: torch.device, model: TrainedModel, side: int) -> Iterator[None]:
    """Limit a GPU to MEMORY_GB; on a CPU, the network raises an out-of-memory error for more than `side` columns."""
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(min(MEMORY_GB * 2**30 / total, 1.0), index)
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, index)
        return

    network = model.network
    whole = network.residual

    def refuse(x: Tensor, *rest: Any) -> Tensor:
        if x.shape[-1] > side:
            raise RuntimeError("out of memory (pretended)")
        return whole(x, *rest)

    network.residual = refuse  # type: ignore[method-assign]
    try:
        yield
    finally:
        del network.residual


def _paper_network(filters: int) -> TrainedModel:
    """The paper's network with random weights, the last layer scaled so that the residual is as large as noise."""
    torch.manual_seed(0)
    network: BioAttNetwork = build_network("bioatt", filters, len(DESCRIPTORS)).eval()
    x = torch.from_numpy(_standardised(_body(96, 0)))[None, None]
    with torch.inference_mode():
        change = network(x, torch.full((1, len(DESCRIPTORS)), 1 / len(DESCRIPTORS))) - x
    with torch.no_grad():
        for parameter in network.decoder[-1].parameters():  # type: ignore[union-attr,operator,index]
            parameter *= NOISE_HU / SCALE_HU / float(change.std())
    metadata = {"descriptors": DESCRIPTORS, "descriptor_set": "paper17", "training": {}}
    return TrainedModel(network, metadata, "red_cnn", "")


def _shipped(paper: TrainedModel) -> tuple[TrainedModel, bool]:
    """The default model and True, or the paper's network and False if safetensors is not installed."""
    try:
        return load_model("bioatt"), True
    except ImportError:
        return paper, False


def _body(side: int, seed: int) -> np.ndarray:
    """An axial slice (side, side) in HU: an ellipse of soft tissue with lungs, bones and a spine, and noise."""
    rng = np.random.default_rng(seed)
    y, x = (np.mgrid[:side, :side] - (side - 1) / 2) / (side / 2)
    hu = np.full((side, side), -1000.0)
    hu[(x / 0.85) ** 2 + (y / 0.65) ** 2 < 1] = 40
    for centre in (-0.4, 0.4):
        hu[((x - centre) / 0.25) ** 2 + (y / 0.4) ** 2 < 1] = -850
    hu[(x / 0.1) ** 2 + ((y - 0.4) / 0.12) ** 2 < 1] = 500
    return hu + rng.normal(scale=NOISE_HU, size=hu.shape)


def _volume(slices: int, side: int) -> Volume:
    """A few different slices repeated; int16 HU, or float32 for up to two slices."""
    few = [_body(side, seed).astype(np.int16 if slices > 2 else np.float32) for seed in range(min(slices, 4))]
    return Volume(np.stack([few[k % len(few)] for k in range(slices)]), spacing=(0.75, 0.75, 1.5))


def _standardised(hu: np.ndarray) -> np.ndarray:
    return ((hu - OFFSET_HU) / SCALE_HU).astype(np.float32)


def _largest(one: Result, other: Result) -> float:
    return float(np.abs(one.volume.hu.astype(np.float64) - other.volume.hu).max())


def _judged(found: dict[str, Any], good: bool) -> dict[str, Any]:
    if not good:
        raise Failed(found)
    return found


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
