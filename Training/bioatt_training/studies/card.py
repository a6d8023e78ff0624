"""The model cards of the shipped networks, from the model files and the stored study results. To write all of them:

python -m bioatt_training.studies.card Resources/Models Training/results
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bioatt.core.strength import DEFAULT_STRENGTH
from bioatt.inference.models import TrainedModel, load_model
from bioatt_training.reporting import format_interval, format_number, markdown_table, write_markdown
from bioatt_training.studies.benchmark.tables import BIAS, NOISE, PSNR, SSIM
from bioatt_training.studies.benchmark.truth import SHARPNESS
from bioatt_training.studies.network.report import cell_text
from bioatt_training.studies.physics.report import low_contrast

Found = Mapping[str, Any]
TAUGHT = "bioatt-fast"
_WIDTH = 120
DOSES = {"0.5": "half", "0.25": "quarter", "0.1": "tenth"}
_LEADS = {
    "bioatt": "This is the default; [bioatt-fast](bioatt-fast.md) has half as many filters.",
    TAUGHT: "This is the faster model: distilled from the default, [bioatt](bioatt.md), with half as many filters.",
}
_HEAD = """\
# {name}

A U-Net that takes a slice, its neighbours and its noise level, with the organ-aware attention of BioAtt (arXiv
2504.01662) over {descriptors} anatomical descriptors. {lead} **Research use only, not a medical device, not for
diagnosis.**
"""
_RECIPE = """
- *Relative squared error*: the squared error of a patch divided by that of its input, with the regularisation added in
  quadrature.
- *Means*: the error of the mean over squares of 20 px, as readers measure it.
- *Bias*: each torso appears twice, with opposite noise. Anatomy that both outputs lose (blurred edges, lost
  contrast), which squared error trades for less noise, gets this additional weight at noise well below 16 HU.
- *Attention*: cross-entropy between the attention maps and the organ maps.
- Targets are noise-free tissue: from Noisier2Noise for scans (Moran 2020, arXiv 1910.11908), from the noise-free
  reconstruction for torsos. Half of the patches contain added ellipsoids of 8 to 1000 HU, half use another kernel.
"""
_LIMITS = """\
- **The remaining noise is coarser than the scan's**: {shift} at the default
  strength and full dose. Higher strength makes it coarser.
- **Low-contrast edges become softer**: at full dose and default strength, f50 of a 100 HU insert is {edge_100}
  of the noise-free scan's; that of a 50 HU insert is {edge_50} (soft, medium, sharp kernels).
- **The faintest details of a good scan can be lost.** The structure check cannot detect details that barely exceed the
  noise. Use a lower strength on good scans, and inspect the difference image.
- **An attention map is a learned weighting**, not an organ outline; the [organ maps](organ_maps.md) show organs.
- The bias in noisy soft tissue includes regression to the mean: tissue is segmented on the scan, whose noise the output
  lacks. The tables give noise as the standard deviation over 9×9 pixels, which underestimates the coarser remaining
  noise.
- Brain and pelvis come from few patients: two pelvis volumes (one held out) and one head above the eyes.
- An area filled with a constant tissue-like value (a blanked area, a background of 0 HU after resampling) looks like
  noise-free tissue to the network, which then leaves more noise nearby. Fill such areas with air, -1000 HU.
- Training covered only axial slices, and no metal, children, cone-beam or photon-counting CT.
- The noise was simulated for a single energy, without beam hardening or scatter; no scan acquired at another dose was
  available.
