"""How near an output is to the truth, and how near anything could come to a truth that is noisy itself."""

from __future__ import annotations

import math

from numpy.typing import NDArray

from bioatt.core.metrics import TISSUES, WINDOWS, hu_bias, psnr, ssim
from bioatt.core.noise import noise_sd
from bioatt_training.studies.benchmark.truth import Case

WINDOW = WINDOWS["soft tissue"]


def quality(truth: NDArray, output: NDArray) -> dict[str, float]:
    """PSNR (dB) and SSIM in the soft-tissue window, bias in HU by tissue (NaN where there is none), noise in HU."""
    bias = hu_bias(truth, output)
    return {
        "psnr_db": psnr(truth, output, WINDOW),
        "ssim": ssim(truth, output, WINDOW),
        "noise_hu": float(noise_sd(output)),
        **{f"bias_hu {tissue}": bias.get(tissue, math.nan) for tissue in TISSUES},
    }


def limits(case: Case, dose: float) -> dict[str, float]:
    """PSNR (dB) against the scan at full dose that a noise-free image would get, and the best that any image can.

    The scan is anatomy t plus noise n1 of variance v, the input has n2 of variance (1/a − 1) v more. The noise-free t
    is off by n1. An oracle that knows t answers with E[t + n1 | input] = t + a (input − t), off by (1 − a) n1 − a n2 of
    variance (1 − a) v: 10 log10(1/a) dB above the input, and nothing that sees the input alone does better. Both
    are measured with a noise field of the needed strength, so that the window clips as it does for the denoisers.
    """
    assert case.own_noise is not None
    noise = case.own_noise()
    return {
        "noise_free_db": psnr(case.truth, case.truth + noise, WINDOW),
        "oracle_db": psnr(case.truth, case.truth + math.sqrt(1 - dose) * noise, WINDOW),
    }
