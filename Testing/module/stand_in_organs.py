"""A stand-in for the worker's `organs` request: the left half of the body is liver, the right half lungs."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from bioatt.anatomy.descriptors import ANATOMY_SET, load_descriptor_set

COLORS = {"liver": [0.87, 0.51, 0.40], "lungs": [0.77, 0.64, 0.60]}
TERMINOLOGY = (
    "Segmentation category and type - DICOM master list~SCT^123037004^Anatomical Structure~SCT^{code}^{name}~^^~~^^~^^"
)
CODES = {"liver": "10200004", "lungs": "39607008"}


class NoOrgans:
    """A source of anatomy that finds none."""

    def maps(self, volume, *, cancelled=None):
        return SimpleNamespace(
            descriptors=(), source="none", least_ml=0, labels=lambda z: np.zeros(volume.shape[1:], np.uint8)
        )


def organs(worker, request):
    """Replies as Docs/worker_protocol.md specifies; the mean of "lungs" is reported as moved."""
    names = load_descriptor_set(ANATOMY_SET).descriptors
    hu = np.load(worker.folder / request["volume"]["array"])
    labels = np.zeros(hu.shape, np.uint8)
    half = hu.shape[2] // 2
    labels[:, 4:-4, 4:half] = 1 + names.index("liver")
    labels[:, 4:-4, half:-4] = 1 + names.index("lungs")
    found = [names[value - 1] for value in np.unique(labels) if value]
    after = None
    if request.get("after") is not None:
        after = np.load(worker.folder / request["after"]["array"])
    np.save(worker.folder / "labels.npy", labels)
    maps = []
    for name in request["maps"]:
        np.save(worker.folder / f"map-{name}.npy", np.where(labels == 1 + names.index(name), 204, 10).astype(np.uint8))
        maps.append({"name": name, "array": f"map-{name}.npy"})
    table = {
        "anatomy": "organ maps",
        "reference": request["reference"],
        "reference_before": {"mean": 55.0, "noise": 20.0},
        "reference_after": None if after is None else {"mean": 55.0, "noise": 8.0},
        "organs": [_row(name, 1 + names.index(name), labels, hu, after) for name in found],
        "warnings": ["the scan holds few slices"] if len(hu) < 10 else [],
        "research_use_only": True,
    }
    segments = [
        {"value": 1 + names.index(name), "name": name, "color": COLORS[name],
         "terminology": TERMINOLOGY.format(code=CODES[name], name=name)}
        for name in found
    ]  # fmt: skip
    return {
        "array": "labels.npy", "segments": segments, "maps": maps, "table": table, "anatomy": table["anatomy"],
        "seconds": 0.1,
    }  # fmt: skip


def _row(name, value, labels, hu, after):
    inside = labels == value
    row = {
        "organ": name, "value": value, "volume_ml": float(inside.sum()) / 100, "cut_off": name == "lungs",
        "measured_ml": float(inside.sum()) / 200, "mean_before": float(hu[inside].mean()), "noise_before": 20.0,
        "cnr_before": 1.5, "noise_is_bound": name == "lungs", "mean_after": None, "noise_after": None,
        "cnr_after": None,
        "shift": None, "shift_limit": None, "moved": False,
    }  # fmt: skip
    if after is not None:
        shift = float(after[inside].mean() - hu[inside].mean())
        row |= {"mean_after": float(after[inside].mean()), "noise_after": 8.0, "cnr_after": 3.5, "shift": shift,
                "shift_limit": 2.0, "moved": name == "lungs"}  # fmt: skip
    return row
