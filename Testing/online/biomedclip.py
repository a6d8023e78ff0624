"""Compare BiomedCLIP's p of publicly available slices with a stored table; needs internet access.

    bioatt models download biomedclip --yes && python Testing/online/biomedclip.py [--tcia]

The slices are simulated torsos with fixed seeds and, with --tcia, every tenth slice of a public series downloaded with
the package idc-index. If no table is stored, the script writes it; else it compares, with exit status 1 if p differs.
The table holds the descriptors, the SHA-256 of the weights, and p of each slice without smoothing along z.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt.core.canonical import canonical
from bioatt.core.errors import BioAttError, InputError
from bioatt.core.volume import Volume
from bioatt.io.files import atomic_write, read_json
from bioatt.io.images import read_volume
from bioatt.priors import build_prior
from bioatt.priors.biomedclip.files import find_files
from bioatt.simulation.phantom import torso

TABLE = Path(__file__).with_name("biomedclip_paper17.json")
SEEDS, SLICES = (1, 2), 6
SERIES = {"CRLM-CT-1004": "1.3.6.1.4.1.14519.5.2.1.9203.8273.254242588659825836950462054011"}
"""A patient of Colorectal-Liver-Metastases (CC BY 4.0, 10.7937/QXK2-QG03), and the series UID."""
EVERY = 10
TOLERANCE = 0.02
"""For each probability; differences between processors and library versions are smaller."""


def main(argv: list[str] | None = None) -> int:
    """Compute p, then compare it or write the table; exit status 1 if p differs, 2 for a wrong input."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--tcia", action="store_true", help="slices of a public series too (needs idc-index)")
    args = parser.parse_args(argv)
    try:
        found = computed(slices(args.tcia))
        if not args.table.exists():
            with atomic_write(args.table) as partial:
                partial.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            print(f"no table was stored: {args.table.name} written with {len(found['p'])} slices")
            return 0
        differing = differences(found, read_json(args.table, "table"))
    except BioAttError as error:
        print(f"biomedclip: {error}", file=sys.stderr)
        return 2
    print("\n".join(differing) or f"p of {len(found['p'])} slices is that of {args.table.name}")
    return int(bool(differing))


def slices(tcia: bool) -> dict[str, Volume]:
    """Single-slice volumes by name."""
    volumes = {f"torso {seed}": torso(seed, SLICES, 512, pixel_mm=0.8)[0] for seed in SEEDS}
    found = {f"{name}, slice {k}": one.part(range(k, k + 1)) for name, one in volumes.items() for k in range(SLICES)}
    for name, series in SERIES.items() if tcia else ():
        volume = canonical(_fetched(series)).volume
        found |= {f"{name}, slice {k}": volume.part(range(k, k + 1)) for k in range(0, volume.shape[0], EVERY)}
    return found


def computed(volumes: dict[str, Volume]) -> dict[str, Any]:
    """The table: descriptors, weights, and p by slice."""
    descriptors = load_descriptor_set("paper17")
    prior = build_prior("biomedclip", descriptors=descriptors, smoothing=False)
    p = {name: np.asarray(prior.probabilities(volume).p)[0] for name, volume in volumes.items()}
    return {
        "descriptors": list(descriptors.descriptors),
        "prompts_sha256": descriptors.text_hash,
        "weights_sha256": find_files().weights_id(),
        "p": {name: [round(float(value), 5) for value in row] for name, row in p.items()},
    }


def differences(found: dict[str, Any], stored: dict[str, Any]) -> list[str]:
    """One line per difference between the tables; slices in only one of them are ignored."""
    if not (isinstance(stored, dict) and found.keys() <= stored.keys()):
        raise InputError("the table is none of this program: name another, or remove it")
    if found["prompts_sha256"] != stored["prompts_sha256"]:
        return ["the descriptors or their prompts are others than the table's: remove it and write it anew"]
    lines = []
    if found["weights_sha256"] != stored["weights_sha256"]:
        lines.append(f"weights {found['weights_sha256'][:12]}, the table's are {stored['weights_sha256'][:12]}")
    for name in found["p"].keys() & stored["p"].keys():
        here, there = np.array(found["p"][name]), np.array(stored["p"][name])
        if np.abs(here - there).max() > TOLERANCE:
            top = [found["descriptors"][int(row.argmax())] for row in (here, there)]
            lines.append(f"{name}: {top[0]} {here.max():.3f}, the table has {top[1]} {there.max():.3f}")
    return sorted(lines)


def _fetched(series: str) -> Volume:
    try:
        from idc_index import IDCClient
    except ImportError:
        raise InputError("--tcia needs the package idc-index: pip install idc-index") from None
    with tempfile.TemporaryDirectory() as folder:
        IDCClient().download_from_selection(downloadDir=folder, seriesInstanceUID=series)
        files = list(Path(folder).rglob("*.dcm"))
        if not files:
            raise InputError(f"series {series} could not be fetched: try again later, or leave --tcia out")
        return read_volume(files[0].parent)


if __name__ == "__main__":
    sys.exit(main())
