"""The paper's findings on its arms, compared with the results of a reproduction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bioatt_training.evaluation.statistics import crossed_interval, excludes_zero
from bioatt_training.reporting import format_interval
from bioatt_training.studies.reproduction.results import Results

Verdict = Literal["agrees", "does not agree", "open", "not run"]
SIGN = {"rmse": -1, "psnr": 1, "ssim": 1}
"""Whether higher is better."""
DIGITS = {"rmse": 5, "psnr": 3, "ssim": 4}
UNIT = {"rmse": "", "psnr": " dB", "ssim": ""}
SAME = {"rmse": 0.0005, "psnr": 0.1}
"""Margins of equivalence: about 1 % of the paper's RMSE, and its equivalent in dB."""
PAPER_GAIN = {"uniform": 0.0020, "random": 0.0014}
"""BioAtt's SSIM in the paper's table 1 minus that of the other weights."""


@dataclass(frozen=True)
class Finding:
    """said: the paper's statement. verdict: from the 95 % intervals, open if they allow both. found: values."""

    said: str
    verdict: Verdict
    found: str


def findings(results: Results) -> list[Finding]:
    """The paper's findings of §3 and §4 with this reproduction's verdicts."""
    others = [arm for arm in results.arms if arm not in ("bioatt", "whole")]
    judged = [_better(results, said, pairs) for said, pairs in _superiority(others or ["base"])]
    judged[WHOLE] = _with_whole_slices(results, judged[WHOLE])
    weightings = [("bioatt", arm, metric) for arm in ("uniform", "random") for metric in ("rmse", "psnr")]
    return [
        *judged,
        _same(results, "The three weightings have similar RMSE and PSNR (§3.4, figure 7).", weightings),
        _course(results, "bioatt", "BioAtt's SSIM rises throughout training (§3.2, figures 5 and 7).", rising=True),
        _course(results, "spatial", "Spatial attention's SSIM rises, then declines (§3.2, figure 5).", rising=False),
        _saturation(results),
        _variation(results),
    ]


WHOLE = 3
"""Index in `_superiority` of the finding about whole slices."""


def _superiority(patch_arms: Sequence[str]) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """The paper's statements with their comparisons (better, worse, metric)."""
    attention = [(arm, "base", metric) for arm in ("channel", "spatial", "bioatt") for metric in ("rmse", "psnr")]
    return [
        ("Attention beats the plain network: channel, spatial and BioAtt over base (§3.2, figure 5).", attention),
        (
            "BioAtt has the highest SSIM of all arms trained on patches (table 1).",
            [("bioatt", arm, "ssim") for arm in patch_arms],
        ),
        (
            "Channel attention has a lower RMSE and a higher PSNR than BioAtt (§3.2, table 1).",
            [("channel", "bioatt", metric) for metric in ("rmse", "psnr")],
        ),
        (
            "Training on patches beats training on whole slices in every metric (§3.3, figure 6).",
            [("bioatt", "whole", metric) for metric in ("rmse", "psnr", "ssim")],
        ),
        (
            "BioAtt has a higher SSIM than uniform and random weights (§3.4, figure 7).",
            [("bioatt", arm, "ssim") for arm in ("uniform", "random")],
        ),
    ]


