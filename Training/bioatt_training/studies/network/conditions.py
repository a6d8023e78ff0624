"""One slice under many priors: effect of the prior on the output, benefit of guidance, and response of the
attention.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bioatt.core.body import body_mask
from bioatt.core.metrics import psnr
from bioatt.core.noise import local_moments, noise_map
from bioatt.core.strength import DEFAULT_STRENGTH
from bioatt.core.structure import removed_structure
from bioatt.core.volume import Volume
from bioatt.inference.attention import AttentionRequest
from bioatt.network import STAGES, Stage
from bioatt_training.evaluation.statistics import area_under_roc
from bioatt_training.studies.benchmark.measures.quality import WINDOW
from bioatt_training.studies.network.examined import Examined, Image
from bioatt_training.studies.network.scans import Scan

RIGHT, UNIFORM, STRANGER = "maps:spatial", "uniform", "another slice's maps"
FAR_SD = 3.0
"""Threshold for a far voxel: its difference from the output under `uniform`, in local noise SD of the input."""
MOST_ORGANS = 4
"""Maximum number of organs per slice whose pₙ is set to 0, largest first."""
_LEAST_PIXELS = 300


def priors(model: Examined, scan: Scan, stranger: Scan) -> dict[str, Any]:
    """{"priors": {name: {"psnr_db", "alarms", "far"}}, "organs": {organ: {prior: {"psnr_db", "bias_hu", "sd_hu"}}},
    "attention": `_attention`}; alarms: of the structure check, at the default strength and at 1; far: fraction of the
    body's voxels.
    """
    low = scan.low()
    truth, before = scan.truth, low.hu[0]
    maps, pooled = model.organs(low)
    other = _brought(model.organs(stranger.low())[0], truth.shape)
    given = distributions(maps, pooled, other, list(model.model.descriptors).index("lungs"))
    attended = model.under(low, maps, AttentionRequest(unified=False))
    outputs = {name: _plane(model, low, p) for name, p in given.items() if name != RIGHT}
    outputs[RIGHT] = attended.volume.hu[0].astype(np.float32)
    body, local = body_mask(truth.astype(np.float32)), noise_map(low.hu)[0]
    found: dict[str, Any] = {"priors": {}, "organs": {}}
    for name in given:
        output = outputs[name]
        moved = np.abs(output - outputs[UNIFORM])[body] > FAR_SD * local[body]
        found["priors"][name] = {
            "psnr_db": psnr(truth, output, WINDOW),
            "alarms": [_alarm(before, before + s * (output - before), low.spacing) for s in (DEFAULT_STRENGTH, 1)],
            "far": float(moved.mean()),
        }
    masks = _masks(model, maps)
    for organ, mask in masks.items():
        found["organs"][organ] = {name: _of_organ(truth, outputs[name], mask) for name in (RIGHT, UNIFORM, STRANGER)}
    stored = {key: volume.hu[0] for key, volume in attended.attention.items()}
    found["attention"] = _attention(model, low, maps, outputs[RIGHT], masks, body, stored)
    return found


def distributions(
    maps: NDArray[np.float32], pooled: NDArray[np.float32], stranger: NDArray[np.float32], lungs: int
) -> dict[str, NDArray[np.float32]]:
    """Priors by name: p (N,) or (N, H, W). maps, stranger: organ maps (N, H, W); pooled (N,); lungs: their index."""
    n = len(pooled)
    hard = (maps == maps.max(axis=0)) & (maps > 1 - maps.sum(axis=0))
    area = hard.sum(axis=(1, 2))
    right = int(area.argmax()) if area.any() else int(pooled.argmax())
    peaked = np.full(n, 0.02 / (n - 1), np.float32)
    peaked[lungs] = 0.98
    one_hot = np.eye(n, dtype=np.float32)
    return {
        "maps": pooled,
        RIGHT: maps,
        UNIFORM: np.full(n, 1 / n, np.float32),
        "none": np.zeros(n, np.float32),
        "one-hot, right": one_hot[right],
        "one-hot, wrong": one_hot[int(pooled.argmin())],
        "0.98 lungs": peaked,
        STRANGER: stranger,
        "hard masks": hard.astype(np.float32),
    }


def _alarm(before: NDArray, after: NDArray, spacing: tuple[float, float, float]) -> bool:
    return removed_structure(before[None], after[None], spacing).alarm


def _plane(model: Examined, low: Volume, p: NDArray[np.float32]) -> Image:
    return model.under(low, p).volume.hu[0].astype(np.float32)


def _brought(maps: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Maps (N, h, w) resized to another shape, nearest neighbour."""
    rows, columns = (np.arange(length) * old // length for length, old in zip(shape, maps.shape[1:], strict=True))
    return np.ascontiguousarray(maps[:, rows][:, :, columns])


def _masks(model: Examined, maps: NDArray[np.float32]) -> dict[str, NDArray[np.bool_]]:
    """Organ masks: maps above 0.5, largest organ first."""
    masks = {name: one > 0.5 for name, one in zip(model.model.descriptors, maps, strict=True)}
    large = {name: mask for name, mask in masks.items() if mask.sum() >= _LEAST_PIXELS}
    return dict(sorted(large.items(), key=lambda item: -int(item[1].sum())))


def _of_organ(truth: NDArray, output: Image, mask: NDArray[np.bool_]) -> dict[str, float]:
    inside, reference = output[mask], truth[mask].astype(np.float32)
    return {
        "psnr_db": psnr(reference[None], inside[None], WINDOW),
        "bias_hu": float((inside - reference).mean()),
        "sd_hu": float(np.median(np.sqrt(local_moments(output)[1][mask]))),
    }


def _attention(
    model: Examined,
    low: Volume,
    maps: NDArray[np.float32],
    output: Image,
    masks: Mapping[str, NDArray[np.bool_]],
    body: NDArray[np.bool_],
    stored: Mapping[tuple[Stage, str], NDArray[np.uint8]],
) -> dict[str, dict[str, float]]:
    """{organ: {stage: AUC of Aₙ for the organ's pixels among the body's}}, and of the largest organs "inside" and
    "outside": mean magnitude of the change in HU if pₙ is 0.
    """
    found: dict[str, dict[str, float]] = {}
    for number, (organ, mask) in enumerate(masks.items()):
        beside, shown = body & ~mask, body | mask
        found[organ] = {stage: area_under_roc(stored[stage, organ][shown], mask[shown]) for stage in STAGES}
        if number < MOST_ORGANS:
            without = maps.copy()
            without[model.model.descriptors.index(organ)] = 0
            change = np.abs(_plane(model, low, without) - output)
            found[organ] |= {"inside": float(change[mask].mean()), "outside": float(change[beside].mean())}
    return found
