"""The report of a batch as a self-contained HTML page without scripts; follows the system's light or dark theme."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from html import escape
from pathlib import Path
from statistics import median
from typing import Any

from bioatt.service.studies import DONE, DONE_BEFORE, FAILED, LEFT_OUT

_ORDER = (FAILED, DONE, DONE_BEFORE, LEFT_OUT)
_STYLE = """
:root{color-scheme:light dark;--ground:#fff;--card:#f5f6f8;--text:#1b1f24;--faint:#5c6670;--line:#d9dde2;
--before:#c3cad3;--after:#1f6feb;--bad:#b42318;--warn:#8a5a00}
@media(prefers-color-scheme:dark){:root{--ground:#14171b;--card:#1d2126;--text:#e6e9ed;--faint:#98a2ad;--line:#343a42;
--before:#4a525c;--after:#58a6ff;--bad:#ff8a80;--warn:#e3b341}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:76rem;padding:1.5rem;background:var(--ground);color:var(--text);
font:15px/1.45 system-ui,sans-serif}
h1{font-size:1.5rem;margin:0 0 .3rem}h2{font-size:1.1rem;margin:2rem 0 .6rem}
p{margin:.3rem 0}.faint{color:var(--faint)}.bad{color:var(--bad)}.warn{color:var(--warn)}
.numbers{display:flex;flex-wrap:wrap;gap:.6rem;margin:1rem 0}
.numbers div{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.5rem .9rem}
.numbers b{display:block;font-size:1.35rem;font-weight:600}
article{display:grid;grid-template-columns:24rem minmax(13rem,1fr) minmax(17rem,1fr);gap:.6rem 1.2rem;
background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.8rem 1rem;margin:.6rem 0;
overflow-wrap:anywhere}
article h3{font-size:1rem;margin:0}article.plain{display:block}
figure{margin:0}figure img{display:block;border-radius:.25rem;background:#000;width:100%;height:auto}
figcaption{display:flex;color:var(--faint);font-size:.8rem}figcaption span{flex:1}
table{border-collapse:collapse;width:100%;font-size:.85rem;font-variant-numeric:tabular-nums}
td{padding:.05rem .3rem .05rem 0;vertical-align:middle}td.hu{text-align:right;white-space:nowrap}
.bar{position:relative;width:100%;min-width:5rem;height:.6rem}
.bar i{position:absolute;left:0;top:0;bottom:0;border-radius:.15rem;background:var(--before)}
.bar i+i{background:var(--after);top:.15rem;bottom:.15rem}
ul{margin:.3rem 0;padding-left:1.1rem}
@media(max-width:56rem){article{grid-template-columns:1fr}}
""".strip()


def page(found: dict[str, Any], out: Path) -> str:
    """Format a `report` as HTML; the thumbnails are read from the scans' folders in `out`."""
    sections = []
    for status in _ORDER:
        scans = [scan for scan in found["scans"] if scan["status"] == status]
        if scans:
            cards = "\n".join(_card(scan, out) for scan in scans)
            sections.append(f"<h2>{escape(status.capitalize())} ({len(scans)})</h2>\n{cards}")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>BioAttDenoise: {len(found['scans'])} scans</title><style>{_STYLE}</style></head>\n<body>\n"
        f"<header><h1>Batch report</h1><p class=faint>BioAttDenoise {escape(found['bioatt'])}, {found['finished']}. "
        "Research use only: not a medical device, not for diagnosis. Pictures and names may identify persons.</p>\n"
        f"{_numbers(found)}</header>\n{chr(10).join(sections)}\n</body></html>\n"
    )


def _numbers(found: dict[str, Any]) -> str:
    volumes = [volume for scan in found["scans"] for volume in scan["volumes"]]
    changes = [after / before - 1 for before, after in map(_noise, volumes) if before and after is not None]
    warned = sum(bool(volume["warnings"]) for volume in volumes)
    numbers = [(str(found["counts"][status]), status) for status in _ORDER if status in found["counts"]]
    numbers += [(f"{100 * median(changes):+.0f} %", "noise (median)")] if changes else []
    numbers += [(str(warned), "with warnings")] if warned else []
    numbers += [(_duration(found["seconds"]), "in total")]
    numbers += [(str(count), f"images left out: {kind}") for kind, count in found["images_left_out"].items()]
    return (
        "<div class=numbers>"
        + "".join(f"<div><b>{escape(n)}</b>{escape(what)}</div>" for n, what in numbers)
        + "</div>"
    )


def _card(scan: dict[str, Any], out: Path) -> str:
    name = f"<h3>{escape(scan['name'])}</h3>"
    if not scan["volumes"]:
        kind = "bad" if scan["status"] == FAILED else "faint"
        return f"<article class=plain>{name}<p class={kind}>{escape(scan['reason'] or '')}</p></article>"
    return "\n".join(_volume(scan, volume, name, out) for volume in scan["volumes"])


def _volume(scan: dict[str, Any], volume: dict[str, Any], name: str, out: Path) -> str:
    before, after = _noise(volume)
    asked = f"{volume['strength_asked']} ({volume['strength']:.2f})" if volume["strength_asked"] else volume["strength"]
    facts = [
        *([volume["phase"]] if volume["phase"] else []),
        f"{volume['shape_zyx'][0]} slices, {_duration(volume['seconds'])} on {volume['device']}",
        f"model {volume['model']['name']}, strength {asked}, rule {scan['rule']}",
        *([f"noise in soft tissue {before:.1f} → {after:.1f} HU"] if before and after is not None else []),
        f"in {scan['folder']}",
    ]
    lines = "".join(f"<p class=faint>{escape(str(line))}</p>" for line in facts)
    warnings = "".join(f"<li>{escape(line)}</li>" for line in volume["warnings"])
    warning_list = f"<ul class=warn>{warnings}</ul>" if warnings else ""
    picture = base64.b64encode((out / scan["folder"] / volume["preview"]).read_bytes()).decode()
    return (
        f'<article><figure><img loading=lazy alt="before and after" '
        f'src="data:image/webp;base64,{picture}"><figcaption><span>before</span><span>after</span></figcaption></figure>'
        f"<div>{name}{lines}{warning_list}</div>{_organs(volume['organs'])}</article>"
    )


def _organs(found: Iterable[dict[str, Any]]) -> str:
    measured = [row for row in found if row["noise_before"] is not None and row["noise_after"] is not None]
    if not measured:
        return "<p class=faint>no organ large enough to measure noise in</p>"
    most = max(max(row["noise_before"], row["noise_after"]) for row in measured)
    rows = "".join(_organ(row, most) for row in measured)
    return f"<div><table>{rows}</table><p class=faint>noise by organ, before and after</p></div>"


def _organ(row: dict[str, Any], most: float) -> str:
    before, after = row["noise_before"], row["noise_after"]
    bars = "".join(f'<i style="width:{100 * value / most:.0f}%"></i>' for value in (before, after))
    return (
        f"<tr><td>{escape(row['organ'])}<td><div class=bar>{bars}</div><td class=hu>{before:.1f} → {after:.1f} HU</tr>"
    )


def _noise(volume: dict[str, Any]) -> tuple[float | None, float | None]:
    return volume["noise_hu"]["before"], volume["noise_hu"]["after"]


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
