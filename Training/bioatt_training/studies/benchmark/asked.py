"""What was asked of the models and whether their intervals say that it is met."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bioatt_training.studies.benchmark.markdown import Found, number, said, table
from bioatt_training.studies.benchmark.tables import BIAS, PSNR, SSIM


def asked(results: Found, models: Sequence[str]) -> list[str]:
    """What was asked for and what was measured: at the default strength, but against a truth without noise at 1."""
    rows: list[list[str]] = []
    quarter, phantoms = results["patients"]["0.25"], results["phantoms"]
    for name in models:
        over_peers: list[list[str]] = []
        for who, what, found, wanted in (
            (name, "scans", quarter, 0.8),
            (results["whole"][name], "noise-free phantoms", phantoms, 2.0),
        ):
            if "with peers" in found:
                over_peers += _over_peers(who, what, found["with peers"], wanted)
        rows += over_peers if name == models[0] else [[what, "–", measured, "–"] for what, _, measured, _ in over_peers]
    if "with peers" in phantoms:
        peers = phantoms["with peers"]
        found = said(peers[f"size of low dose's {BIAS}"], sign=True)
        rows.append(
            [
                f"low dose itself: size of the bias less {peers['best unblended']}'s, noise-free phantoms",
                "–",
                found,
                "–",
            ]
        )
    for name in models[1:]:
        found = quarter["against the first"][name][PSNR]
        rows.append([f"{name} − {models[0]}, scans", "≥ −0.15 dB", said(found, sign=True), met(found, least=-0.15)])
    for name in models:
        rows += _safety_rows(name, results["safety"][name])
    return [
        "## What was asked for",
        "",
        *table(["", "asked", "measured", "met"], rows),
        "",
        "Yes: the whole 95 % interval is on the side that was asked for. **No**: none of it is. Open: it lies on both.",
        "A figure without an interval meets nothing; on the wrong side it is not met. More than the filters is asked",
        "of the first model, of the others to be close to it.",
    ]


def _over_peers(who: str, what: str, found: Found, wanted: float) -> list[list[str]]:
    """A model beside the best of the peers: PSNR by so much, SSIM and bias at all."""
    gain, plain = found["gain"][who], found["best unblended"]
    bias, added = gain[f"size of {BIAS}"], gain[f"size of added {BIAS}"]
    ssim = gain[SSIM]
    return [
        [
            f"{who}: PSNR over {found[f'best {PSNR}']}, {what}",
            f"≥ {wanted} dB",
            said(gain[PSNR], sign=True),
            met(gain[PSNR], least=wanted),
        ],
        [f"{who}: SSIM over {found[f'best {SSIM}']}, {what}", "> 0", said(ssim, 3, sign=True), met(ssim, least=0.0)],
        [f"{who}: size of the bias less {plain}'s, {what}", "< 0 HU", said(bias, sign=True), met(bias, most=0.0)],
        [f"{who}: the same of what each adds to the low dose's own, {what}", "–", said(added, sign=True), "–"],
    ]


def met(found: Found, *, least: float = -math.inf, most: float = math.inf) -> str:
    """Whether the 95 % interval says that a value lies from `least` to `most`: "yes", "**no**" or "open".

    Without an interval (None) a value that does not lie there is not met either, one that does is "no interval".
    """
    mean, low, high = (found[name] for name in ("mean", "low", "high"))
    if low is None or high is None:
        return "no interval" if least <= mean <= most else "**no**"
    if least <= low and high <= most:
        return "yes"
    return "**no**" if high < least or low > most or not math.isfinite(mean) else "open"


def _spread_row(what: str, tissue: str, found: Found) -> list[str]:
    """The spread of the shifts against what the removed noise predicts; where it predicts nothing, the own noise's."""
    against = found["predicted"]
    if against:
        ratio = against["ratio"]
        text = f"{said(ratio)} ({against['count']} discs)"
        return [f"{what} ÷ the removed noise's, {tissue}", "≤ 1", text, met(ratio, most=1.0)]
    limit, spread = found["noise_sd"], found["patients sd"]
    return [f"{what}, {tissue}", f"≤ {limit:.2f} HU (own noise's)", f"{said(spread)} HU", met(spread, most=limit)]


def _safety_rows(name: str, safety: Found) -> list[list[str]]:
    rows = []
    for tissue, found in safety["discs"].items():
        limit = 0.5 if tissue == "soft tissue" else 2.0
        shift = found["patients mean"]
        text = f"{said(shift, sign=True)} HU ({found['count']} discs)"
        rows.append(
            [f"{name}: mean shift, {tissue}, full dose", f"< {limit:g} HU", text, met(shift, least=-limit, most=limit)]
        )
        rows.append(_spread_row(f"{name}: SD of the shift", tissue, found))
    for tissue, found in safety["truth_discs"].items():
        largest, reach = found["largest"], 1.96 * found["error"]
        shift = {"mean": largest, "low": largest - reach, "high": largest + reach, "patients": 1}
        text = f"{said(shift)} HU ({found['count']} discs)"
        what = f"{name}: largest shift of a disc in the mean of many scans, phantom, {tissue}"
        rows.append([what, "< 1 HU", text, met(shift, most=1.0)])
        text = f"SD {number(found['single_sd'])}, largest {number(found['single_largest'])} HU"
        rows.append([f"{name}: shift of a disc in single scans, phantom, {tissue}", "–", text, "–"])
    for contrast in ("100", "1000"):
        ratios = safety["edges"].get(contrast, {})
        text = ", ".join(f"{kind} {number(ratio, 3)}" for kind, ratio in ratios.items())
        worst = min(ratios.values(), key=lambda ratio: (math.isfinite(ratio), ratio), default=math.nan)
        found = {"mean": worst, "low": None, "high": None}
        rows.append([f"{name}: TTF f50 at {contrast} HU, output ÷ input", "≥ 0.95", text, met(found, least=0.95)])
    return rows
