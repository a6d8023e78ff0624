"""How a result and the time left read."""

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
                f"<b>{result.noise_before:.1f} → {result.noise_after:.1f} HU</b> ({change:+.0f} %)".replace("-", "−"),
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
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60) if seconds >= 3600 else int(seconds // 60)
    if seconds < 3600:
        return f"{minutes}:{int(seconds % 60):02d} min"
    return f"{minutes // 60}:{minutes % 60:02d} h"


def time_left(seconds: float | None) -> str:
    """What the progress bar says about the time left."""
    if seconds is None:
        return ""
    if seconds < 60:
        return _("{seconds} s left").format(seconds=max(1, round(seconds)))
    return _("{minutes} min left").format(minutes=round(seconds / 60))


def device(name: str) -> str:
    """The engine's name of a device, for people."""
    if name.startswith("cuda"):
        return _("the graphics card")
    return {"cpu": _("the processor"), "mps": _("the Apple GPU")}.get(name, name)


def level(name: str) -> str:
    """The engine's name of a level of strength, for people; empty for none."""
    return {"low": _("low"), "medium": _("medium"), "high": _("high")}.get(name, "")


def source(name: str) -> str:
    """The engine's name of a prior's source, for people."""
    return {
        "embedded": _("built-in"),
        "biomedclip": "BiomedCLIP",
        "uniform": _("none (uniform)"),
        "random": _("random"),
        "file": _("from a file"),
    }.get(name, name)
