"""Segmentations for Slicer: one layer on the scan's grid, the segments in the header."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from bioatt.anatomy.terminology import segments_of
from bioatt.core.errors import InputError
from bioatt.io.images import read_volume
from bioatt.io.seg_nrrd import write_segmentation
from bioatt.priors.segmentation import read_segmentation


@pytest.fixture
def written(make_volume, tmp_path):
    scan = make_volume(slices=4, direction=np.diag([-1, -1, 1]), origin=(10, 20, -30))
    labels = np.zeros(scan.shape, np.uint8)
    labels[1:3, 10:30, 10:30], labels[2:, 40:50, 40:60] = 9, 17
    path = tmp_path / "organs.seg.nrrd"
    write_segmentation(labels, segments_of(np.unique(labels)), scan, path, note="Organs: research use only")
    return scan, labels, path


def test_labels_and_geometry_read_back(written):
    scan, labels, path = written
    again = read_volume(path, hu=False)
    np.testing.assert_array_equal(again.hu, labels)
    assert again.storage == "uint8"
    np.testing.assert_allclose(again.ijk_to_lps, scan.ijk_to_lps)
    image = sitk.ReadImage(str(path))
    assert image.GetPixelID() == sitk.sitkUInt8
    assert "research use only" in image.GetMetaData("Note")


def test_segments_are_in_the_header_as_slicer_writes_them(written):
    image = sitk.ReadImage(str(written[2]))
    header = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    assert header["Segment0_Name"] == "liver"
    assert header["Segment0_LabelValue"] == "9"
    assert header["Segment1_ID"] == "Segment_17"
    assert header["Segment1_Layer"] == "0"
    assert header["Segment1_Extent"] == "0 79 0 71 0 3"
    assert header["Segment0_Tags"].startswith("TerminologyEntry:Segmentation category and type")
    assert [float(part) for part in header["Segment0_Color"].split()] == pytest.approx(
        [221 / 255, 130 / 255, 101 / 255], abs=1e-5
    )
    assert header["Segmentation_MasterRepresentation"] == "Binary labelmap"


def test_our_own_reader_knows_the_names(written):
    assert read_segmentation(written[2]).names == {9: "liver", 17: "spine"}


def test_nothing_is_replaced_unasked(written):
    scan, labels, path = written
    with pytest.raises(InputError, match="another run created"):
        write_segmentation(labels, segments_of([9]), scan, path, note="")
