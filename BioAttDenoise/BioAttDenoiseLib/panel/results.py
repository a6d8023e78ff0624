"""Display texts for results, durations and engine names."""

from __future__ import annotations

import html
from typing import Any

from slicer.i18n import tr as _


def summary(result: Any) -> str:
    """A DenoiseResult as a small table (HTML)."""
    rows = []
    if result.noise_before is not None and result.noise_after is not None and result.noise_before > 0:
        change = 100 * (result.noise_after / result.noise_before - 1)
        rows.append(
            (
                _("Noise in soft tissue"),
                _("<b>{before:.1f} → {after:.1f} HU</b> ({change:+.0f} %)")
                .format(before=result.noise_before, after=result.noise_after, change=change)
                .replace("-", "−"),
            )
        )
    rows.append(
        (_("Time"), _("{time} on {device}").format(time=duration(result.seconds), device=device(result.device)))
    )
    rows.append((_("Model"), html.escape(f"{result.model['name']} ({result.model['sha256'][:8]})")))
    prior = source(result.prior["source"]) if result.prior else _("none")
    rows.append((_("Anatomy"), html.escape(prior)))
    number = f"{100 * result.strength:.0f} %"
    asked = level(result.strength_asked)
    rows.append((_("Strength"), f"{asked} ({number})" if asked else number))
    lines = "".join(f'<tr><td style="padding-right:8px">{name}</td><td>{value}</td></tr>' for name, value in rows)
    warnings = "".join(f"<p>⚠ {html.escape(text[:1].upper() + text[1:])}.</p>" for text in result.warnings)
    return f"<table>{lines}</table>{warnings}"


def duration(seconds: float) -> str:
    """12.3 s, 2:05 min, 1:02 h"""
    if seconds < 60:
        return _("{seconds:.1f} s").format(seconds=seconds)
    minutes = round(seconds / 60) if seconds >= 3600 else int(seconds // 60)
    if seconds < 3600:
        return _("{minutes}:{seconds:02d} min").format(minutes=minutes, seconds=int(seconds % 60))
    return _("{hours}:{minutes:02d} h").format(hours=minutes // 60, minutes=minutes % 60)


def slices(count: int) -> str:
    """1 slice, 2 slices"""
    return _("1 slice") if count == 1 else _("{count} slices").format(count=count)


def volumes(count: int) -> str:
    """1 volume, 2 volumes"""
    return _("1 volume") if count == 1 else _("{count} volumes").format(count=count)


def images(count: int) -> str:
    """1 DICOM image, 2 DICOM images"""
    return _("1 DICOM image") if count == 1 else _("{count} DICOM images").format(count=count)


def time_left(seconds: float | None) -> str:
    """Text of the progress bar for the time left."""
    if seconds is None:
        return ""
    if seconds < 60:
        return _("{seconds} s left").format(seconds=max(1, round(seconds)))
    return _("{minutes} min left").format(minutes=round(seconds / 60))


def device(name: str) -> str:
    """Display text for the engine's name of a device."""
    if name.startswith("cuda"):
        return _("the graphics card")
    return {"cpu": _("the processor"), "mps": _("the Apple GPU")}.get(name, name)


def level(name: str) -> str:
    """Display text for the engine's name of a strength level; empty for none."""
    return {"low": _("low"), "medium": _("medium"), "high": _("high")}.get(name, "")


def status(name: str) -> str:
    """Display text for the engine's name of a scan's outcome in a folder batch."""
    return {
        "done": _("done"),
        "done before": _("done before"),
        "left out": _("left out"),
        "failed": _("failed"),
    }.get(name, name)


def source(name: str) -> str:
    """Display text for the engine's name of a prior's source."""
    return {
        "maps": _("built-in"),
        "biomedclip": "BiomedCLIP",
        "uniform": _("none (uniform)"),
        "random": _("random"),
        "file": _("from a file"),
    }.get(name, name)
