"""The shipped networks' model cards, from the model files and the stored results of the studies. For all of them:

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
    "bioatt": "The default. [bioatt-fast](bioatt-fast.md) has half of the filters.",
    TAUGHT: "The faster model: half of the filters of [bioatt](bioatt.md), the default, from which it learned.",
}
_HEAD = """\
# {name}

A U-net that sees a slice with its neighbours and its noise level, with the organ-aware attention of BioAtt (arXiv
2504.01662) and {descriptors} anatomical descriptors. {lead} **Research use only, not a medical device, not for
diagnosis.**
"""
_RECIPE = """
- *Relative squared error*: the squared error of a patch divided by its input's, to which the regularisation is added in
  quadrature.
- *Means*: the error of the mean over squares of 20 px, which readers measure.
- *Bias*: torsos appear with a noise and with its opposite; what both outputs lose of the anatomy (blurred edges, lost
  contrast), which squared error trades for less noise, counts so much more, at noise well below 16 HU.
- *Attention*: cross-entropy of the attention maps with the organ maps.
- Targets are the tissue without noise: of scans by Noisier2Noise (Moran 2020, arXiv 1910.11908), of torsos the
  noise-free reconstruction. Half of the patches get ellipsoids of 8 to 1000 HU, half another kernel.
"""
_LIMITS = """\
- **The noise that remains is coarser than the scan's**: {shift} at the default strength, at full dose. More strength,
  coarser noise.
- **Low-contrast edges become softer**: at full dose and default strength f50 of a 100 HU insert is {edge_100} of the
  noise-free scan's, of a 50 HU insert {edge_50} (soft, medium, sharp kernels).
- **The faintest detail of a good scan can be lost.** The structure check cannot see details that barely exceed the
  noise. Use less strength on good scans, and look at the difference image.
- **An attention map is a learned weighting**, no organ outline; the [organ maps](organ_maps.md) show organs.
- The bias of noisy soft tissue includes regression to the mean: tissue is selected by the scan, whose noise the output
  lacks. In the tables noise is the standard deviation over 9×9 pixels; the remaining noise is coarser and more.
- Brain and pelvis come from few patients: two volumes of the pelvis (one of them left out), one head above the eyes.
- An area filled with one tissue-like value (a blanked area, a background of 0 HU after resampling) looks like quiet
  tissue to the network, which then leaves more noise near it. Fill with air, -1000 HU.
- Metal, children, cone-beam and photon-counting CT were not in the training. Only axial slices were.
- The noise was simulated for one energy, without beam hardening or scatter; no scan of another dose was available.
"""


def card(model: TrainedModel, benchmark: Found, network: Found, physics: Found) -> list[str]:
    """The lines of a model's card: what it is, its recipe, what was measured, limits.

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
        "## What the strength means",
        "",
        *_strength(curve),
        "",
        f"## Measured on the {patients} left-out patients",
        "",
        *_measured(name, benchmark),
        *_full_dose(benchmark["safety"][name]),
        *(["", f"**Low contrast.** {low_contrast(physics)}"] if physics["model"]["name"] == name else []),
        "",
        "## Any prior, with and without neighbours",
        "",
        "What the network was meant to reach and what it does, on left-out patients at quarter dose; more in the",
        "[examination](../../Training/results/network/README.md).",
        "",
        *_aims(name, network["aims"]),
        "",
        "## Limits",
        "",
        *limits.splitlines(),
    ]
    return [part for line in lines for part in _wrapped(line)]


