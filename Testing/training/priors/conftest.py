"""A collection of made-up patients with organ outlines: two lungs in the chest, a liver in the abdomen."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

LUNGS, LIVER, SPINE = 5, 9, 17


@pytest.fixture
def made_up_collection(tmp_path: Path) -> Callable[..., Path]:
    """make() → folder with SOURCES.md, slices.csv, organs.csv, regions.csv, masks/ and split.json of six patients.

    Every patient has a slice of the chest and one of the abdomen, 96 × 120 pixels of 3 mm; the third patient's abdomen
    is not outlined, and the fourth's liver is marked unsure.
    """

    def make() -> Path:
        folder = tmp_path / "ct"
        (folder / "slices").mkdir(parents=True)
        (folder / "masks").mkdir()
        rng = np.random.default_rng(0)
        slices = ["file,patient,collection,licence,pixel_mm,thickness_mm,kernel,kVp,noise_hu"]
        organs, regions = ["file,organ,first_slice,last_slice"], ["file,region"]
        masks = ["mask,file,slice,patient,collection,licence,organs,unsure"]
        for number in range(6):
            for belly in (False, True):
                name = f"slices/P{number}_{'belly' if belly else 'chest'}.nrrd"
                hu, labels = _slice(rng, belly)
                _write(folder / name, hu.astype(np.int16))
                slices.append(f"{name},P{number},made up,none,3,5,B30f,120,10")
                regions.append(f"{name},{'abdomen' if belly else 'chest'}")
                organs += [f"{name},{organ},0,0" for organ in (("liver", "spine") if belly else ("lungs", "spine"))]
                if not (belly and number == 2):
                    mask = name.replace("slices", "masks")
                    _write(folder / mask, labels)
                    unsure = "caudate left out" if belly and number == 3 else ""
                    masks.append(f"{mask},{name},0,P{number},made up,none,spine,{unsure}")
        (folder / "SOURCES.md").write_text("no volumes", encoding="utf-8")
        for table, lines in (("slices", slices), ("organs", organs), ("regions", regions), ("masks/masks", masks)):
            (folder / f"{table}.csv").write_text("\n".join(lines), encoding="utf-8")
        (folder / "split.json").write_text(json.dumps({"test": ["P5"], "validation": ["P4"]}), encoding="utf-8")
        return folder

    return make


def _slice(rng: np.random.Generator, belly: bool) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[:96, :120] - np.array([47.5, 59.5])[:, None, None]
    wide = rng.uniform(48, 54)
    hu, labels = np.full(y.shape, -1000.0), np.zeros(y.shape, np.uint8)
    hu[(x / wide) ** 2 + (y / 38) ** 2 < 1] = 40
    if belly:
        organ = (x / wide + 0.4) ** 2 / 0.2 + (y / 26) ** 2 < 1
        hu[organ], labels[organ] = 110, LIVER
    else:
        organ = (np.abs(x) - wide / 2) ** 2 / 300 + (y / 26) ** 2 < 1
        hu[organ], labels[organ] = -850, LUNGS
    spine = x**2 + (y - 24) ** 2 < 36
    hu[spine], labels[spine] = 300, SPINE
    return hu + rng.normal(0, 10, hu.shape), labels


def _write(path: Path, plane: np.ndarray) -> None:
    image = sitk.GetImageFromArray(plane[None])
    image.SetSpacing((3.0, 3.0, 5.0))
    sitk.WriteImage(image, str(path))