def prior_sentence(results: Results) -> str:
    """Whether the anatomical prior helps: BioAtt compared with the same network with uniform and random weights.

    The paper's measure is SSIM; the other two are added if their intervals exclude zero. Runs that have not learned to
    denoise, and single seeds or patients, allow no conclusion.
    """
    found = {arm: results.difference("bioatt", arm, "protocol/ssim") for arm in ("uniform", "random")}
    known = {arm: test for arm, test in found.items() if test}
    if not known:
        return "Whether the anatomical prior helps cannot be said yet: BioAtt and its controls have not all run."
    said = " and ".join(
        f"{_shown(test['difference'], 'ssim')} against {arm} weights (the paper: {PAPER_GAIN[arm]:+.4f})"
        for arm, test in known.items()
    )
    low, high = (np.array([test["difference"][k] for test in known.values()]) for k in (1, 2))
    seeds, patients = (min(test[count] for test in known.values()) for count in ("seeds", "pairs"))
    notes = [_aside(results, metric, list(known)) for metric in ("rmse", "psnr")]
    if not all(results.learned(arm) for arm in ("bioatt", *known)):
        start = (
            "Whether the anatomical prior helps cannot be said: these runs were too short to learn to denoise. SSIM:"
        )
    elif seeds < 2:
        start = "Whether the anatomical prior helps cannot be determined from one seed: seeds vary as much. SSIM:"
    elif patients < 2:
        start = "Whether the anatomical prior helps cannot be determined from one patient. SSIM:"
    elif (low > 0).all():
        start = "The anatomical prior helps here, by this much SSIM:"
    elif (high < 0).all():
        start = "The anatomical prior harms here, by this much SSIM:"
    elif ((low <= 0) & (high >= 0)).all():
        start = "No effect of the anatomical prior on SSIM can be shown here:"
        notes.append(f"effects beyond {max(abs(low).max(), abs(high).max()):.4f} are ruled out at this size of run")
    else:
        start = "The controls do not agree on whether the anatomical prior helps SSIM:"
    if len(known) == 1:
        notes.append(f"only {next(iter(known))} weights have run as a control")
    for arm, test in known.items():
        if seeds > 1:
            notes.append(f"seed by seed against {arm}: {', '.join(f'{mean:+.4f}' for mean in test['by_seed'])}")
    notes.append(f"{seeds} seed{'s' * (seeds > 1)}, {patients} patient{'s' * (patients > 1)}")
    return f"{start} {said} ({'; '.join(note for note in notes if note)})."


def _aside(results: Results, metric: str, arms: Sequence[str]) -> str:
    """RMSE or PSNR if an interval excludes zero."""
    parts = []
    for arm in arms:
        test = results.difference("bioatt", arm, f"protocol/{metric}")
        if test and excludes_zero(test["difference"]):
            parts.append(f"{metric.upper()} {_shown(test['difference'], metric)} against {arm}")
    return ", ".join(parts)


def _better(results: Results, said: str, pairs: Sequence[tuple[str, str, str]]) -> Finding:
    """first is better than second in metric, for all pairs."""
    found, verdicts = [], []
    for first, second, metric in pairs:
        test = results.difference(first, second, f"protocol/{metric}")
        if test is None:
            continue
        low, high = sorted(SIGN[metric] * bound for bound in test["difference"][1:])
        verdict = "agrees" if low > 0 else "does not agree" if high < 0 else "open"
        verdicts.append(verdict if _can_tell(results, first, second, test) else "open")
        found.append(f"{first} − {second}: {metric.upper()} {_shown(test['difference'], metric)}")
    return Finding(said, _joined(verdicts, len(pairs)), "; ".join(found))


def _with_whole_slices(results: Results, finding: Finding) -> Finding:
    """Add the result on whole slices, since testing on patches favours training on patches."""
    test = results.difference("bioatt", "whole", "full/rmse_hu")
    if test is None:
        return finding
    shown = format_interval(test["difference"], 2, sign=True, unit=" HU")
    return replace(finding, found=f"{finding.found}; on whole test slices RMSE {shown}")


def _same(results: Results, said: str, pairs: Sequence[tuple[str, str, str]]) -> Finding:
    """first and second differ by less than `SAME`."""
    found, verdicts = [], []
    for first, second, metric in pairs:
        test = results.difference(first, second, f"protocol/{metric}")
        if test is None:
            continue
        _, low, high = test["difference"]
        margin = SAME[metric]
        inside, outside = -margin < low and high < margin, low > margin or high < -margin
        verdict = "agrees" if inside else "does not agree" if outside else "open"
        verdicts.append(verdict if _can_tell(results, first, second, test) else "open")
        found.append(f"{first} − {second}: {metric.upper()} {_shown(test['difference'], metric)}")
    margins = f"same means within ±{SAME['rmse']:g} RMSE and ±{SAME['psnr']:g} dB"
    return Finding(said, _joined(verdicts, len(pairs)), "; ".join([*found, margins] if found else []))


def _can_tell(results: Results, first: str, second: str, test: dict[str, Any]) -> bool:
    """False for one seed or patient, whose variation is unknown, and for models that have not learned."""
    return bool(test["seeds"] > 1 and test["pairs"] > 1 and results.learned(first) and results.learned(second))


