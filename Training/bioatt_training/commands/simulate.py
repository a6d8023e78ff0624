"""`bioatt-train simulate`: simulate low dose from normal dose, and report the validation of the simulation."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from bioatt.core.volume import Volume

HELP = "insert the noise of a lower dose into a CT, or report its agreement with theory (--report)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `bioatt-train simulate`."""
    from bioatt.commands.options import add_choice_arguments

    parser.add_argument(
        "input", metavar="IN", help="CT: .nrrd .nii.gz .mha or a DICOM folder; --report: folder of scans"
    )
    add_choice_arguments(parser)
    parser.add_argument("output", metavar="OUT", help="low-dose volume: .nrrd .nii.gz .mha; --report: output folder")
    parser.add_argument("--dose", type=float, default=0.25, help="dose fraction, 0 to 1 (default 0.25)")
    parser.add_argument("--kernel", default="auto", help="B10 to B70, D45, LUNG, a vendor's name, or auto (default)")
    parser.add_argument("--noise", type=float, metavar="HU", help="noise of the scan in HU (default: measured)")
    parser.add_argument("--fast", action="store_true", help="half the views")
    parser.add_argument("--phantom", action="store_true", help="IN is a noise-free body: simulate its whole scan")
    parser.add_argument(
        "--device", default="cpu", help="device for noise insertion: cpu (default), cuda, cuda:N, mps, auto"
    )
    parser.add_argument("--noise-volume", metavar="FILE", help="also write the inserted noise, in HU")
    parser.add_argument("--overwrite", action="store_true", help="overwrite OUT and the noise volume if they exist")
    parser.add_argument("--report", action="store_true", help="validate the simulation on water and on the scans in IN")
    parser.add_argument("--seed", type=int, default=0)


def run(args: argparse.Namespace) -> None:
    """Simulate one volume, or write the report."""
    from bioatt.core.errors import InputError

    if args.device != "cpu" and (args.phantom or args.report):
        raise InputError("--phantom and --report run on the CPU: omit --device")
    if not args.report:
        _simulate(args)
        return
    from bioatt_training.simulate.report import write_report

    write_report(Path(args.output), _scans(Path(args.input)), dose=args.dose, seed=args.seed, say=print)


def _simulate(args: argparse.Namespace) -> None:
    from bioatt.core.canonical import canonical
    from bioatt.io.images import read_volume, write_volume
    from bioatt_training.simulate.volumes import insert_into, scan_phantom

    device = _device(args.device)
    volume = read_volume(args.input, series=args.series, phase=args.phase)
    _check_places(volume, args)
    straight = canonical(volume)
    for warning in volume.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if args.phantom:
        low, summary = scan_phantom(straight.volume, dose=args.dose, kernel=args.kernel, seed=args.seed)
        noise = low - straight.volume.hu
    else:
        result, summary = insert_into(
            straight.volume,
            dose=args.dose,
            kernel=args.kernel,
            noise_hu=args.noise,
            fast=args.fast,
            seed=args.seed,
            device=device,
        )
        low, noise = result.hu_low, result.noise
    print(summary)
    note = f"Research use only. {summary}; seed {args.seed}"
    write_volume(volume.with_hu(straight.undo(low)), args.output, note=note)
    if args.noise_volume:
        write_volume(_noise_map(volume, straight.undo(noise)), args.noise_volume, note=f"Inserted noise. {note}")


def _check_places(volume: Volume, args: argparse.Namespace) -> None:
    """Raise InputError early if OUT or the noise cannot be written, or they are the same file."""
    from bioatt.core.errors import InputError
    from bioatt.io.files import same_file
    from bioatt.io.images import check_output
    from bioatt.io.outputs import check_free

    places = [Path(path) for path in (args.output, args.noise_volume) if path]
    for path in places:
        check_output(volume, path)
        check_free(path, args.overwrite)
    if len(places) == 2 and same_file(*places):
        raise InputError(f"{places[1].name} is the same file as OUT: give another --noise-volume")


def _noise_map(volume: Volume, noise: np.ndarray) -> Volume:
    """Inserted noise (z, y, x) HU on the scan's grid, 0 in padding; float32, because the scans' types would clip it."""
    from dataclasses import replace

    import numpy as np

    return replace(volume, hu=np.where(volume.padding_mask, np.float32(0), noise), storage="float32", padding=())


def _device(name: str) -> str:
    """Resolve the device name; the CPU implementation needs no torch. Raises InputError if the device is not
    available.
    """
    if name == "cpu":
        return name
    from bioatt.compute.device import choose

    return str(choose(name).device)


def _scans(path: Path) -> list[Path]:
    """The volume files below a folder, or the path itself if it is a file or DICOM series. Raises InputError if
    missing.
    """
    from bioatt.core.errors import InputError
    from bioatt_training.data.scans import volume_files

    if not path.exists():
        raise InputError(f"{path.name}: no such file or folder: check the path")
    return (volume_files(path) if path.is_dir() else []) or [path]
