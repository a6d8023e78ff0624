"""Create a folder with everything an offline computer needs, for "Install from folder" in the module.

Run it on a connected computer with any Python that has pip; Slicer is not needed:

    python bundle.py FOLDER [--models MODELS] [--biomedclip] [--openvino] [pip options]

creates FOLDER/packages (wheels) and FOLDER/models (copied from MODELS, the module's models folder). Unknown options are
passed to `pip download`; for example, for Slicer on Windows with a graphics card:

    python bundle.py FOLDER --platform win_amd64 --python-version 3.12 --extra-index-url URL
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

PACKAGES, MODELS = "packages", "models"
TORCH = "torch>=2.6"
EXTRAS = {"biomedclip": "open_clip_torch", "openvino": "openvino"}
"""Optional extras, and the file name prefix of each extra's first package."""


def requirements(extras: Iterable[str]) -> list[str]:
    """Packages needed in addition to Slicer's own, plus those of some `EXTRAS`; the files are in Resources next to the
    library.
    """
    resources = Path(__file__).resolve().parents[2] / "Resources"
    names = ["requirements.txt", *(f"requirements-{extra}.txt" for extra in extras)]
    lines = [line.strip() for name in names for line in (resources / name).read_text(encoding="utf-8").splitlines()]
    return [TORCH, *(line for line in lines if line and not line.startswith("#"))]


def extras_in(packages: Path) -> list[str]:
    """The `EXTRAS` that the folder contains."""
    return [extra for extra, package in EXTRAS.items() if any(packages.glob(f"{package}-*"))]


def copy_models(source: Path, target: Path) -> list[str]:
    """Copy model files and BiomedCLIP's folder unless they exist; returns the names of what was copied."""
    copied = []
    for path in sorted(source.iterdir()) if source.is_dir() else ():
        there = target / path.name
        if there.exists() or path.name.startswith(".") or not (path.is_dir() or path.suffix == ".safetensors"):
            continue
        target.mkdir(parents=True, exist_ok=True)
        partial = target / f".{path.name}.partial"
        if path.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(path, partial)
        else:
            shutil.copyfile(path, partial)
        partial.replace(there)
        copied.append(path.name)
    return copied


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="create a folder for 'Install from folder'")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", type=Path, help="the module's models folder, to include its models")
    for extra in EXTRAS:
        parser.add_argument(
            f"--{extra}",
            dest="extras",
            action="append_const",
            const=extra,
            default=[],
            help=f"include {extra}'s packages",
        )
    args, options = parser.parse_known_args(arguments)
    (args.folder / PACKAGES).mkdir(parents=True, exist_ok=True)
    download = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--only-binary",
        ":all:",
        "--dest",
        str(args.folder / PACKAGES),
    ]
    status = subprocess.run([*download, *options, *requirements(args.extras)], check=False).returncode
    if status == 0 and args.models is not None:
        print("models:", ", ".join(copy_models(args.models, args.folder / MODELS)) or "none")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
