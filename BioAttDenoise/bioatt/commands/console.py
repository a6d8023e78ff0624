"""Terminal output of the commands: progress, warnings, summary."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bioatt.inference.denoiser import Result
    from bioatt.inference.slices import Progress


def with_progress(work: Callable[[Progress], Result], what: str) -> Result:
    """Run work(progress) behind a progress bar on stderr with the time left."""
    from tqdm import tqdm

    with tqdm(total=0, desc=what, unit="slice", leave=False, disable=None) as bar:

        def progress(fraction: float, done: int, total: int, eta_s: float | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return work(progress)


def print_warnings(warnings: Iterable[str]) -> None:
    """One line each on stderr."""
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)


def print_json(data: Any) -> None:
    """One JSON document, a line of standard output."""
    print(json.dumps(data))


def print_summary(result: Result, output: str, warnings: Iterable[str]) -> None:
    """Print the summary of a denoising; warnings go to stderr."""
    from bioatt.core.noise import median_noise
    from bioatt.core.provenance import strength_note

    print_warnings(warnings)
    before, after = median_noise(result.noise_before), median_noise(result.noise_after)
    slices = result.volume.shape[0]
    strength = strength_note(result.strength, result.organ_strength, result.strength_asked)
    print(
        f"{output}: {slices} slice{'s' * (slices != 1)} in {result.seconds:.1f} s on {result.device} "
        f"({result.way}), model {result.model.name}, "
        f"prior {result.prior.source if result.prior else 'none'}, {strength}"
    )
    if before > 0 and after >= 0:
        print(f"soft-tissue noise (9x9 px) {before:.1f} -> {after:.1f} HU ({100 * (after / before - 1):+.0f} %)")
    print("Research use only: not a medical device.")
