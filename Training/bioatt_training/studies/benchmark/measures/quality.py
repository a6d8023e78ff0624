"""Image quality against a reference, and its limits if the reference is noisy."""

from __future__ import annotations

import math

from numpy.typing import NDArray

from bioatt.core.metrics import TISSUES, WINDOWS, hu_bias, psnr, ssim
from bioatt.core.noise import noise_sd
from bioatt_training.studies.benchmark.truth import Case

WINDOW = WINDOWS["soft tissue"]


def quality(truth: NDArray, output: NDArray) -> dict[str, float]:
    """PSNR (dB) and SSIM in the soft-tissue window, bias in HU by tissue (NaN if absent), noise in HU."""
    bias = hu_bias(truth, output)
    return {
        "psnr_db": psnr(truth, output, WINDOW),
        "ssim": ssim(truth, output, WINDOW),
        "noise_hu": float(noise_sd(output)),
        **{f"bias_hu {tissue}": bias.get(tissue, math.nan) for tissue in TISSUES},
    }


def limits(case: Case, dose: float) -> dict[str, float]:
    """PSNR (dB) against the full-dose scan of a noise-free image, and of the best possible estimate.

    The scan is anatomy t plus noise n1 of variance v; the input has additional noise n2 of variance (1/a − 1) v. The
    error of the noise-free t is n1. An oracle that knows t estimates E[t + n1 | input] = t + a (input − t), with the
    error (1 − a) n1 − a n2 of variance (1 − a) v. This is 10 log10(1/a) dB above the input, and no method that sees
    only the input can do better. Both are measured with a noise field of that strength, so that the window clips as for
    the denoisers.
    """
    assert case.own_noise is not None
    noise = case.own_noise()
    return {
        "noise_free_db": psnr(case.truth, case.truth + noise, WINDOW),
        "oracle_db": psnr(case.truth, case.truth + math.sqrt(1 - dose) * noise, WINDOW),
    }
