"""Compare the files that BioAttDenoise/CMakeLists.txt packages into Slicer with the tree; --write updates the list."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODULE = ROOT / "BioAttDenoise"
CMAKE = MODULE / "CMakeLists.txt"
SIMULATOR = MODULE / "bioatt" / "simulation"
"""Needs numba, which Slicer does not install; only the wheel includes this folder."""
COMMAND_LINE_MODULE = MODULE / "BioAttDenoiseCLI"
"""Has a separate CMakeLists.txt."""
SUFFIXES_OF_RESOURCES = {".ui", ".png", ".svg", ".txt", ".json", ".safetensors", ".md", ".npz", ".npy", ".nrrd"}


def files_of_the_tree() -> dict[str, list[str]]:
    """The files to list, by CMake variable, relative to the folder that the list refers to."""
    left_out = {SIMULATOR, COMMAND_LINE_MODULE}
    scripts = [
        path for path in MODULE.rglob("*.py") if "__pycache__" not in path.parts and not left_out & {*path.parents}
    ]
    resources = [path for path in (MODULE / "Resources").rglob("*") if path.suffix in SUFFIXES_OF_RESOURCES]
    data = [path for path in (MODULE / "bioatt").rglob("*") if path.suffix in SUFFIXES_OF_RESOURCES | {".typed"}]
    engine = [
        p
        for f in ("Anatomy", "Models")
        for p in (ROOT / "Resources" / f).rglob("*")
        if p.suffix in SUFFIXES_OF_RESOURCES
    ]
    return {
        "MODULE_PYTHON_SCRIPTS": _relative(scripts, MODULE),
        "MODULE_PYTHON_RESOURCES": _relative([*resources, *data], MODULE),
        "ENGINE_RESOURCES": _relative(engine, ROOT),
    }


def files_listed() -> dict[str, list[str]]:
    """The files listed in CMakeLists.txt, by CMake variable."""
    text = CMAKE.read_text(encoding="utf-8")
    return {name: _block(name).search(text).group(2).split() for name in files_of_the_tree()}


def write() -> None:
    """Update CMakeLists.txt to list the files in the tree."""
    text = CMAKE.read_text(encoding="utf-8")
    for name, files in files_of_the_tree().items():
        lines = "".join(f"  {file}\n" for file in files)
        text = _block(name).sub(lambda match, lines=lines: f"{match.group(1)}{lines}{match.group(3)}", text)
    CMAKE.write_text(text, encoding="utf-8")


def _block(name: str) -> re.Pattern[str]:
    return re.compile(rf"(set\({name}\n)(.*?)(  \))", re.DOTALL)


def _relative(paths: list[Path], folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in paths)


if __name__ == "__main__":
    if "--write" in sys.argv:
        write()
    missing = {name: sorted(set(files) ^ set(files_listed()[name])) for name, files in files_of_the_tree().items()}
    for name, files in missing.items():
        if files:
            print(f"{name}: {', '.join(files)} differ; run Testing/module_files.py --write")
    sys.exit(any(missing.values()))
