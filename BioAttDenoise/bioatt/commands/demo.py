"""`bioatt demo`: phantom → simulated low-dose scan → denoised scan → metrics and figures. Needs no data."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bioatt.commands.options import add_engine_arguments, add_strength_arguments, chosen_strength, engine_options

if TYPE_CHECKING:
    import numpy as np

HELP = "denoise a simulated low-dose torso; write the scans, metrics and comparison.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `bioatt demo`."""
    parser.add_argument("folder", metavar="DIR", nargs="?", default="demo", help="output folder (default demo/)")
    parser.add_argument("--seed", type=int, default=1, help="phantom seed, 0 to 999 (never used in training)")
    parser.add_argument("--dose", type=float, default=0.25, help="dose fraction, above 0 up to 1 (default 0.25)")
    parser.add_argument("--kernel", default="B30", help="kernel, B10 (smooth) to B70 (sharp); default B30")
    parser.add_argument("--slices", type=int, default=26, help="number of slices (default 26)")
    parser.add_argument("--size", type=int, default=512, help="rows and columns of a slice (default 512)")
    add_strength_arguments(parser)
    add_engine_arguments(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace the files of an earlier demo in DIR")
    parser.add_argument("--json", action="store_true", help="print metrics.json instead of the table")


def run(args: argparse.Namespace) -> None:
    """Simulate, denoise and compare; the comparison reads the written files back."""
    from bioatt.commands.console import print_json, with_progress, write_text
    from bioatt.commands.evaluate import as_json, evaluate, table
    from bioatt.core.errors import InputError
    from bioatt.inference.assembly import make_denoiser
    from bioatt.io.files import make_folder
    from bioatt.io.images import read_volume, write_volume
    from bioatt.io.outputs import check_file_place

    try:
        from bioatt.simulation.acquisition import Scanner, scan
        from bioatt.simulation.phantom import LABELS, TRAINING_SEEDS_FROM, torso
    except ModuleNotFoundError as error:
        if error.name != "numba" and not (error.name or "").startswith("bioatt.simulation"):
            raise
        raise InputError("the demo needs the simulator: pip install 'bioatt[simulation]'") from error

    start = time.monotonic()
    if not 0 <= args.seed < TRAINING_SEEDS_FROM:
        raise InputError(f"--seed {args.seed}: give 0 to {TRAINING_SEEDS_FROM - 1}; training may have seen the others")
    if args.slices < 1 or args.size < 64:
        raise InputError("the demo needs at least 1 slice of 64 x 64 pixels: raise --slices or --size")
    if not 0 < args.dose <= 1:
        raise InputError(f"--dose {args.dose:g}: give a dose fraction above 0, up to 1")
    strength = chosen_strength(args)
    options = engine_options(args)
    denoiser = make_denoiser(options)
    folder = Path(args.folder)
    make_folder(folder)
    files = {name: folder / f"{name}.nrrd" for name in ("reference", "low", "denoised", "labels")}
    for path in (*files.values(), folder / "comparison.png", folder / "metrics.json"):
        check_file_place(path, *options.files(), overwrite=args.overwrite)
    say(f"phantom {args.seed}: {args.slices} slices of {args.size} x {args.size}")
    body, labels = torso(args.seed, args.slices, args.size, phase="portal")
    say(f"scan at {100 * args.dose:g} % dose, kernel {args.kernel}: projections, quantum noise, reconstruction")
    scanner = Scanner(kernel=args.kernel)
    reference, (low,) = scan(body, (args.dose,), scanner=scanner, seed=args.seed)
    write_volume(reference, files["reference"])
    write_volume(low, files["low"])
    write_volume(reference.with_hu(labels), files["labels"])
    low = read_volume(files["low"])
    result = with_progress(lambda progress: denoiser.denoise(low, strength=strength, progress=progress), "denoising")
    write_volume(result.volume, files["denoised"])

    reference, denoised = read_volume(files["reference"]), read_volume(files["denoised"])
    metrics = evaluate(reference, denoised, low)
    liver = _core(labels, LABELS["liver"])
    for role, volume in (("input", low), ("output", denoised)):
        difference = volume.hu[liver].astype(float) - reference.hu[liver]
        if difference.size:
            metrics[role]["liver"] = {"noise_hu": float(difference.std()), "bias_hu": float(difference.mean())}
    metrics["demo"] = {
        "phantom_seed": args.seed,
        "dose": args.dose,
        "kernel": args.kernel,
        "noise_index_hu": scanner.noise_index,
        "strength": result.strength,
        "model": result.model.name,
        "denoising_seconds": round(result.seconds, 2),
        "seconds": round(time.monotonic() - start, 2),
    }
    pictures(folder / "comparison.png", low.hu, denoised.hu, reference.hu, labels, args.dose)
    write_text(str(folder / "metrics.json"), as_json(metrics))
    for warning in result.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if args.json:
        print_json(metrics)
        return
    print(table({"low dose": metrics["input"], "denoised": metrics["output"]}))
    if "liver" in metrics["input"]:
        before, after = metrics["input"]["liver"], metrics["output"]["liver"]
        print(
            f"{'liver, against the reference':42s} {'noise, HU':9s}{before['noise_hu']:12.2f}{after['noise_hu']:12.2f}"
        )
    print(
        f"reference: the same scan without noise. Model {result.model.name}; phantom seed {args.seed} "
        f"(training uses seeds from {TRAINING_SEEDS_FROM})."
    )
    print(f"{folder}/: comparison.png, metrics.json, reference.nrrd, low.nrrd, denoised.nrrd, labels.nrrd")
    print(f"{time.monotonic() - start:.0f} s in total. Research use only: not a medical device.")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _core(labels: np.ndarray, value: int) -> np.ndarray:
    """Voxels of one label away from its edges, (z, y, x) bool."""
    from scipy.ndimage import binary_erosion

    return binary_erosion(labels == value, structure=[[[1] * 9] * 9])


def pictures(
    path: Path, low: np.ndarray, denoised: np.ndarray, reference: np.ndarray, labels: np.ndarray, dose: float
) -> None:
    """Write comparison.png: the liver with an enlarged lesion, and the lungs."""
    import numpy as np
    from scipy.ndimage import label

    from bioatt.core.metrics import WINDOWS
    from bioatt.io.comparison_figure import View, around, body_part, write_comparison
    from bioatt.simulation.phantom import LABELS

    lesion, vessels = labels == LABELS["liver lesion"], labels == LABELS["lung vessels"]
    # the slice with the most low-contrast lesion, and the one with the most lung vessels
    contrast = np.median(reference[labels == LABELS["liver"]]) - reference if lesion.any() else np.zeros(lesion.shape)
    lesion &= contrast < 60
    liver = int(np.argmax((np.clip(contrast, 0, 40) * lesion).sum((1, 2))))
    chest = int(np.argmax(vessels.sum((1, 2))))
    whole = body_part(reference[liver])
    views = [View(liver, title="soft tissue", part=whole)]
    if lesion[liver].any():
        pieces, count = label(lesion[liver])
        weight = np.bincount(pieces.ravel(), np.clip(contrast[liver], 0, 40).ravel(), minlength=count + 1)
        rows, columns = np.nonzero(pieces == 1 + int(np.argmax(weight[1:])))
        part = around((rows.mean(), columns.mean()), low.shape[1] // 5, low.shape[1:])
        views.append(View(liver, title="liver lesion", part=part))
    views.append(View(chest, WINDOWS["lung"], "lung", body_part(reference[chest])))
    titles = (f"{100 * dose:g} % dose", "denoised", "reference (no noise)")
    write_comparison(path, low, denoised, reference, views, titles=titles, footer="Simulated torso.")
