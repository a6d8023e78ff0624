"""Organs as segments: terminology codes and Slicer's colours, by descriptor.

Codes are those of SNOMED CT that PS3.16 lists in CID 7151 (Segmentation Property Types). The bowel as a whole is in
none of its context groups, so its code comes from SNOMED CT itself. Colours are those of Slicer's general anatomy list,
if it has one.
"""

from __future__ import annotations

from collections.abc import Iterable

from bioatt.anatomy.descriptors import ANATOMY_SET, load_descriptor_set
from bioatt.core.resources import resources_folder
from bioatt.core.segments import Segment
from bioatt.io.files import read_json


def segments_of(values: Iterable[int]) -> tuple[Segment, ...]:
    """Segments of these values of a label volume, in order, without 0."""
    table = read_json(resources_folder() / "Anatomy" / "terminology" / f"{ANATOMY_SET}.json", "terminology")
    names = load_descriptor_set(ANATOMY_SET).descriptors
    found = []
    for value in sorted({int(value) for value in values} - {0}):
        entry = table[names[value - 1]]
        red, green, blue = entry["color"]
        found.append(
            Segment(
                value,
                names[value - 1],
                (red, green, blue),
                entry["code"],
                entry["meaning"],
                entry.get("bilateral", False),
            )
        )
    return tuple(found)
