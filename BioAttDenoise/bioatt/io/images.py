"""Reading and writing volumes: NRRD, NIfTI and MetaImage by SimpleITK, DICOM through `dicom_series`."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from bioatt.core.errors import InputError
from bioatt.core.hu import cast, check_hu
from bioatt.core.provenance import DENOISED, DENOISED_BEFORE
from bioatt.core.volume import Acquisition, Volume
from bioatt.io.files import atomic_write, check_folder, check_name, same_file
from bioatt.io.integrity import check_whole, suffix_of

READABLE = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd")
WRITABLE = (".nrrd", ".nii", ".nii.gz", ".mha")
_COMPRESSION = 2  # 9 is four times slower and 3 % smaller
_NIFTI_INTEGERS = ("2", "4", "8", "256", "512", "768", "1024", "1280")

# The acquisition is one header line, "kernel=B30f; thickness_mm=3; kvp=120; modality=CT": NIfTI has room for no more.
_LINE, _NOTE, _NIFTI_LINE, _NIFTI_LENGTH = "Acquisition", "Note", "ITK_FileNotes", 79
_NOTES = (_NOTE, _NIFTI_LINE, "BioAttDenoise.Note")  # the last where Slicer saved an output of the panel
# Keys that SimpleITK's users copy from DICOM into NRRD and MetaImage.
_DICOM_KEYS = {"kernel": "0018|1210", "thickness_mm": "0018|0050", "kvp": "0018|0060", "modality": "0008|0060"}

sitk.ProcessObject.SetGlobalWarningDisplay(False)  # one line on stderr, and it is ours


def read_volume(path: str | os.PathLike[str], *, series: str | int | None = None, hu: bool = True) -> Volume:
    """Read a CT: NRRD, NIfTI, MetaImage, a DICOM file, or a folder with a DICOM series.

    series: SeriesNumber or SeriesInstanceUID where a folder holds several.
    hu: refuse values that cannot be HU; False for label volumes and maps on the CT's grid.
    Raises InputError where the file is missing, broken, or no CT.
    """
    if not os.fspath(path):
        raise InputError("an empty name: name a file or a folder")
    path = Path(path)
    name = path.absolute().name
    check_name(path)
    try:
        if not path.exists():
            raise InputError("no such file or folder: check the path")
        if path.is_file() and path.stat().st_size == 0:
            raise InputError("the file is empty: copy it again from its source")
        if path.is_file() and suffix_of(path) in READABLE:
            if series is not None:
                raise InputError("a file holds no series to choose from: leave the series out")
            volume = _read_file(path)
        else:
            from bioatt.io.dicom_read import read_series

            volume = read_series(path, series)
        return replace(volume, warnings=(*volume.warnings, *check_hu(volume.hu))) if hu else volume
    except OSError as error:
        raise InputError(f"{name} cannot be read ({error.strerror}): check the path and its rights") from None
    except MemoryError:
        raise InputError(f"{name} does not fit into memory: give fewer slices") from None
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def write_volume(volume: Volume, path: str | os.PathLike[str], *, note: str = "", overwrite: bool = True) -> None:
    """Write a volume as .nrrd, .nii, .nii.gz or .mha: whole, in its storage type, or not at all.

    The header gets geometry, kernel, slice thickness, kVp, modality and the note (NIfTI: as far as its 79 characters
    go), and nothing that identifies a person.
    overwrite: whether a file that is there may be replaced.
    Raises InputError where the place or the format cannot hold it (see `check_output`), or the disk is full.
    """
    path = Path(path)
    check_output(volume, path)
    image = sitk.GetImageFromArray(cast(volume.hu, volume.storage))
    image.SetSpacing(volume.spacing)
    image.SetOrigin(volume.origin)
    image.SetDirection(volume.direction.ravel())
    for key, value in _header(volume.acquisition, note, suffix_of(path)).items():
        image.SetMetaData(key, value)
    with atomic_write(path, overwrite=overwrite) as partial:
        try:
            sitk.WriteImage(image, str(partial), useCompression=True, compressionLevel=_COMPRESSION)
            _verify(image, partial)
        except RuntimeError:  # ITK says neither which error nor why
            raise OSError(errno.ENOSPC, "the disk may be full") from None


def check_output(volume: Volume, path: str | os.PathLike[str]) -> None:
    """Raise InputError where `write_volume` would refuse this path, so that a long run can ask first."""
    path = Path(path)
    suffix = suffix_of(path)
    check_name(path)
    if path.is_dir() or suffix not in WRITABLE:
        raise InputError(f"{path.name} names no volume file: name the output {', '.join(WRITABLE)}")
    if not path.name.endswith(suffix):
        raise InputError(f"{path.name}: many programs read no capitals in {suffix}: name the output so")
    if any(same_file(path, source) for source in volume.sources):
        raise InputError(f"{path.name} is the input itself, which stays untouched: name another output")
    check_folder(path.parent)
    if not volume.even:
        raise InputError("slices are missing or unevenly spaced, which only DICOM can hold: name a folder as output")
    if suffix.startswith(".nii") and not np.allclose(volume.direction.T @ volume.direction, np.eye(3), atol=1e-4):
        raise InputError(f"{path.name}: NIfTI cannot hold the tilted gantry's shear: name the output .nrrd or .mha")


def _read_file(path: Path) -> Volume:
    try:
        check_whole(path)
        with _alone(path) as file:
            image = _image(file)
    except RuntimeError as error:
        if "orthonormal" in str(error):
            raise InputError("sheared axes (tilted gantry?), which NIfTI cannot hold: give DICOM or .nrrd") from None
        raise InputError("damaged, or not of the format its name says: copy it again from its source") from None
    voxels = sitk.GetArrayFromImage(image)
    storage = voxels.dtype.name
    if storage.startswith("float") and _value(image, "datatype") in _NIFTI_INTEGERS and _whole(voxels):
        voxels = cast(voxels, "int16" if voxels.min() >= -32768 and voxels.max() <= 32767 else "int32")
        storage = voxels.dtype.name
    return Volume(
        hu=voxels,
        spacing=image.GetSpacing(),
        origin=image.GetOrigin(),
        direction=np.reshape(image.GetDirection(), (3, 3)),
        acquisition=_acquisition(image),
        sources=(path,),
        storage=storage,
        warnings=(DENOISED_BEFORE,) if any(DENOISED in _value(image, key) for key in _NOTES) else (),
    )


@contextmanager
def _alone(path: Path) -> Iterator[Path]:
    """The file under a name that ITK takes for what it is, with nothing beside it.

    ITK takes x.nii.gz's voxels from an x.nii beside it, and refuses suffixes with capitals.
    """
    suffix = suffix_of(path)
    beside = suffix == ".nii.gz" and path.with_name(path.name[: -len(".gz")]).exists()
    capitals = suffix in WRITABLE and not path.name.endswith(suffix)  # not .mhd and .nhdr, whose voxels lie beside
    if not beside and not capitals:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"scan{suffix}"
        try:
            file.symlink_to(path.absolute())
        except OSError:  # Windows lets few users make links
            shutil.copyfile(path, file)
        yield file


def _image(path: Path) -> sitk.Image:
    """A file as an image of three dimensions; InputError where it is not one plain volume, RuntimeError as ITK's."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    dimensions, components = reader.GetDimension(), reader.GetNumberOfComponents()
    if components != 1:
        raise InputError(f"{components} values a voxel (colour or vector): give a plain CT")
    if dimensions > 3 and any(extent != 1 for extent in reader.GetSize()[3:]):
        raise InputError(f"{dimensions} dimensions ({reader.GetSize()[3]} volumes): give one of them alone")
    image = reader.Execute()
    if dimensions == 2:
        image = sitk.JoinSeries(image)
    while image.GetDimension() > 3:
        image = image[..., 0]
    return image