def _joined(verdicts: Sequence[str], wanted: int) -> Verdict:
    """All must agree; a single disagreement decides; missing comparisons leave it open."""
    if not verdicts:
        return "not run"
    if "does not agree" in verdicts:
        return "does not agree"
    return "agrees" if len(verdicts) == wanted and set(verdicts) == {"agrees"} else "open"


def _course(results: Results, arm: str, said: str, *, rising: bool) -> Finding:
    """Whether validation SSIM is higher in the last epoch than in the best earlier epoch, by the interval over seeds.

    The best epoch of a seed is chosen on the other seeds, since choosing it on its own values would bias it upwards.
    """
    if arm not in results.arms:
        return Finding(said, "not run", "")
    curve = results.curve(arm, "val_ssim")
    if curve.shape[1] < 2:
        return Finding(said, "open", "one epoch only")
    seeds = range(len(curve))
    others = [np.delete(curve, seed, axis=0) if len(curve) > 1 else curve for seed in seeds]
    gain = crossed_interval(
        np.array([[curve[seed, -1] - curve[seed, _best_before_last(others[seed])]] for seed in seeds])
    )
    best = _best_before_last(curve)
    verdict: Verdict = "open"
    if len(curve) > 1 and results.learned(arm) and excludes_zero(gain):
        verdict = "agrees" if (gain[0] > 0) == rising else "does not agree"
    first, before, last = curve.mean(axis=0)[[0, best, -1]]
    found = f"validation SSIM, mean of seeds: {first:.4f} in epoch 1, best before the last {before:.4f} in epoch "
    return Finding(
        said, verdict, f"{found}{best + 1}, {last:.4f} in the last ({curve.shape[1]}): {_shown(gain, 'ssim')}"
    )


def _best_before_last(curve: NDArray[np.float64]) -> int:
    """The epoch of (seeds, epochs) with the highest mean, except the last."""
    return int(np.argmax(curve[:, :-1].mean(axis=0)))


def _saturation(results: Results) -> Finding:
    said = (
        "After training, the middle attention of random and uniform weights is close to 1 everywhere, BioAtt's is not "
        "(§4, figure 8)."
    )
    shares = {arm: results.attention(arm, "middle", "saturated") for arm in ("random", "uniform", "bioatt")}
    if not all(shares.values()):
        return _without_maps(results, said)
    verdict: Verdict = "open"
    controls = [shares["random"], shares["uniform"]]
    if not _seeds_can_tell(results, shares):
        pass
    elif min(map(min, controls)) > 0.5 > max(shares["bioatt"]):
        verdict = "agrees"
    elif min(map(max, controls)) < 0.5 or min(shares["bioatt"]) > 0.5:
        verdict = "does not agree"
    found = ", ".join(f"{arm} {np.mean(values):.0%}" for arm, values in shares.items())
    return Finding(said, verdict, f"share of A above 0.95 in the body: {found}")


def _seeds_can_tell(results: Results, values: Mapping[str, Sequence[float]]) -> bool:
    """Values of one slice have no interval: several seeds of trained models must agree."""
    return min(map(len, values.values())) > 1 and all(map(results.learned, values))


def _without_maps(results: Results, said: str) -> Finding:
    if {"random", "uniform", "bioatt"} <= set(results.arms):
        return Finding(said, "open", "no maps were kept of an epoch after the first")
    return Finding(said, "not run", "")


def _variation(results: Results) -> Finding:
    said = "BioAtt's middle attention varies more between organs than that of random and uniform weights (§4)."
    spread = {arm: results.attention(arm, "middle", "organ_spread") for arm in ("random", "uniform", "bioatt")}
    if not all(spread.values()):
        return _without_maps(results, said)
    others = [*spread["random"], *spread["uniform"]]
    verdict: Verdict = "open"
    if not _seeds_can_tell(results, spread):
        pass
    elif min(spread["bioatt"]) > max(others):
        verdict = "agrees"
    elif max(spread["bioatt"]) < min(others):
        verdict = "does not agree"
    found = ", ".join(f"{arm} {np.mean(values):.3f}" for arm, values in spread.items())
    return Finding(said, verdict, f"standard deviation of A between organs, mean over the body: {found}")


def _shown(values: Sequence[float], metric: str) -> str:
    return format_interval(values, DIGITS[metric], sign=True, unit=UNIT[metric])
