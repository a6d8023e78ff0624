"""Organs as segments: DICOM codes and Slicer's terminology entries."""

from __future__ import annotations

from pydicom.sr.codedict import codes

from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt.anatomy.terminology import segments_of
from bioatt.core import segments as core

PAPER = load_descriptor_set("paper17")
TYPES = {
    code.value for name in codes.CID7151.dir() if (code := getattr(codes.CID7151, name)).scheme_designator == "SCT"
}


def test_every_descriptor_has_a_code_of_the_standards_segmentation_types() -> None:
    segments = segments_of(range(18))
    assert [(segment.value, segment.name) for segment in segments] == [*enumerate(PAPER.descriptors, start=1)]
    unlisted = [segment.name for segment in segments if segment.code not in TYPES]
    assert unlisted == ["bowel"], "no context group of the standard has the bowel as a whole"
    for segment in segments:
        if segment.name != "bowel":
            named = [getattr(codes.SCT, name) for name in codes.CID7151.dir() if hasattr(codes.SCT, name)]
            assert any((code.value, code.meaning) == (segment.code, segment.meaning) for code in named), segment


def test_category_and_laterality_are_the_standards() -> None:
    assert tuple(codes.SCT.AnatomicalStructure[:3]) == core.ANATOMICAL_STRUCTURE
    assert tuple(codes.SCT.Bilateral[:3]) == core.BILATERAL
    assert [segment.name for segment in segments_of(range(18)) if segment.bilateral] == [
        "shoulders",
        "lungs",
        "kidneys",
    ]


def test_a_terminology_entry_has_slicers_seven_parts() -> None:
    (kidneys,) = segments_of([0, 13])
    context, category, kind, modifier, regions, region, side = kidneys.terminology.split("~")
    assert (context, regions) == (
        "Segmentation category and type - DICOM master list",
        "Anatomic codes - DICOM master list",
    )
    assert category == "SCT^123037004^Anatomical Structure"
    assert kind == "SCT^64033007^Kidney"
    assert modifier == "SCT^51440002^Right and left"
    assert region == side == "^^"
