"""Benchmark results as Markdown and as a plot."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def markdown(found: dict[str, Any]) -> str:
    """Format the tables: by part, by backend and precision, other filters."""
    machine, scan, most = found["machine"], found["scan"], found["ceilings"]
    (z, y, x), rounds = scan["shape_zyx"], scan["rounds"]
    limit = machine.get("ONEDNN_MAX_CPU_ISA")
    versions = ", ".join(f"{name} {machine[name]}" for name in ("torch", "openvino") if name in machine)
    reached = ", ".join(f"{key.partition('_')[0]} {value:.0f} GFLOP/s" for key, value in most.items() if "flops" in key)
    lines = [
        f"{machine['cpu']}, {machine['threads']} thread(s), {machine['instructions']}"
        + (f" limited to {limit}" if limit else "")
        + f"; {versions}. A convolution alone: {reached}; copying {most['copy_gb_s']:.0f} GB/s. "
        + f"{z} {'drawn slices' if scan['drawn'] else 'slices'} of {x} x {y}, CPU seconds per slice, "
        + (f"median of {rounds} rounds. " if rounds > 1 else "one round: differences of a few percent say nothing. ")
        + "The network is timed within the whole, every other part alone.",
    ]
    names = [*found["models"]]
    lines += ["", "| file to file | " + " | ".join(names) + " |", "| --- |" + " --- |" * len(names)]
    entries = [found["models"][name] for name in names]
    rows = {"whole": [f"{one['whole']['cpu']:.3f}" for one in entries]}
    for part in entries[0]["parts"] if entries else ():
        rows[part] = [f"{one['parts'][part]['cpu']:.4f}" for one in entries]
    rows["all but the network"] = [f"{100 * one['around_network']:.1f} %" for one in entries]
    rows["prior and noise level"] = [f"{100 * one['prior_and_noise_level']:.1f} %" for one in entries]
    rows["computed by"] = [one["way"] for one in entries]
    rows["network, counted"] = [f"{one['gflop_a_slice']:.1f} GFLOP, {one['gb_a_slice']:.2f} GB" for one in entries]
    lines += [f"| {row} | " + " | ".join(cells) + " |" for row, cells in rows.items()]
    lines += [
        "",
        "| network alone | model | CPU s | wall s | of the float32 ceiling |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, one in found["models"].items():
        for way, times in one["network_by_way"].items():
            share = one["of_fp32_ceiling"].get(way)
            of = "" if share is None else f"{100 * share:.0f} %"
            lines.append(f"| {way} | {name} | {times['cpu']:.3f} | {times['wall']:.3f} | {of} |")
    if found.get("others"):
        lines += _comparison(found)
    return "\n".join(lines) + "\n"


def _comparison(found: dict[str, Any]) -> list[str]:
    """Seconds per slice and, if the ground truth is known, PSNR.

    Models are at full strength like the other filters; the default strength leaves noise on purpose.
    """
    models, others, before = found["models"], found["others"], found["scan"]["psnr_db"]
    rows = {name: (one["whole"]["cpu"], one["psnr_db"]) for name, one in models.items()}
    rows |= {name: (one["cpu"], one["psnr_db"]) for name, one in others.items()}
    first, base = next((name, cpu) for name, (cpu, _) in rows.items())
    lines = ["", f"| one slice | CPU s | times {first} |", "| --- | --- | --- |"]
    lines += [f"| {name} | {cpu:.3f} | {cpu / base:.1f} |" for name, (cpu, _) in rows.items()]
    if before is None:
        return lines
    reached = [f" {'' if psnr is None else f'{psnr:.2f}'} |" for _, psnr in rows.values()]
    columns = ["", " PSNR, dB, at strength 1 |", " --- |", *reached]
    lines = [line + column for line, column in zip(lines, columns, strict=True)]
    return [*lines[:3], f"| unfiltered | | | {before:.2f} |", *lines[3:]]


def plot(found: dict[str, Any], path: Path) -> None:
    """Plot CPU seconds per slice of models and other filters as bars on a logarithmic axis."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    bars = {name: one["whole"]["cpu"] for name, one in found["models"].items()}
    bars |= {name: times["cpu"] for name, times in found.get("others", {}).items()}
    figure = Figure(figsize=(7, 0.35 * len(bars) + 1), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    colours = ["tab:blue"] * len(found["models"]) + ["0.6"] * (len(bars) - len(found["models"]))
    drawn = axes.barh([*bars], [*bars.values()], color=colours)
    axes.bar_label(drawn, fmt="%.3g", padding=3, fontsize=8)
    axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.invert_yaxis()
    axes.set_xlabel("CPU seconds per slice")
    figure.savefig(path, dpi=90)
