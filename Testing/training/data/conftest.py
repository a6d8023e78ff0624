"""Small scans of a synthetic body, as arrays, volumes and DICOM series."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SIDE = 96


def body(slices: int = 4, seed: int = 0, side: int = SIDE) -> np.ndarray:
    """Noise-free torso-like slices, (z, y, x) HU; each seed gives a different body."""
    rng = np.random.default_rng(seed)
    y, x = (np.mgrid[:side, :side] - (side - 1) / 2) / side
    hu = np.full((slices, side, side), -1000.0, np.float32)
    for k in range(slices):
        hu[k][(x / 0.42) ** 2 + (y / 0.36) ** 2 < 1] = 40
    for _ in range(5):
        cx, cy = rng.uniform(-0.22, 0.22, 2)
        a, b = rng.uniform(0.04, 0.12, 2)
        hu[:, ((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 < 1] = rng.choice([-850, -90, 110, 300])
    return hu


def noisy(hu: np.ndarray, sigma: float, seed: int = 1) -> np.ndarray:
    """The body with white noise, int16 HU."""
    return np.rint(hu + np.random.default_rng(seed).normal(0, sigma, hu.shape)).astype(np.int16)


def write_series(
    folder: Path, hu: np.ndarray, *, patient: str = "P1", suffix: str = ".dcm", z0: float = 0.0, **header: object
) -> None:
    """Write a DICOM series with rescale intercept −1024, 3 mm slice spacing and 3 mm pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    series, study = generate_uid(), generate_uid()
    for k, plane in enumerate(hu):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = study, series, study
        image.PatientID, image.Modality, image.InstanceNumber = patient, "CT", k + 1
        image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        image.Rows, image.Columns = plane.shape
        image.PixelSpacing, image.SliceThickness = [3.0, 3.0], 3.0
        image.ImageOrientationPatient, image.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0.0, 0.0, z0 + 3.0 * k]
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated = image.BitsStored = 16
        image.HighBit, image.PixelRepresentation = 15, 1
        image.RescaleSlope, image.RescaleIntercept = 1, -1024
        for keyword, value in header.items():
            if value is None:
                delattr(image, keyword)
            else:
                setattr(image, keyword, value)
        image.PixelData = (plane.astype(np.int16) + 1024).astype(np.int16).tobytes()
        pydicom.dcmwrite(folder / f"{k:03d}{suffix}", image, enforce_file_format=True)


@pytest.fixture
def series() -> Callable[..., None]:
    return write_series


@pytest.fixture
def pair() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """make(seed, slices) → low and full dose of a body: 20 HU of noise in both, 40 HU in total in the low dose."""

    def make(seed: int = 0, slices: int = 4) -> tuple[np.ndarray, np.ndarray]:
        full = noisy(body(slices, seed), 20, seed + 100)
        return noisy(full, 34.6, seed + 200), full

    return make
