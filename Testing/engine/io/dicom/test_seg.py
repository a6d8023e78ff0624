"""DICOM SEG: readable by highdicom, pydicom and SimpleITK, derived from the series and linked to it."""

from __future__ import annotations

import builtins
from dataclasses import replace

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from bioatt.anatomy.terminology import segments_of
from bioatt.core.errors import InputError
from bioatt.io.dicom.seg import check_segmentation_output, write_dicom_segmentation
from bioatt.io.images import read_volume

hd = pytest.importorskip("highdicom")

LIVER, KIDNEYS = 9, 13
MADE = {"algorithm": "BioAttDenoise organ maps", "version": "1", "automatic": True}


@pytest.fixture
def segmented(series, tmp_path):
    """Segment a synthetic series; returns (scan, labels, the written data set, its path)."""

    def make(**options):
        series(**options)
        scan = read_volume(series.folder)
        labels = np.zeros(scan.shape, np.uint8)
        labels[1:3, 6:12, 6:12], labels[3:, 8:20, 7:9] = LIVER, KIDNEYS
        path = tmp_path / "organs.dcm"
        write_dicom_segmentation(labels, segments_of(np.unique(labels)), scan, path, **MADE)
        return scan, labels, pydicom.dcmread(path), path

    return make


@pytest.mark.parametrize("step", [(0, 0, 2.5), (0, 0, -2.5)])
def test_labels_and_geometry_by_highdicom(segmented, step):
    scan, labels, _, path = segmented(step=step)
    read = hd.seg.segread(path)
    assert [description.segment_label for description in map(read.get_segment_description, read.segment_numbers)] == [
        "liver",
        "kidneys",
    ]
    pixels = read.get_pixels_by_source_instance(
        [pydicom.dcmread(source).SOPInstanceUID for source in scan.sources],
        combine_segments=True,
        assert_missing_frames_are_empty=True,
    )
    np.testing.assert_array_equal(np.array([0, LIVER, KIDNEYS])[pixels], labels)
    volume = read.get_volume(combine_segments=True)
    where = np.argwhere(volume.array == 1).mean(axis=0)
    meant = np.argwhere(labels == LIVER).mean(axis=0)[::-1]
    np.testing.assert_allclose((volume.affine @ [*where, 1])[:3], (scan.ijk_to_lps @ [*meant, 1])[:3], atol=1e-4)


def test_frames_by_itk(segmented):
    _, labels, header, path = segmented()
    frames = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    liver = [k for k in range(len(labels)) if (labels[k] == LIVER).any()]
    kidneys = [k for k in range(len(labels)) if (labels[k] == KIDNEYS).any()]
    meant = np.stack([labels[k] == value for value, slices in ((LIVER, liver), (KIDNEYS, kidneys)) for k in slices])
    np.testing.assert_array_equal(np.sort(frames.reshape(len(frames), -1) > 0, axis=None), np.sort(meant, axis=None))
    assert int(header.NumberOfFrames) == len(frames) == len(meant), "empty frames are left out"
    measures = header.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert [float(value) for value in measures.PixelSpacing] == [0.8, 0.7]


def test_it_is_of_the_patient_and_linked_to_the_series(segmented):
    scan, _, header, _ = segmented()
    source = pydicom.dcmread(scan.sources[0])
    for keyword in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert header[keyword].value == source[keyword].value
    assert header.SeriesInstanceUID != source.SeriesInstanceUID
    assert (header.Modality, header.SeriesNumber) == ("SEG", 2003)
    (referenced,) = header.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == source.SeriesInstanceUID
    assert len(referenced.ReferencedInstanceSequence) == len(scan.sources)
    assert "research" in header.SeriesDescription
    assert "research use only" in header.ContentDescription
    assert "VENDOR" not in str(header)


def test_segments_are_coded(segmented):
    _, _, header, _ = segmented()
    liver, kidneys = header.SegmentSequence
    assert liver.SegmentedPropertyTypeCodeSequence[0].CodeValue == "10200004"
    assert liver.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "91723000"
    kind = kidneys.SegmentedPropertyTypeCodeSequence[0]
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeValue == "51440002"
    assert liver.SegmentAlgorithmType == "AUTOMATIC"
    assert liver.SegmentationAlgorithmIdentificationSequence[0].AlgorithmName == MADE["algorithm"]
    assert len(liver.RecommendedDisplayCIELabValue) == 3


def test_a_file_is_not_replaced_unasked(segmented):
    scan, labels, _, path = segmented()
    with pytest.raises(InputError, match="another run created"):
        write_dicom_segmentation(labels, segments_of([LIVER]), scan, path, **MADE)


def test_without_a_series_or_an_organ(segmented, make_volume, tmp_path):
    scan, labels, _, _ = segmented()
    with pytest.raises(InputError, match="needs a DICOM series"):
        check_segmentation_output(make_volume(), tmp_path / "new.dcm")
    with pytest.raises(InputError, match="no organ"):
        write_dicom_segmentation(np.zeros_like(labels), (), scan, tmp_path / "new.dcm", **MADE)
    assert not (tmp_path / "new.dcm").exists()


def test_a_series_without_frame_of_reference_is_refused(series, tmp_path):
    series(drop=("FrameOfReferenceUID",))
    scan = read_volume(series.folder)
    labels = np.full(scan.shape, LIVER, np.uint8)
    with pytest.raises(InputError, match=r"name the output \.seg\.nrrd"):
        write_dicom_segmentation(labels, segments_of([LIVER]), scan, tmp_path / "new.dcm", **MADE)
    assert not [*tmp_path.glob("*.dcm")]


def test_a_missing_file_is_named(segmented, tmp_path):
    scan, labels, _, _ = segmented()
    gone = replace(scan, sources=(*scan.sources[:-1], tmp_path / "gone.dcm"))
    with pytest.raises(InputError, match="needs a DICOM series"):
        write_dicom_segmentation(labels, segments_of([LIVER]), gone, tmp_path / "new.dcm", **MADE)


def test_without_highdicom_the_way_is_named(segmented, tmp_path, monkeypatch):
    scan, *_ = segmented()
    real = builtins.__import__

    def missing(name, *rest):
        if name.startswith("highdicom"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(InputError, match=r"pip install 'bioatt\[seg\]'"):
        check_segmentation_output(scan, tmp_path / "new.dcm")
