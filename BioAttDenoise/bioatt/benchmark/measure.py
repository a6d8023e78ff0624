"""One run of the benchmark: ceilings, every model by part, backend and precision, and other filters."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from bioatt.benchmark import ceilings
from bioatt.benchmark.baselines import Filter, filters
from bioatt.benchmark.clock import Times, Work, clocked, timed
from bioatt.benchmark.parts import NETWORK, PREPARATION, WHOLE, Steps, network_alone
from bioatt.compute.probe import clean_torso, probe
from bioatt.compute.tuning import candidates, cpu_name, machine
from bioatt.core.errors import InputError
from bioatt.core.metrics import psnr
from bioatt.core.noise import median_noise, noise_by_slice
from bioatt.core.volume import Volume
from bioatt.inference.assembly import make_denoiser
from bioatt.inference.denoiser import Denoiser
from bioatt.inference.models import load_model
from bioatt.inference.options import EngineOptions
from bioatt.io.images import write_volume

DRAWN_PX = 384
AROUND = ("prior", "noise level")


def benchmark(
    volume: Volume | None,
    *,
    reference: Volume | None = None,
    models: list[str],
    slices: int,
    rounds: int,
    others: bool = True,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Measure seconds per slice, as a dictionary for JSON.

    volume: None for a simulated one; its middle `slices` are used. reference: the volume at full dose or without noise,
    if available, for the PSNR of the middle slice; a simulated volume has its own ground truth. Raises InputError for a
    reference of a different shape.
    """
    if volume is not None and reference is not None and reference.shape != volume.shape:
        raise InputError(
            f"the reference has {reference.shape} voxels but the scan {volume.shape}: give one on the same grid"
        )
    scan = probe(DRAWN_PX, slices) if volume is None else _middle(volume, slices)
    count = scan.shape[0]
    image = scan.hu[count // 2].astype("float32")
    truth = clean_torso(DRAWN_PX) if volume is None else None
    if reference is not None:
        truth = _middle(reference, slices).hu[count // 2]
    found: dict[str, Any] = {
        "machine": {key: value for key, value in machine("").items() if key != "model"} | {"cpu": cpu_name()},
        "scan": {
            "drawn": volume is None,
            "shape_zyx": list(scan.shape),
            "rounds": rounds,
            "psnr_db": _psnr(truth, image),
        },
        "models": {},
    }
    say("ceilings")
    found["ceilings"] = _ceilings(timed(ceilings.works(), 5 * rounds))
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "scan.nrrd"
        write_volume(scan, file)
        for model in models:
            say(model)
            found["models"][model] = _model(model, file, Path(name), rounds, truth, found["ceilings"])
    if others:
        found["others"] = {}
        for what, work in filters(image, median_noise(noise_by_slice(scan.hu))).items():
            say(what)
            found["others"][what] = _filter(work, truth)
    return found


def _filter(work: Filter, truth: NDArray[Any] | None) -> dict[str, Any]:
    taken: list[Times] = []
    for _ in range(2):  # the first one warms up
        with clocked(taken):
            pixels = work()
    return {**vars(taken[1]), "psnr_db": _psnr(truth, pixels)}


def _psnr(truth: NDArray[Any] | None, image: NDArray[Any] | None) -> float | None:
    """PSNR in the soft-tissue window; None if there is nothing to compare."""
    return None if truth is None or image is None else psnr(truth, image)


def _middle(volume: Volume, slices: int) -> Volume:
    first = max((volume.shape[0] - slices) // 2, 0)
    return volume.part(range(first, min(first + slices, volume.shape[0])))


def _ceilings(times: dict[str, Times]) -> dict[str, float]:
    """GFLOP/s (wall time) by precision, and GB/s of a copy, counting reads and writes."""
    copy = times.pop("copy")
    return {
        **{f"{kind}_gflops": ceilings.FLOPS / one.wall / 1e9 for kind, one in times.items()},
        "copy_gb_s": 2 * ceilings.COPIED / copy.wall / 1e9,
    }


def _model(
    name: str, file: Path, folder: Path, rounds: int, truth: NDArray[Any] | None, most: dict[str, float]
) -> dict[str, Any]:
    chosen = make_denoiser(EngineOptions(name, device="cpu"))
    steps = Steps(chosen, file, folder)
    works, count = steps.works(), len(steps.result.hu)
    ways: dict[str, tuple[Denoiser, Work]] = {}
    for way in candidates():
        one = Denoiser(load_model(name), device="cpu", precision=way.precision, backend=way.backend)
        ways[str(way)] = one, network_alone(one, steps, way.threads)
    times = timed({**works, **{way: work for way, (_, work) in ways.items()}}, rounds)
    whole, network = times[WHOLE] / count, steps.network(times[PREPARATION]) / count
    parts = {part: times[part] / count for part in works if part != WHOLE} | {NETWORK: network}
    flops, moved = steps.counted()
    return {
        "way": str(chosen.way),
        "whole": vars(whole),
        "parts": {part: vars(one) for part, one in parts.items()},
        "psnr_db": _psnr(truth, steps.result.hu[count // 2]),
        "around_network": 1 - network.cpu / whole.cpu,
        "prior_and_noise_level": sum(parts[part].cpu for part in AROUND) / whole.cpu,
        "network_by_way": {way: vars(times[way] / count) for way in ways},
        "gflop_a_slice": flops / 1e9,
        "gb_a_slice": moved / 1e9,
        "of_fp32_ceiling": {
            way: flops / (times[way].wall / count) / 1e9 / most["fp32_gflops"] for way in ways if "float32" in way
        },
        "threads": torch.get_num_threads(),
    }
