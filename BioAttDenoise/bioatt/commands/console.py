"""Output of the commands: progress, warnings, the summary, and text for the terminal or a file."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
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
    """Print each warning on a line of stderr."""
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)


def print_json(data: Any) -> None:
    """Print a JSON document as one line of standard output."""
    print(json.dumps(data))


def check_text_places(places: Iterable[str | Path | None], *read: Path, overwrite: bool) -> None:
    """Check before any work that a text file can be written at each place; "-" is standard output, None no output.

    Raises InputError if a file cannot be written, or if it would replace one in `read` or at another place.
    """
    from bioatt.io.outputs import check_file_place

    others = [*read]
    for place in places:
        if place is not None and place != "-":
            check_file_place(Path(place), *others, overwrite=overwrite)
            others.append(Path(place))


def write_text(place: str | None, text: str) -> None:
    """Write a text to a file atomically, or to standard output if the place is "-"; None writes nothing."""
    from bioatt.io.files import atomic_write

    if place == "-":
        print(text, end="")
    elif place is not None:
        with atomic_write(Path(place)) as partial:
            partial.write_text(text, encoding="utf-8")


def print_summary(result: Result, output: str, warnings: Iterable[str]) -> None:
    """Print the summary of a denoising run; warnings go to stderr."""
    from bioatt.core.provenance import strength_note

    print_warnings(warnings)
    slices = result.volume.shape[0]
    strength = strength_note(result.strength, result.organ_strength, result.strength_asked)
    print(
        f"{output}: {slices} slice{'s' * (slices != 1)} in {result.seconds:.1f} s on {result.device} "
        f"({result.way}), model {result.model.name}, "
        f"prior {result.prior.source if result.prior else 'none'}, {strength}"
    )
    if result.noise is not None:
        before, after = result.noise
        print(f"noise in soft tissue {before:.1f} -> {after:.1f} HU ({100 * (after / before - 1):+.0f} %)")
    print("Research use only: not a medical device.")
