"""Simulation of whole volumes, using their headers."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from bioatt.core.errors import InputError
from bioatt.core.volume import Volume
from bioatt.simulation.acquisition import Scanner as PhantomScanner
from bioatt.simulation.acquisition import scan
from bioatt.simulation.tomography import kernel_named
from bioatt_training.simulate.insertion import Insertion, insert_noise
from bioatt_training.simulate.scanner import Scanner

log = logging.getLogger(__name__)


def insert_into(
    volume: Volume,
    *,
    dose: float,
    kernel: str = "auto",
    noise_hu: float | None = None,
    fast: bool = False,
    seed: int = 0,
    device: str = "cpu",
) -> tuple[Insertion, str]:
    """Apply `insert_noise` to a canonical volume; also returns a one-line summary.

    If the noise spectrum cannot be measured, "auto" falls back to the kernel named in the header. Raises InputError
    like `insert_noise`, and if "auto" fails and the header names no known kernel.
    """
    scanner = Scanner().faster() if fast else Scanner()

    def inserted(choice: str) -> Insertion:
        return insert_noise(
            volume.hu,
            volume.pixel_mm,
            dose_fraction=dose,
            kernel=choice,
            rng=seed,
            noise_hu=noise_hu,
            slice_thickness_mm=volume.acquisition.slice_thickness_mm,
            spacing_mm=volume.spacing[2],
            scanner=scanner,
            device=device,
        )

    try:
        result = inserted(kernel)
    except InputError as error:
        named = volume.acquisition.kernel
        if kernel != "auto" or "spectrum" not in str(error) or not named:
            raise
        kernel_named(named)
        log.warning("%s; using the kernel from the header", error)
        result = inserted(named)
    k = result.kernel
    return result, (
        f"Noise inserted to dose fraction {dose:g}: scan's own noise {np.median(result.noise_full):.1f} HU,"
        f" kernel {k.name} (f50 {k.f50:.2f}/mm, f10 {k.f10:.2f}/mm)"
    )


def scan_phantom(volume: Volume, *, dose: float, kernel: str = "auto", seed: int = 0) -> tuple[np.ndarray, str]:
    """Low-dose scan (z, y, x) HU of a noise-free body, under automatic exposure control; kernel "auto" is B30."""
    name = kernel_named("B30" if kernel == "auto" else kernel).name
    _, (low,) = scan(volume, (dose,), scanner=replace(PhantomScanner(), kernel=name), seed=seed)
    return low.hu.astype(np.float32), f"Scan simulated at dose fraction {dose:g}, kernel {name}"
