"""Conventions for training targets, and the noise and blur each leaves in the output.

Noise n2 is inserted into a scan t + n1 with its own noise, so the input is x = t + n1 + n2. With the scan itself as
target, the optimal output retains the dose fraction of the input's noise: E[t + n1 | x] = (1 − a) E[t | x] + a x.
Mayo's pairs follow the same convention. `noisier2noise` removes this part from an output (Moran 2020,
10.1109/CVPR42600.2020.01208, for variances in this proportion); `softened` creates a target with less noise; a
phantom's target has none.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import gaussian_filter

from bioatt.core.body import body_mask
from bioatt.simulation.phantom import torso
from bioatt.simulation.tomography import Kernel, fbp, hu_to_mu, kernel_named, mu_to_hu, project
from bioatt_training.simulate.direct import scan_body
from bioatt_training.simulate.insertion import insert_noise
from bioatt_training.simulate.scanner import Scanner

REACH, CLASSES = 5, 6
COUNTS = 3e5


def noisier2noise(denoised: np.ndarray, low: np.ndarray, dose: float) -> np.ndarray:
    """Output without the noise retained by a network trained on `dose` with the scan as target; HU, any shape."""
    return (denoised - dose * low) / (1 - dose)


def softened(hu: np.ndarray, pixel_mm: float, own: Kernel, wanted: Kernel) -> np.ndarray:
    """hu (z, y, x) as reconstructed with a smoother kernel: spectra times min(1, wanted/own). Never sharper."""
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(n, pixel_mm) for n in hu.shape[1:]], indexing="ij"))
    ratio = wanted.response(frequency) / np.maximum(own.response(frequency), 1e-6)
    return np.fft.ifft2(np.fft.fft2(hu) * np.minimum(ratio, 1)).real.astype(np.float32)


def study(*, dose: float = 0.25, slices: int = 6, seed: int = 0) -> list[dict[str, float | str]]:
    """Evaluate each convention on phantoms with known ground truth: root mean square error and remaining noise in HU.

    The denoiser is the optimal local filter for the mean squared error (11×11 pixels, fitted by least squares in six
    classes of local contrast on one torso, evaluated on another), so only the convention differs. noise: of the output
    in flat regions. blur: error of the output for a noise-free input.
    """
    kernel, pixel_mm = kernel_named("B40"), 1.0
    parts = []
    for number in (seed, seed + 1):
        body, _ = torso(number, slices)
        hu, pixel_mm = body.hu.astype(np.float32), body.pixel_mm
        scanner = Scanner().faster()
        views = project(hu_to_mu(hu), pixel_mm, scanner.geometry)
        truth = mu_to_hu(fbp(views, scanner.geometry, hu.shape[1:], pixel_mm, kernel, upsample=2))
        (full,) = scan_body(hu, pixel_mm, counts=COUNTS, doses=(1.0,), kernel=kernel, rng=number, scanner=scanner)
        low = insert_noise(full, pixel_mm, dose_fraction=dose, kernel=kernel, rng=number, scanner=scanner).hu_low
        parts.append((truth, full, low))
    (truth, full, low), (truth_test, full_test, low_test) = parts
    soft = softened(full, pixel_mm, kernel, kernel_named("B10"))
    inside = np.stack([body_mask(plane) for plane in truth_test])
    flat = inside & (abs(truth_test - gaussian_filter(truth_test, (0, 3, 3))) < 2)

    def row(name: str, apply: Callable[[np.ndarray], np.ndarray]) -> dict[str, float | str]:
        output, clean = apply(low_test), apply(truth_test)
        error, blur = (np.clip(image, -160, 240) - np.clip(truth_test, -160, 240) for image in (output, clean))
        return {
            "target": name,
            "rmse_hu": float(np.sqrt((error[inside] ** 2).mean())),
            "noise_hu": float((output - clean)[flat].std()),
            "blur_hu": float(np.sqrt((blur[inside] ** 2).mean())),
        }

    original = _fitted(low, full)
    return [
        row("none (the input)", lambda image: image),
        row("none (the scan itself)", lambda image: full_test if image is low_test else image),
        row("original", original),
        row("original, Noisier2Noise", lambda image: noisier2noise(original(image), image, dose)),
        row("softer kernel (B10)", _fitted(low, soft)),
        row("noise-free (phantom)", _fitted(low, truth)),
    ]


def _fitted(low: np.ndarray, target: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The filters by class that map `low` to `target` with minimal squared error."""
    edges = np.quantile(_contrast(low), np.linspace(0, 1, CLASSES + 1)[1:-1])
    taps = (2 * REACH + 1) ** 2
    filters = np.zeros((CLASSES, taps))
    classes = np.digitize(_contrast(low), edges)
    for number in range(CLASSES):
        normal, right = np.zeros((taps, taps)), np.zeros(taps)
        for plane, wanted, members in zip(low, target, classes == number, strict=True):
            rows = _neighbourhoods(plane)[members].reshape(-1, taps).astype(np.float64)
            normal += rows.T @ rows
            right += rows.T @ wanted[members]
        filters[number] = np.linalg.solve(normal + 1e-3 * np.trace(normal) / taps * np.eye(taps), right)

    def apply(image: np.ndarray) -> np.ndarray:
        member = np.digitize(_contrast(image), edges)
        planes = [
            np.einsum("yxk,yxk->yx", _neighbourhoods(plane).reshape(*plane.shape, taps), filters[chosen], optimize=True)
            for plane, chosen in zip(image, member, strict=True)
        ]
        return np.stack(planes).astype(np.float32)

    return apply


def _contrast(image: np.ndarray) -> np.ndarray:
    """Gradient magnitude of the smoothed slices, which separates flat tissue from edges."""
    smooth = gaussian_filter(image, (0, 2, 2))
    return np.hypot(np.gradient(smooth, axis=1), np.gradient(smooth, axis=2))


def _neighbourhoods(plane: np.ndarray) -> np.ndarray:
    """(y, x, 11, 11) around each pixel."""
    return sliding_window_view(np.pad(plane, REACH, mode="edge"), (2 * REACH + 1, 2 * REACH + 1))
