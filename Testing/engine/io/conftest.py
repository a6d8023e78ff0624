"""Shared by the tests of volumes: synthetic DICOM series made with pydicom, and a full disk."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


def ct_like(slices: int = 5, rows: int = 24, columns: int = 20, seed: int = 0) -> np.ndarray:
    """(z, y, x) int16 HU: tissue in air, every slice different."""
    rng = np.random.default_rng(seed)
    hu = np.full((slices, rows, columns), -1000)
    hu[:, 4:-4, 5:-4] = 40
    return (hu + rng.normal(0, 15, hu.shape)).round().clip(-1024, None).astype(np.int16)


def write_series(
    folder: Path,
    hu: np.ndarray | None = None,
    *,
    slope: float = 1.0,
    intercept: float = -1024.0,
    signed: bool = True,
    bits: int = 16,
    orientation: tuple[float, ...] = (1, 0, 0, 0, 1, 0),
    origin: tuple[float, ...] = (-10.5, -12.25, 100.0),
    step: tuple[float, ...] = (0, 0, 2.5),
    pixel: tuple[float, float] = (0.8, 0.7),
    keep: range | list[int] | None = None,
    name: str = "{:03d}.dcm",
    names: list[str] | None = None,
    syntax: str = ExplicitVRLittleEndian,
    drop: tuple[str, ...] = (),
    **elements: Any,
) -> np.ndarray:
    """Write one file per slice into a folder and return the series' HU.

    keep: slices to write; pixel: (row, column) spacing in mm; step: from one slice to the next in mm; drop: elements to
    omit; elements: DICOM keywords with their values, or functions of the slice index.
    """
    folder.mkdir(parents=True, exist_ok=True)
    hu = ct_like() if hu is None else hu
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    for k in range(len(hu)) if keep is None else keep:
        image = Dataset()
        image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, generate_uid()
        image.PatientName, image.PatientID = "Secret^Person", "SECRET-ID"
        image.StudyDate, image.StudyTime, image.AccessionNumber = "20200102", "101112", "SECRET-ACC"
        image.Modality, image.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
        image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = study, series, frame
        image.SeriesNumber, image.InstanceNumber, image.SeriesDescription = 3, k + 1, "Abdomen"
        image.KVP, image.SliceThickness, image.ConvolutionKernel = 120, 3.0, ["B30f", "2"]
        image.XRayTubeCurrent = 200
        image.ImageOrientationPatient = list(orientation)
        image.ImagePositionPatient = [o + k * s for o, s in zip(origin, step, strict=True)]
        image.PixelSpacing = list(pixel)
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.Rows, image.Columns = hu.shape[1:]
        image.BitsAllocated, image.BitsStored, image.HighBit = 16, bits, bits - 1
        image.PixelRepresentation = int(signed)
        image.RescaleSlope, image.RescaleIntercept, image.RescaleType = slope, intercept, "HU"
        image.SmallestImagePixelValue, image.LargestImagePixelValue = 0, 1
        image.add_new(0x00091001, "LO", "private")
        image.add_new(0x00090010, "LO", "VENDOR")
        stored = np.rint((hu[k] - intercept) / slope).astype("<i2" if signed else "<u2")
        image.PixelData = stored.tobytes()
        image["PixelData"].VR = "OW"
        for keyword, value in elements.items():
            setattr(image, keyword, value(k) if callable(value) else value)
        for keyword in drop:
            delattr(image, keyword)
        image.file_meta = FileMetaDataset()
        image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.file_meta.TransferSyntaxUID = syntax
        file = folder / (names[k] if names else name.format(k))
        pydicom.dcmwrite(
            file,
            image,
            implicit_vr=syntax == pydicom.uid.ImplicitVRLittleEndian,
            little_endian=True,
            enforce_file_format=True,
        )
    return hu


@pytest.fixture
def series(tmp_path):
    """`write_series` into a fresh folder, `series.folder`."""

    class Series:
        folder = tmp_path / "scan"

        def __call__(self, hu: np.ndarray | None = None, **options: Any) -> np.ndarray:
            return write_series(options.pop("folder", self.folder), hu, **options)

    return Series()


@pytest.fixture
def small_files_only():
    """Context manager that limits file sizes in bytes, as on a full disk (Linux and macOS only)."""

    @contextlib.contextmanager
    def limit(size: int) -> Iterator[None]:
        import resource

        old, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)
            signal.signal(signal.SIGXFSZ, handler)

    return limit
