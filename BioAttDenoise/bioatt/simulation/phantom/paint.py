"""One step of painting: a shape, its HU and its label."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bioatt.simulation.phantom.shapes import Array, Points, Shape

Colour = float | Callable[[Points], Array]

# Names follow the descriptor set `paper17` if it has the structure.
_NAMES = """
air; skin and fat; muscle; bone; spine; lungs; lung vessels; airways; mediastinum; heart; thoracic aorta;
abdominal aorta; vessels; liver; liver vessels; liver lesion; spleen; stomach; pancreas; kidneys; bowel; gallbladder
"""
LABELS = {name.strip(): value for value, name in enumerate(_NAMES.split(";"))}


@dataclass
class Paint:
    """Paints `shape` over everything before; `softness` (mm) makes its edge wider than a pixel."""

    shape: Shape
    hu: Colour
    label: str
    softness: float = 0.0
