#!/usr/bin/env python-real
"""Slicer's command-line module: `bioatt denoise` with Slicer's progress (Slicer Execution Model).

Slicer runs it with its own Python in a separate process; the engine is next to the module BioAtt Denoise.
"""

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENGINES = (HERE.parent / "qt-scripted-modules", HERE.parent)
"""Locations of the package bioatt: in an installed extension, and in a clone."""


def main(arguments):
    """Denoise a file into another; returns the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--strength", type=float, default=0.75)
    parser.add_argument("--model", default="auto")
    parser.add_argument("--organ-strength", default="")
    parser.add_argument("--device", default="auto")
    parser.add_argument("inputVolume")
    parser.add_argument("outputVolume")
    args = parser.parse_args(arguments)
    sys.path[:0] = [str(folder) for folder in ENGINES if (folder / "bioatt").is_dir()]
    try:
        from bioatt.core.errors import BioAttError
    except ImportError:
        print("The engine is missing: reinstall the extension BioAttDenoise.", file=sys.stderr)
        return 1
    try:
        _denoise(args)
    except ImportError as error:
        print(f"{error}: open the module BioAtt Denoise and press Denoise once to install.", file=sys.stderr)
        return 1
    except BioAttError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _denoise(args):
    from bioatt.anatomy.strength import parse_organ_strength
    from bioatt.inference.assembly import make_denoiser
    from bioatt.inference.options import EngineOptions
    from bioatt.io.images import read_volume
    from bioatt.io.outputs import write_result

    print("<filter-start><filter-name>BioAtt Denoise</filter-name></filter-start>", flush=True)
    volume = read_volume(args.inputVolume)
    by_organ = parse_organ_strength(args.organ_strength) if args.organ_strength else {}
    denoiser = make_denoiser(EngineOptions(model=args.model, device=args.device))
    result = denoiser.denoise(
        volume,
        strength=args.strength,
        organ_strength=by_organ,
        progress=lambda fraction, *_: print(f"<filter-progress>{fraction:.3f}</filter-progress>", flush=True),
    )
    write_result(
        result.volume,
        Path(args.outputVolume),
        False,
        model_name=result.model.name,
        model_version=result.model.version,
        strength=result.strength,
        organ_strength=result.organ_strength,
        overwrite=True,  # Slicer passes its own progress file
    )
    for warning in result.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print("<filter-end><filter-name>BioAtt Denoise</filter-name></filter-end>", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
