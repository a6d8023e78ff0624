"""Denoising of a study in the node: each series by the rule that applies to it, as in `bioatt batch`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bioatt.core.errors import InputError
from bioatt.service.finding import find_series
from bioatt.service.node.node import Denoise, DeviceLostError, Failure
from bioatt.service.results import Results
from bioatt.service.rules import EVERY_SCAN, rules_of
from bioatt.service.studies import DICOM, FAILED, Engine, denoise_series


def denoise_by(rules: Sequence[Mapping[str, Any]], folder: Path, device: str) -> Denoise:
    """Make the function that a `Node` calls. rules: `[[rule]]` tables, paths relative to `folder`; none: every scan.

    Raises InputError for invalid rules, rules with formats other than DICOM, and unknown models.
    """
    applied = rules_of({"rule": list(rules)}, folder) if rules else EVERY_SCAN
    other = [rule for rule in applied if set(rule.formats) - {DICOM}]
    if other:
        raise InputError(f"{other[0].name}: formats: a node sends only DICOM: remove formats")
    engine = Engine(device)
    for rule in applied:
        if not rule.skip:
            engine.denoiser(rule.model)  # fail now rather than on the first study at night

    def denoise(images: Path, out: Path) -> list[Failure]:
        try:
            found = find_series(images)
        except InputError:  # contains no CT in HU
            return []
        failures = []
        for series in found.series:
            outcome = denoise_series(series, applied, Results(out), engine)
            if outcome.ours and not _computes(device):
                raise DeviceLostError(f"the device has stopped working ({outcome.reason}): restart the node")
            if outcome.status == FAILED:
                failures.append(Failure(list(series.files), outcome.reason))
        return failures

    return denoise


def _computes(device: str) -> bool:
    """Whether a device can still compute a simple sum; after some GPU errors nothing works until the process ends."""
    import torch

    from bioatt.compute.device import choose

    try:
        return bool((torch.ones(2, device=choose(device).device).sum() == 2).item())
    except (InputError, RuntimeError):
        return False