"""


def card(model: TrainedModel, benchmark: Found, network: Found, physics: Found) -> list[str]:
    """The lines of a model's card: description, recipe, results, limits.

    benchmark, network, physics: results.json of `bioatt-train benchmark`, `examine` and `physics`.
    """
    name = model.name
    quarter = benchmark["patients"]["0.25"]
    patients = quarter["all"][name][PSNR]["patients"]
    curve = {round(one["strength"], 2): one for one in benchmark["strengths"][name]["curve"]}
    edges = benchmark["safety"][name]["edges"]
    limits = _LIMITS.format(
        shift=f"its mean frequency is {100 * curve[DEFAULT_STRENGTH]['shift_full']:.0f} % lower",
        edge_100=_by_kernel(edges["100"]),
        edge_50=_by_kernel(edges["50"]),
    )
    lines = [
        *_HEAD.format(name=name, descriptors=len(model.descriptors), lead=_LEADS[name]).splitlines(),
        "",
        *markdown_table(["", ""], _what_it_is(model)),
        "",
        "## Recipe",
        "",
        *markdown_table(["", ""], _recipe(model.metadata)),
        *_RECIPE.splitlines(),
        "",
        "## Strength",
        "",
        *_strength(curve),
        "",
        f"## Results on the {patients} held-out patients",
        "",
        *_measured(name, benchmark),
        *_full_dose(benchmark["safety"][name]),
        *(["", f"**Low contrast.** {low_contrast(physics)}"] if physics["model"]["name"] == name else []),
        *_earlier_file(model, benchmark["models"][name]["sha256"]),
        "",
        "## Any prior, with and without neighbours",
        "",
        "Aims and results on held-out patients at quarter dose; see the",
        "[examination](../../Training/results/network/README.md) for details.",
        "",
        *_aims(name, network["aims"]),
        "",
        "## Limits",
        "",
        *limits.splitlines(),
    ]
    return [part for line in lines for part in _wrapped(line)]


def _wrapped(line: str) -> list[str]:
    """Wrap a line of prose to 120 characters; table rows stay whole."""
    if line.startswith("|") or len(line) <= _WIDTH:
        return [line]
    indent = "  " if line.startswith("- ") else ""
    return textwrap.wrap(line, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _what_it_is(model: TrainedModel) -> list[tuple[str, str]]:
    training, net = model.metadata["training"], model.network
    weights = sum(parameter.numel() for parameter in net.parameters())
    low, high = training["doses"]
    return [
        ("version", model.version),
        (
            "network",
            f"layout `slab_unet`, {net.filters} filters, {weights:,} weights in float16: one set for any noise, any "
            "prior, with and without neighbours ([architecture](../../Docs/architecture.md#the-network-of-slices-with-"
            "neighbours))",
        ),
        ("neighbours", "the adjacent slices, if within 4 mm"),
        (
            "noise level",
            "10th percentile of the standard deviation over 9×9 px in fat and soft tissue, averaged over neighbouring "
            "slices; about 0.8 times the noise",
        ),
        ("prior", "[organ maps](organ_maps.md), pooled over the slice; priors from other sources are used unchanged"),
        (
            "input",
            f"HU, standardised (HU + 500) / 500; slices reflected by {net.border} px at the border; halo {net.halo} px",
        ),
        (
            "data",
            f"{training['slices']:,} slices of {training['patients']} patients from the collections in "
            f"[DATA.md](DATA.md) and {training['phantoms']} simulated torsos; test and validation patients held out "
            "(`Training/configs/split.json`)",
        ),
        ("dose fractions", f"{low:g} to {high:g}"),
        ("command", "`bioatt-train network CT OUT --split Training/configs/split.json`"),
        ("licence", "Apache-2.0"),
    ]


def _recipe(metadata: Found) -> list[tuple[str, str]]:
    training, recipe = metadata["training"], metadata["recipe"]
    drawing = recipe["drawing"]
    first, last = recipe["floor_hu"]
    rows = [
        ("steps", f"{training['steps']:,} of {drawing['batch']} patches, for both networks at once"),
        (
            "patches",
            f"{drawing['patch']} px, with the loss on the inner 100; {drawing['phantoms']} per batch are torsos",
        ),
        ("slices with neighbours", f"{100 * drawing['slabs']:.0f} % of the scans' patches"),
        (
            "noise",
            f"{100 * drawing['inserted']:.0f} % as inserted in the projection domain, otherwise drawn with the scan's "
            "spectrum, directions and levels; correlation between slices as measured",
        ),
        (
            "optimiser",
            f"AdamW, learning rate {recipe['learning_rate']:g} falling as a cosine to {recipe['least_rate']:g}, "
            f"weights averaged ({recipe['averaging']:g})",
        ),
        (
            "loss",
            f"relative squared error, regularised by {first:g} falling to {last:g} HU; means × "
            f"{recipe['means_weight']:g}; bias × {recipe['bias_weight']:g}; attention × {recipe['attention_weight']:g}",
        ),
    ]
    return rows + [("changed during training", text) for text in metadata.get("changes", ())]


def _strength(curve: Mapping[float, Found]) -> list[str]:
    whole, default = curve[1.0], curve[DEFAULT_STRENGTH]
    full, quarter = (f"noise_{dose}" for dose in ("full", "quarter"))
    return [
        "At strength 1, the network removes all the noise it recognises: "
        f"{100 * whole[full]:.0f} % of a full-dose scan's and {100 * whole[quarter]:.0f} % of a quarter-dose scan's "
        f"(repeated scans of a phantom, mean of three kernels). At the **default of {DEFAULT_STRENGTH:g}**, it removes "
        f"{100 * default[full]:.0f} and {100 * default[quarter]:.0f} %. Strength 1 is best against a noise-free ground "
        "truth; a reference scan has noise of its own.",
    ]


def _measured(name: str, benchmark: Found) -> list[str]:
    quarter = benchmark["patients"]["0.25"]
    by_dose = [[said, *_before_after(name, benchmark["patients"][dose]["all"])] for dose, said in DOSES.items()]
    parts = {**{f"{kind} kernels": quarter["by kernel"][kind] for kind in SHARPNESS}, **quarter["by region"]}
    parts["head (in training)"] = quarter["seen in training"]
    by_part = [
        [part, str(found[name][PSNR]["patients"]), *_before_after(name, found)]
        for part, found in parts.items()
        if name in found
    ]
    headings = ["PSNR low dose", "PSNR denoised", "SSIM low dose", "SSIM denoised", "soft-tissue bias HU", "noise HU"]
    phantoms, whole = benchmark["phantoms"]["all"], benchmark["whole"][name]
    lines = [
        "Default strength, window [-160, 240] HU, simulated dose; single slices compared with the original scan, whose "
        "noise limits the PSNR; means over patients with 95 % intervals. The "
        "[benchmark](../../Training/results/benchmark/README.md) has noise spectra and images.",
        "",
        *markdown_table(["dose", *headings], by_dose),
        "",
        *markdown_table(["quarter dose", "patients", *headings], by_part),
        "",
        "Against noise-free references (torsos of unseen seeds, quarter dose, input "
        f"{_mean(phantoms['low dose'], PSNR)} dB): {_mean(phantoms[name], PSNR)} dB, "
        f"SSIM {_mean(phantoms[name], SSIM, 3)} at the default, {_mean(phantoms[whole], PSNR)} dB, SSIM "
        f"{_mean(phantoms[whole], SSIM, 3)} at strength 1.",
        "",
    ]
    return lines + _over_filters(name, benchmark)


def _earlier_file(model: TrainedModel, measured: str) -> list[str]:
    """The file that the benchmark measured, if it was not this one."""
    if measured == model.sha256:
        return []
    return [
        "",
        f"The results in this section were measured with the file of SHA-256 `{measured[:16]}`; the "
        "[changelog](../../CHANGELOG.md) lists what has changed since.",
    ]


def _over_filters(name: str, benchmark: Found) -> list[str]:
    found = {f"{said} dose": benchmark["patients"][dose].get("with baselines") for dose, said in DOSES.items()}
    found["noise-free phantoms, at strength 1"] = benchmark["phantoms"].get("with baselines")
    lines = []
    for what, beside in found.items():
        if beside:
            gain = beside["gain"][benchmark["whole"][name] if "strength 1" in what else name]
            lines.append(
                f"- {what.capitalize()}: {_all(gain[PSNR], sign=True)} dB over {beside[f'best {PSNR}']}, SSIM "
                f"{_all(gain[SSIM], 3, sign=True)} over {beside[f'best {SSIM}']}."
            )
    head = (
        "**Classical filters**, tuned on other patients; gains on the central part of the slices over the best filter:"
    )
    return [head, "", *lines, ""] if lines else []


def _full_dose(safety: Found) -> list[str]:
    discs, phantom = safety["discs"]["soft tissue"], safety["truth_discs"]
    largest = max(abs(one["largest"]) for one in phantom.values())
    return [
        f"**Full dose.** Over {discs['count']} discs of 10 mm in soft tissue, the mean shift is {discs['mean']:.2f} HU "
        f"(lung {safety['discs']['lung']['mean']:.2f}, bone {safety['discs']['bone']['mean']:.2f}) with an SD of "
        f"{discs['sd']:.2f} HU. The RMS change of the image is {_all(safety['change_of_noise'])} times the scan's own "
        f"noise. In the mean of repeated scans of a phantom, no disc of 10 mm shifts by more than {largest:.1f} HU; "
        f"in single scans, the shift in soft tissue has an SD of {phantom['soft tissue']['single_sd']:.1f} HU. "
        f"Edges of 1000 HU keep {_by_kernel(safety['edges']['1000'])} of the input's f50.",
    ]


def _aims(name: str, aims: Found) -> list[str]:
    column = aims["columns"].index("model")
    rows = [
        [
            cell_text(cell, digits)
            for place, (cell, digits) in enumerate(zip(row, aims["digits"], strict=True))
            if place != column
        ]
        for row in aims["rows"]
        if row[column] == name
    ]
    return markdown_table([heading for heading in aims["columns"] if heading != "model"], rows)


def _before_after(name: str, found: Found) -> list[str]:
    low, after = found["low dose"], found[name]
    return [
        _all(low[PSNR]),
        _all(after[PSNR]),
        _mean(low, SSIM, 3),
        _all(after[SSIM], 3),
        _all(after[BIAS]),
        f"{_mean(low, NOISE, 1)} → {_mean(after, NOISE, 1)}",
    ]


def _all(found: Found, digits: int = 2, *, sign: bool = False) -> str:
    return format_interval((found["mean"], found["low"], found["high"]), digits, sign=sign, count=found["patients"])


def _mean(found: Found, metric: str, digits: int = 2) -> str:
    return format_number(found[metric]["mean"], digits)


def _by_kernel(ratios: Mapping[str, float]) -> str:
    return ", ".join(format_number(ratios.get(kind)) for kind in SHARPNESS)


def write_cards(models: Path, results: Path) -> None:
    """Write the card of every benchmarked model next to its weights."""
    found = [
        json.loads((results / study / "results.json").read_text("utf-8"))
        for study in ("benchmark", "network", "physics")
    ]
    for name in found[0]["models"]:
        write_markdown(models / f"{name}.md", card(load_model(str(models / f"{name}.safetensors")), *found))


if __name__ == "__main__":
    write_cards(Path(sys.argv[1]), Path(sys.argv[2]))
