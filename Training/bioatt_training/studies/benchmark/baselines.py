"""Classical filters as baselines, each provided with the slice's noise level and tuned on other patients.

bm3d (non-commercial licence), antspyx and scikit-image come with the extra [benchmark].
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from unittest.mock import patch

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from bioatt_training.studies.benchmark.images import Image

Grid = Mapping[str, Sequence[float]]
Setting = tuple[tuple[str, float], ...]
STRENGTHS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7)
"""Fractions of a filter's change to try when the strength is tuned as well."""
BLENDED = ", blended"
"""Suffix of filters with a tuned strength: against a noisy reference, retaining some noise raises the PSNR."""


def bm3d(image: Image, *, scale: float) -> NDArray[np.float64]:
    """Block matching (Dabov 2007, 10.1109/TIP.2007.901238) for white noise of `scale` times the measured σ."""
    import bm3d

    return bm3d.bm3d(image.hu.astype(np.float64), scale * image.noise.sigma)


def bm3d_coloured(image: Image, *, scale: float) -> NDArray[np.float64]:
    """Block matching for correlated noise (Mäkinen 2020, 10.1109/TIP.2020.3014721) of the measured spectrum."""
    import bm3d

    power = image.noise.spectrum((image.hu.shape[0], image.hu.shape[1]), image.pixel_mm)
    # bm4d 4.2.5 calls a function that numpy 2.4 no longer has
    with patch.object(np, "trapz", np.trapezoid, create=True):
        return bm3d.bm3d(image.hu.astype(np.float64), scale**2 * power)


def nlm(image: Image, *, scale: float, patch_px: float) -> NDArray[np.float32]:
    """Non-local means (Buades 2005) of scikit-image, search radius 7 pixels, h = `scale` times σ."""
    from skimage.restoration import denoise_nl_means

    sigma = image.noise.sigma
    hu = image.hu.astype(np.float32)
    return denoise_nl_means(
        hu, patch_size=int(patch_px), patch_distance=7, h=scale * sigma, sigma=sigma, fast_mode=True
    )


def ants_nlm(image: Image, *, patch_radius: float, search_radius: float) -> NDArray[np.float32]:
    """ANTs' DenoiseImage (Manjón 2010, 10.1002/jmri.22003), Gaussian noise; it estimates the noise level itself."""
    import ants

    found = ants.denoise_image(
        ants.from_numpy(image.hu.astype(np.float32)), p=int(patch_radius), r=int(search_radius), noise_model="Gaussian"
    )
    return found.numpy()


def curvature_diffusion(image: Image, *, conductance: float, iterations: float) -> NDArray[np.float32]:
    """Curvature anisotropic diffusion of ITK, as available in Slicer."""
    return sitk.GetArrayFromImage(
        sitk.CurvatureAnisotropicDiffusion(
            sitk.GetImageFromArray(image.hu.astype(np.float32)),
            timeStep=0.0625,
            conductanceParameter=conductance,
            numberOfIterations=int(iterations),
        )
    )


def bilateral(image: Image, *, domain_px: float, scale: float) -> NDArray[np.float32]:
    """ITK's bilateral filter, range `scale` times σ."""
    return sitk.GetArrayFromImage(
        sitk.Bilateral(
            sitk.GetImageFromArray(image.hu.astype(np.float32)),
            domainSigma=domain_px,
            rangeSigma=scale * image.noise.sigma,
        )
    )


FILTERS: dict[str, Callable[..., NDArray[np.floating]]] = {
    "BM3D": bm3d,
    "BM3D, noise spectrum": bm3d_coloured,
    "NLM": nlm,
    "ANTs NLM": ants_nlm,
    "curvature diffusion": curvature_diffusion,
    "bilateral": bilateral,
}
GRIDS: dict[str, Grid] = {
    "BM3D": {"scale": (1.3, 1.6, 2.0, 2.5, 3.0)},
    "BM3D, noise spectrum": {"scale": (0.8, 1.0, 1.2, 1.5)},
    "NLM": {"scale": (0.4, 0.6, 0.8, 1.0, 1.3), "patch_px": (5, 7, 9)},
    "ANTs NLM": {"patch_radius": (1, 2, 3), "search_radius": (2, 3, 4)},
    "curvature diffusion": {"conductance": (1, 2, 4, 8), "iterations": (3, 6, 12, 24)},
    "bilateral": {"domain_px": (1.0, 1.5, 2.0, 3.0), "scale": (1.0, 1.5, 2.0, 3.0)},
}


def settings(name: str) -> list[Setting]:
    """All settings of a filter's grid."""
    grid = GRIDS[name]
    return [tuple(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


@dataclass(frozen=True)
class Baseline:
    """A filter at one setting."""

    filter: str
    setting: Setting
    strength: float = 1.0

    @property
    def name(self) -> str:
        """Name in tables."""
        return self.filter

    @property
    def identity(self) -> str:
        """Storage key of the measurements (its first word is part of stored keys)."""
        return f"peer {self.filter} {json.dumps(dict(self.setting), sort_keys=True)} {self.strength:g}"

    def __call__(self, image: Image) -> NDArray[np.float32]:
        """Filter the slice and apply the fraction `strength` of the change."""
        if self.strength != 1:
            return blended(image.hu, replace(self, strength=1.0)(image), self.strength)
        return np.asarray(FILTERS[self.filter](image, **dict(self.setting)), np.float32)


def blended(before: NDArray, after: NDArray, strength: float) -> NDArray[np.float32]:
    """before + strength · (after − before)."""
    return (before + strength * (after.astype(np.float32) - before)).astype(np.float32)


def missing() -> list[str]:
    """Packages of the extra [benchmark] that are not installed."""
    from importlib.util import find_spec

    return [name for name in ("bm3d", "ants", "skimage") if find_spec(name) is None]
