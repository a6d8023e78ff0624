"""The peers' settings: for each class of kernels the best mean PSNR at quarter dose on slices that are not judged."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bioatt.metrics import psnr
from bioatt_training.bank import Bank
from bioatt_training.benchmark.images import Image
from bioatt_training.benchmark.peers import FILTERS, STRENGTHS, Peer, blended, settings
from bioatt_training.benchmark.quality import WINDOW
from bioatt_training.benchmark.store import Store
from bioatt_training.benchmark.truth import SHARPNESS, Case, bank_case, patients, spread

DOSE = 0.25
SIDE = 256
"""Pixels of the middle of a slice that a setting is tried on; the noise is measured in the whole."""
SLICES = 5
log = logging.getLogger(__name__)


def tuning_cases(bank: Bank, count: int = SLICES) -> list[Case]:
    """Up to `count` slices of each class of kernels: of validation patients, and where they have too few of training's.

    A filter of two parameters learns no patient by heart; no slice is of a patient that is judged.
    """
    found: dict[str, list[Case]] = {name: [] for name in SHARPNESS}
    for part in ("validation", "train"):
        for indices in patients(bank, part).values():
            for index in spread(indices, 2):
                case = bank_case(bank, index)
                if len(found[case.sharpness]) < count:
                    found[case.sharpness].append(case)
    return [case for cases in found.values() for case in cases]


def tuned(cases: Sequence[Case], store: Store, names: Iterable[str] = tuple(FILTERS)) -> dict[str, dict[str, Peer]]:
    """{class of kernels: {filter: the peer at its best setting}}; classes without cases are left out."""
    chosen: dict[str, dict[str, Peer]] = {}
    for kind in SHARPNESS:
        crops = [_crop(case) for case in cases if case.sharpness == kind]
        if crops:
            chosen[kind] = {name: _best(name, crops, store) for name in names}
    return chosen


@dataclass(frozen=True)
class _Crop:
    """The middle of a case at quarter dose."""

    key: str
    image: Image
    truth: NDArray[np.int16]


def _crop(case: Case) -> _Crop:
    image, part = case.image(DOSE).middle(SIDE)
    return _Crop(f"{SIDE} {case.key}", image, case.truth[part])


def _best(name: str, crops: Sequence[_Crop], store: Store) -> Peer:
    candidates: list[tuple[float, Peer]] = []
    for setting in settings(name):
        peer = Peer(name, setting)
        rows = [store.get(f"tune {peer.identity} {one.key}", partial(_tried, peer, one)) for one in crops]
        means = {strength: float(np.mean([row[f"{strength:g}"] for row in rows])) for strength in STRENGTHS}
        candidates += [(mean, replace(peer, strength=strength)) for strength, mean in means.items()]
        log.info("%s %s: %.2f dB", name, setting, max(means.values()))
    return max(candidates, key=lambda candidate: candidate[0])[1]


def _tried(peer: Peer, crop: _Crop) -> dict[str, float]:
    """PSNR (dB) of a setting by strength."""
    output = peer(crop.image)
    return {
        f"{strength:g}": psnr(crop.truth, blended(crop.image.hu, output, strength), WINDOW) for strength in STRENGTHS
    }
