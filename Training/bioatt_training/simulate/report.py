"""The calibration report: `calibration.json`, `water.png`, `anatomy.png` and one picture per scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from bioatt.core.canonical import canonical
from bioatt.core.errors import InputError
from bioatt.io.files import make_folder
from bioatt.io.images import read_volume
from bioatt_training.reporting import write_json
from bioatt_training.simulate.calibration import WATER_COUNTS, WATER_KERNELS, anatomy, water_cylinder
from bioatt_training.simulate.figures import plot_anatomy, plot_example, plot_water
from bioatt_training.simulate.targets import study

MOST_SLICES = 12


def write_report(folder: Path, scans: Sequence[Path], *, dose: float, seed: int, say: Callable[[str], None]) -> None:
    """Measure, plot and print line by line. Scans that cannot be measured are left out with a message."""
    if not 0 < dose < 1:
        raise InputError(f"dose fraction {dose:g}: give a value between 0 and 1")
    make_folder(folder)
    waters = []
    for kernel in WATER_KERNELS:
        water = water_cylinder(kernel, seed=seed)
        waters.append(water)
        say(
            f"water {kernel:8s} slope {water.slope:+.3f} (theory -0.5)"
            f"  sigma inserted/direct {water.additivity:.3f} (1)"
            f"  counts solved/true {water.counts_solved / WATER_COUNTS:.3f} (1)"
            f"  peak direct {water.peaks[0]:.3f} inserted {water.peaks[1]:.3f} /mm"
        )
    plot_water(waters, folder / "water.png")
    targets = study(seed=seed)
    for row in targets:
        say(
            f"target {row['target']:26s} RMSE {row['rmse_hu']:5.1f} HU  noise left {row['noise_hu']:5.1f} HU"
            f"  blur {row['blur_hu']:5.1f} HU"
        )
    results, refused = [], {}
    for path in scans:
        try:
            volume = canonical(read_volume(path)).volume
            middle = volume.shape[0] // 2
            hu = volume.hu[max(middle - MOST_SLICES // 2, 0) :][:MOST_SLICES]
            one = anatomy(path.name, hu, volume.pixel_mm, dose=dose, seed=seed)
            picture = folder / f"{path.stem}.png"
            plot_example(path.name, hu[:5], volume.pixel_mm, min(2, len(hu) - 1), picture, dose=dose)
        except InputError as error:
            refused[path.name] = str(error)
            say(f"{path.name}: left out: {error}")
            continue
        results.append(one)
        say(
            f"{one.name[:28]:28s} sigma scan {one.sigma_scan:5.1f}  inserted/predicted "
            f"{one.sigma_inserted / one.sigma_predicted:.3f}  local ratio {one.ratio:.2f} ({one.ratio_predicted:.2f})"
            f"  peak inserted/scan {one.peak_inserted / one.peak_scan:.3f}  streaks {one.streaks:.2f}"
        )
    if results:
        plot_anatomy(results, folder / "anatomy.png")
    tables = {
        "water": [{k: np.asarray(v).tolist() for k, v in asdict(water).items()} for water in waters],
        "targets": targets,
        "anatomy": [asdict(one) for one in results],
        "left_out": refused,
        "dose": dose,
        "seed": seed,
    }
    write_json(folder / "calibration.json", tables)