def _whole(voxels: np.ndarray) -> bool:
    return bool(np.isfinite(voxels).all() and (voxels == np.rint(voxels)).all())


def _value(image: sitk.Image, key: str) -> str:
    return image.GetMetaData(key).strip() if image.HasMetaDataKey(key) else ""


def _acquisition(image: sitk.Image) -> Acquisition:
    values = {name: _value(image, key) for name, key in _DICOM_KEYS.items()}
    line = _value(image, _LINE) or _value(image, _NIFTI_LINE)
    values |= dict(re.findall(r"(kernel|thickness_mm|kvp|modality)=([^;]+)", line))

    def number(name: str) -> float | None:
        try:
            return float(values[name])
        except ValueError:
            return None

    kernel = values["kernel"].split("\\")[0]
    return Acquisition(kernel or None, number("thickness_mm"), number("kvp"), values["modality"] or None)


def _header(acquisition: Acquisition, note: str, suffix: str) -> dict[str, str]:
    values = {
        "kernel": acquisition.kernel,
        "thickness_mm": acquisition.slice_thickness_mm and f"{acquisition.slice_thickness_mm:g}",
        "kvp": acquisition.kvp and f"{acquisition.kvp:g}",
        "modality": acquisition.modality,
    }
    line = "; ".join(f"{name}={value}" for name, value in values.items() if value)
    if suffix.startswith(".nii"):
        line = "; ".join(part for part in (line, note) if part)
        line = line.encode("ascii", "replace").decode()[:_NIFTI_LENGTH]
        return {_NIFTI_LINE: line} if line else {}
    return {key: " ".join(text.split()) for key, text in ((_LINE, line), (_NOTE, note)) if text}


def _verify(image: sitk.Image, path: Path) -> None:
    """ITK leaves a short NIfTI on a full disk without an error, so what was written must read back the same."""
    written = sitk.ReadImage(str(path))
    if written.GetSize() != image.GetSize() or not np.array_equal(
        sitk.GetArrayViewFromImage(written), sitk.GetArrayViewFromImage(image), equal_nan=True
    ):
        raise RuntimeError
