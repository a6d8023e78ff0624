"""Other installed filters, with default settings for Gaussian noise, on one slice."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bioatt.network import build_network

Filter = Callable[[], NDArray[Any] | None]
"""Filters a slice and returns it (y, x) in HU; None if only its time matters."""


def filters(image: NDArray[np.float32], noise_hu: float) -> dict[str, Filter]:
    """Filters for a slice (y, x) in HU. noise_hu: its noise SD, for filters that need it."""
    found = {"RED-CNN, 96 filters, PyTorch NCHW float32": _red_cnn(image), **_simpleitk(image)}
    for package, make in (("bm3d", _bm3d), ("skimage", _skimage), ("ants", _ants)):
        if importlib.util.find_spec(package) is not None:
            found |= make(image, noise_hu)
    return found


def _red_cnn(image: NDArray[np.float32]) -> Filter:
    """An untrained RED-CNN, run as in public repositories: PyTorch's default memory format and settings."""
    network = build_network("base", 96, 1, layout="red_cnn").eval()
    x = torch.from_numpy((image + 500) / 500)[None, None]

    def run() -> None:
        with torch.no_grad():
            network(x)

    return run


def _simpleitk(image: NDArray[np.float32]) -> dict[str, Filter]:
    import SimpleITK as sitk

    source = sitk.GetImageFromArray(image.astype(np.float32))
    pixels = sitk.GetArrayFromImage
    return {
        "SimpleITK CurvatureAnisotropicDiffusion": lambda: pixels(
            sitk.CurvatureAnisotropicDiffusion(source, timeStep=0.0625)
        ),
        "SimpleITK Bilateral": lambda: pixels(sitk.Bilateral(source)),
        "SimpleITK Median": lambda: pixels(sitk.Median(source, (2, 2))),
    }


def _bm3d(image: NDArray[np.float32], noise_hu: float) -> dict[str, Filter]:
    import bm3d

    return {"BM3D": lambda: bm3d.bm3d(image, noise_hu)}


def _skimage(image: NDArray[np.float32], noise_hu: float) -> dict[str, Filter]:
    from skimage.restoration import denoise_nl_means

    return {"NLM (scikit-image)": lambda: denoise_nl_means(image, sigma=noise_hu, h=0.8 * noise_hu)}


def _ants(image: NDArray[np.float32], _: float) -> dict[str, Filter]:
    import ants

    source = ants.from_numpy(image.astype(np.float32))  # the default noise model, Rician, is for MR magnitude images
    return {"ANTs DenoiseImage": lambda: ants.denoise_image(source, noise_model="Gaussian").numpy()}