def _wrapped(line: str) -> list[str]:
    """A line of prose as lines of up to 120 characters; rows of tables stay whole."""
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
        ("neighbours", "slices within 4 mm, at most three on either side"),
        (
            "noise level",
            "10th percentile of the standard deviation over 9×9 px in fat and soft tissue, averaged over neighbouring "
            "slices: about 0.8 of the noise",
        ),
        ("prior", "[organ maps](organ_maps.md), pooled over the slice; any other source reaches the network as it is"),
        (
            "input",
            f"HU, standardised (HU + 500) / 500; slices reflected by {net.border} px at the border; halo {net.halo} px",
        ),
        (
            "data",
            f"{training['slices']:,} slices of {training['patients']} people of the collections in [DATA.md](DATA.md) "
            f"and {training['phantoms']} simulated torsos; test and validation patients left out "
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
            f"{drawing['patch']} px, the loss on the inner 100; {drawing['phantoms']} of a batch are of torsos",
        ),
        ("slices with neighbours", f"{100 * drawing['slabs']:.0f} % of the scans' patches"),
        (
            "noise",
            f"{100 * drawing['inserted']:.0f} % as it was inserted in the projection domain, else drawn with the "
            "scan's spectrum, directions and levels; between slices as it was measured",
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
    return rows + [("changed on the way", text) for text in metadata.get("changes", ())]


def _strength(curve: Mapping[float, Found]) -> list[str]:
    whole, default = curve[1.0], curve[DEFAULT_STRENGTH]
    full, quarter = (f"noise_{dose}" for dose in ("full", "quarter"))
    return [
        "At strength 1 the network removes all the noise that it recognises: "
        f"{100 * whole[full]:.0f} % of a full-dose scan's and {100 * whole[quarter]:.0f} % of a quarter-dose scan's "
        f"(repeated scans of a phantom, mean of three kernels). At the **default of {DEFAULT_STRENGTH:g}** it is "
        f"{100 * default[full]:.0f} and {100 * default[quarter]:.0f} %. Against a noise-free truth, 1 is best; a scan "
        "that is compared with has noise of its own.",
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
        "Default strength, window [-160, 240] HU, simulated dose, single slices against the scan itself, whose own "
        "noise limits the PSNR; means over patients with 95 % intervals. Noise spectra and pictures are in the "
        "[benchmark](../../Training/results/benchmark/README.md).",
        "",
        *markdown_table(["dose", *headings], by_dose),
        "",
        *markdown_table(["quarter dose", "patients", *headings], by_part),
        "",
        "Against noise-free references (torsos of unseen seeds, quarter dose, "
        f"{_mean(phantoms['low dose'], PSNR)} dB): {_mean(phantoms[name], PSNR)} dB, "
        f"SSIM {_mean(phantoms[name], SSIM, 3)} at the default, {_mean(phantoms[whole], PSNR)} dB, SSIM "
        f"{_mean(phantoms[whole], SSIM, 3)} at strength 1.",
        "",
    ]
    return lines + _over_filters(name, benchmark)


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
    head = "**Classical filters** on the middle of the slices, tuned on other patients; the best at each dose:"
    return [head, "", *lines, ""] if lines else []


def _full_dose(safety: Found) -> list[str]:
    discs, phantom = safety["discs"]["soft tissue"], safety["truth_discs"]
    largest = max(abs(one["largest"]) for one in phantom.values())
    return [
        f"**Full dose.** Over {discs['count']} discs of 10 mm in soft tissue the mean shift is {discs['mean']:.2f} HU "
        f"(lung {safety['discs']['lung']['mean']:.2f}, bone {safety['discs']['bone']['mean']:.2f}) with an SD of "
        f"{discs['sd']:.2f} HU. The change of the whole image is {_all(safety['change_of_noise'])} of the scan's own "
        f"noise. In the mean of repeated scans of a phantom no disc of 10 mm is shifted by more than {largest:.1f} HU; "
        f"in single scans the shift in soft tissue has an SD of {phantom['soft tissue']['single_sd']:.1f} HU there. "
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
    """Write the card of every model that the benchmark measured, beside its weights."""
    found = [
        json.loads((results / study / "results.json").read_text("utf-8"))
        for study in ("benchmark", "network", "physics")
    ]
    for name in found[0]["models"]:
        write_markdown(models / f"{name}.md", card(load_model(str(models / f"{name}.safetensors")), *found))


if __name__ == "__main__":
    write_cards(Path(sys.argv[1]), Path(sys.argv[2]))
