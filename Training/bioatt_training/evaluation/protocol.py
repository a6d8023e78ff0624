"""The paper's protocol (§3.1, Table 1) as computed by its authors: patch by patch, on standardised values.

Every patch of the 9×9 grid of 55² passes through the unpadded network separately, without a halo, so most of its pixels
lack context. RMSE, PSNR and SSIM are of unclipped standardised values, (HU + 500)/500, at a data range of 1.0, which is
500 HU; SSIM with a 7×7 uniform window. Compare these values only with the paper's Table 1.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from bioatt.core.hu import OFFSET_HU, SCALE_HU
from bioatt.core.metrics import planes_ssim
from bioatt.network import BioAttNetwork
from bioatt.network.slab_unet import alone
from bioatt_training.fit.grid import PATCH, SIDE

METRICS = ("rmse", "psnr", "ssim")
DATA_RANGE = 1.0
BATCH = 16
Array = NDArray[np.float64]


def grid_patches(hu: NDArray) -> NDArray[np.float32]:
    """Patches (n, 55, 55) of a slice (y, x), row by row from the first corner, at most 9 × 9; n may be 0."""
    rows, columns = (min(length // PATCH, SIDE) for length in hu.shape)
    covered = np.asarray(hu[: rows * PATCH, : columns * PATCH], np.float32)
    return covered.reshape(rows, PATCH, columns, PATCH).swapaxes(1, 2).reshape(-1, PATCH, PATCH)


def denoised_patches(
    network: BioAttNetwork, low: NDArray[np.float32], p: NDArray[np.float32], noise_hu: float = math.nan
) -> NDArray[np.float32]:
    """Denoise HU patches (n, 55, 55) in float32; p (N,) is their slice's prior, noise_hu its noise level.

    For networks on blocks of pixels, patches are padded by reflection to the next multiple; networks with neighbours
    get none.
    """
    device = next(network.parameters()).device
    lacking = -PATCH % network.block
    outputs = []
    with torch.inference_mode():
        for first in range(0, len(low), BATCH):
            x = torch.from_numpy((low[first : first + BATCH, None] - OFFSET_HU) / SCALE_HU).to(device, torch.float32)
            x = functional.pad(x, (0, lacking, 0, lacking), mode="reflect")
            if network.neighbours:
                x = alone(x, noise_hu)
            rows = torch.from_numpy(np.tile(p, (len(x), 1))).to(device) if network.uses_prior else None
            output: Tensor = network(x, rows)
            outputs.append(output[:, 0, :PATCH, :PATCH].float().cpu().numpy())
    return np.concatenate(outputs) * np.float32(SCALE_HU) + np.float32(OFFSET_HU)


def patch_metrics(reference: NDArray, test: NDArray) -> dict[str, Array]:
    """RMSE, PSNR (dB) and SSIM of each patch, (n,) each, for patches (n, y, x) in HU."""
    a, b = ((np.asarray(hu, np.float64) - OFFSET_HU) / SCALE_HU for hu in (reference, test))
    squared = ((a - b) ** 2).mean(axis=(1, 2))
    with np.errstate(divide="ignore"):
        psnr = 10 * np.log10(DATA_RANGE**2 / squared)
    return {"rmse": np.sqrt(squared), "psnr": psnr, "ssim": planes_ssim(a, b, DATA_RANGE)}
