"""Color tables created here, because Slicer's color files may be missing. They are straight lines in CIELAB: equal
steps look equal.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

ATTENTION, DIFFERENCE, NOISE, MARKS = "attention", "difference", "noise", "marks"

_ANCHORS_LAB = {
    ATTENTION: (
        (8, 12, -28),
        (32, 55, -30),
        (55, 65, 25),
        (76, 28, 70),
        (96, -14, 60),
    ),  # violet, red, yellow; lightness rises evenly
    DIFFERENCE: (
        (72, -12, -44),
        (44, 12, -62),
        (5, 0, 0),
        (44, 62, 44),
        (72, 42, 28),
    ),  # light blue, blue, black, red, light red; equally light at both ends, black in the middle like the other views
    NOISE: ((6, 4, -14), (35, -12, -20), (65, -38, 22), (96, -8, 60)),  # blue-black, teal, green, yellow
}
MARK_RGB = (0.1, 1.0, 0.35)


def table(kind: str) -> Any:
    """The color table node of a kind, created if missing. It is hidden and saved with the scene."""
    tag = f"BioAttDenoise_{kind}"
    node = slicer.mrmlScene.GetSingletonNode(tag, "vtkMRMLColorTableNode")
    if node is not None:
        return node
    node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLColorTableNode")
    node.UnRegister(None)
    node.SetName(f"BioAttDenoise {kind}")
    node.SetSingletonTag(tag)
    node.SetHideFromEditors(True)
    node.SetTypeToUser()
    if kind == MARKS:
        node.SetNumberOfColors(2)
        node.SetColor(0, _("none"), 0.0, 0.0, 0.0, 0.0)
        node.SetColor(1, _("structure removed"), *MARK_RGB, 1.0)
    else:
        colors = ramp(kind)
        node.SetNumberOfColors(len(colors))
        for index, (red, green, blue) in enumerate(colors):
            node.SetColor(index, str(index), float(red), float(green), float(blue), 1.0)
        node.GetLookupTable().SetRange(0, len(colors) - 1)
    return slicer.mrmlScene.AddNode(node)


def ramp(kind: str, count: int = 256) -> np.ndarray:
    """(count, 3) sRGB values 0 … 1 of a kind."""
    anchors = np.array(_ANCHORS_LAB[kind], float)
    place = np.linspace(0, len(anchors) - 1, count)
    lab = np.stack([np.interp(place, np.arange(len(anchors)), channel) for channel in anchors.T], axis=1)
    return _srgb(lab)


def _srgb(lab: np.ndarray) -> np.ndarray:
    """CIELAB (D65) → sRGB, clipped to the gamut (IEC 61966-2-1)."""
    y = (lab[:, 0] + 16) / 116
    f = np.stack([y + lab[:, 1] / 500, y, y - lab[:, 2] / 200], axis=1)
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * (0.95047, 1.0, 1.08883)
    matrix = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])
    linear = np.clip(xyz @ matrix.T, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
