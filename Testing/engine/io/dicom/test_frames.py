"""Enhanced multi-frame CT: every frame is a slice, and the result is a classic derived series."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EnhancedCTImageStorage, ExplicitVRLittleEndian, RLELossless, generate_uid
from Testing.engine.io.conftest import ct_like

from bioatt.core.errors import InputError
from bioatt.io.images import read_volume
from bioatt.io.outputs import check_result_output, write_result

HU = ct_like(6)
SLOPES = [1, 2, 1, 1, 2, 1]


def item(**elements):
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def frame(k, intercept, phase):
    return item(
        FrameContentSequence=[item(FrameAcquisitionNumber=phase, TemporalPositionIndex=phase)],
        PlanePositionSequence=[item(ImagePositionPatient=[-10.0, -12.0, 2.5 * k])],
        PixelValueTransformationSequence=[
            item(RescaleSlope=SLOPES[k], RescaleIntercept=intercept, RescaleType="HU"),
        ],
        CTImageFrameTypeSequence=[item(FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"])],
    )


@pytest.fixture
def enhanced(tmp_path):
    """Write an enhanced CT. order: slice of each frame; phases: temporal position of each slice."""

    def write(phases=(1,) * 6, order=(3, 0, 5, 1, 4, 2), syntax=ExplicitVRLittleEndian, frames=6):
        image = Dataset()
        image.SOPClassUID, image.SOPInstanceUID = EnhancedCTImageStorage, generate_uid()
        image.PatientName, image.PatientID, image.Modality = "Secret^Person", "SECRET-ID", "CT"
        image.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
        image.StudyInstanceUID, image.SeriesInstanceUID = generate_uid(), generate_uid()
        image.FrameOfReferenceUID, image.SeriesNumber, image.SeriesDescription = generate_uid(), 4, "Thorax"
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.Rows, image.Columns, image.NumberOfFrames = *HU.shape[1:], frames
        image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
        image.SharedFunctionalGroupsSequence = [
            item(
                PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
                PixelMeasuresSequence=[item(PixelSpacing=[0.8, 0.7], SliceThickness=3)],
                CTReconstructionSequence=[item(ConvolutionKernel="B30f", ReconstructionAlgorithm="FILTER_BACK_PROJ")],
                CTXRayDetailsSequence=[item(KVP=120)],
            )
        ]
        image.PerFrameFunctionalGroupsSequence = [frame(k, -1024, phases[k]) for k in order]
        stored = [np.rint((HU[k] // SLOPES[k] * SLOPES[k] + 1024) / SLOPES[k]).astype("<i2") for k in order]
        image.PixelData = np.stack(stored).tobytes()
        image["PixelData"].VR = "OW"
        image.file_meta = FileMetaDataset()
        image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        folder = tmp_path / "scan"
        folder.mkdir(exist_ok=True)
        pydicom.dcmwrite(folder / "ct.dcm", image, enforce_file_format=True)
        if syntax != ExplicitVRLittleEndian:
            packed = pydicom.dcmread(folder / "ct.dcm")
            packed.compress(syntax, generate_instance_uid=False)
            packed.save_as(folder / "ct.dcm")
        return folder / "ct.dcm", image

    return write


EXPECTED = np.stack([plane // slope * slope for plane, slope in zip(HU, SLOPES, strict=True)])


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
@pytest.mark.parametrize("whole_folder", [True, False])
def test_each_frame_is_a_slice_at_its_place(enhanced, syntax, whole_folder):
    path, _ = enhanced(syntax=syntax)
    volume = read_volume(path.parent if whole_folder else path)
    np.testing.assert_array_equal(volume.hu, EXPECTED)
    assert volume.spacing == (0.7, 0.8, 2.5)
    assert volume.origin == (-10.0, -12.0, 0.0)
    kept = volume.acquisition
    assert (kept.kernel, kept.slice_thickness_mm, kept.kvp) == ("B30f", 3.0, 120.0)
    assert any("enhanced multi-frame CT" in line for line in volume.warnings)


def test_it_is_answered_with_a_classic_derived_series(enhanced, tmp_path):
    path, image = enhanced()
    volume = read_volume(path)
    out = tmp_path / "out"
    check_result_output(volume, out)
    changed = volume.with_hu(volume.hu + 10)
    write_result(changed, out, model_name="m", model_version="1", strength=1)
    np.testing.assert_array_equal(read_volume(out).hu, changed.hu)
    first = pydicom.dcmread(out / "0001.dcm")
    assert first.SOPClassUID == "1.2.840.10008.5.1.4.1.1.2"
    assert (first.PatientID, first.StudyInstanceUID, first.SeriesNumber) == ("SECRET-ID", image.StudyInstanceUID, 1004)
    assert first.ImagePositionPatient == [-10, -12, 0]
    assert "PerFrameFunctionalGroupsSequence" not in first
    reference = first.SourceImageSequence[0]
    assert reference.ReferencedSOPInstanceUID == image.SOPInstanceUID
    assert reference.ReferencedSOPClassUID == EnhancedCTImageStorage
    assert reference.ReferencedFrameNumber == 2


def test_phases_within_it_are_a_choice(enhanced):
    path, _ = enhanced(phases=(1, 2) * 3)
    with pytest.raises(InputError, match=r"temporal position 1.*temporal position 2"):
        read_volume(path)
    np.testing.assert_array_equal(read_volume(path, phase=2).hu, EXPECTED[1::2])


def test_frames_without_headers_or_pixels_are_refused(enhanced):
    path, _ = enhanced(frames=7)
    with pytest.raises(InputError, match="7 frames but headers for 6"):
        read_volume(path)
    path, _ = enhanced()
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InputError, match=r"ct\.dcm is damaged"):
        read_volume(path)
