"""Outputs of the shipped weights before and after code moves: `golden.py FILE` compares with FILE, `--write` makes it.

Drives the command line alone, so that it does not know where anything lives.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import SimpleITK as sitk

VOLATILE = {"seconds", "seconds_per_slice", "bioatt", "source", "sources", "file", "files"}


def bioatt(*arguments: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "bioatt.cli", *map(str, arguments)], check=True)


def digest_of_voxels(path: Path) -> str:
    image = sitk.ReadImage(str(path))
    geometry = repr((image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection()))
    return hashlib.sha256(geometry.encode() + sitk.GetArrayViewFromImage(image).tobytes()).hexdigest()


def steady(value: object) -> object:
    if isinstance(value, dict):
        return {k: steady(v) for k, v in value.items() if k not in VOLATILE}
    if isinstance(value, list):
        return [steady(one) for one in value]
    return value


def outputs(folder: Path) -> dict[str, object]:
    bioatt("demo", folder / "demo")
    low = next(p for p in (folder / "demo").glob("*.nrrd") if "low" in p.name or "quarter" in p.name)
    reference = next(p for p in (folder / "demo").glob("*.nrrd") if "ref" in p.name or "full" in p.name)
    for model in ("bioatt", "bioatt-fast"):
        out = folder / f"{model}.nrrd"
        bioatt("denoise", low, out, "--model", model, "--precision", "fp32", "--report", folder / f"{model}.json")
        bioatt("evaluate", reference, out, "--low", low, "--json", folder / f"{model}-metrics.json")
    for prior in ("uniform", "random:3"):
        bioatt(
            "denoise", low, folder / f"{prior[:4]}.nii.gz", "--prior", prior, "--precision", "fp32", "--strength", "1"
        )
    bioatt("prior", low, "--json", folder / "prior.json")
    bioatt("attention", low, folder / "maps", "--precision", "fp32")
    volumes = sorted(
        p for s in ("*.nrrd", "*.nii.gz") for p in folder.rglob(s) if p.parent.name != "demo" or p in (low, reference)
    )
    tables = sorted(p for p in folder.rglob("*.json") if p.parent.name != "demo")
    found: dict[str, object] = {p.relative_to(folder).as_posix(): digest_of_voxels(p) for p in volumes}
    found |= {p.relative_to(folder).as_posix(): steady(json.loads(p.read_text())) for p in tables}
    return found


def main() -> None:
    file = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        found = json.loads(json.dumps(outputs(Path(folder))))
    if "--write" in sys.argv:
        file.write_text(json.dumps(found, indent=1))
        return
    expected = json.loads(file.read_text())
    wrong = [name for name in sorted({*expected, *found}) if expected.get(name) != found.get(name)]
    print("\n".join(f"differs: {name}" for name in wrong) or f"{len(found)} outputs as before")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
