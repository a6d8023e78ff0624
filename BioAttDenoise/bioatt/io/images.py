"""Reading and writing volumes: NRRD and MetaImage with SimpleITK, NIfTI with `nifti`, DICOM with `dicom.read`."""

from __future__ import annotations

import errno
import gzip
import os
import re
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from bioatt.core.errors import InputError, SeveralVolumesError
from bioatt.core.geometry import check_spacing
from bioatt.core.hu import cast, check_hu
from bioatt.core.provenance import DENOISED, DENOISED_BEFORE
from bioatt.core.volume import Acquisition, Volume
from bioatt.io.dicom.reconstructions import reconstruction, reconstruction_warning
from bioatt.io.files import atomic_write, check_folder, check_name, same_file, suffix_of
from bioatt.io.formats.nifti import forget_orientation, read_nifti, volume_index
from bioatt.io.integrity import check_whole
from bioatt.io.quiet import quiet_stderr

READABLE = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd")
WRITABLE = (".nrrd", ".nii", ".nii.gz", ".mha")
_LONGEST_HEADER = 1 << 16
_COMPRESSION = 2  # 9 is four times slower and 3 % smaller
# The acquisition is one header line, "kernel=B30f; thickness_mm=3; kvp=120; modality=CT", to fit into NIfTI.
_LINE, _NOTE, _NIFTI_LINE, _NIFTI_LENGTH = "Acquisition", "Note", "ITK_FileNotes", 79
_NOTES = (_NOTE, _NIFTI_LINE, "BioAttDenoise.Note")  # the last if Slicer saved an output of the panel
# Keys that SimpleITK users copy from DICOM into NRRD and MetaImage.
_DICOM_KEYS = {"kernel": "0018|1210", "thickness_mm": "0018|0050", "kvp": "0018|0060", "modality": "0008|0060"}

sitk.ProcessObject.SetGlobalWarningDisplay(False)  # keep stderr to our own line


def read_volume(
    path: str | os.PathLike[str] | Sequence[Path],
    *,
    series: str | int | None = None,
    phase: str | int | None = None,
    hu: bool = True,
) -> Volume:
    """Read a CT from NRRD, NIfTI, MetaImage, a DICOM file, a folder with a DICOM series, or the files of a series.

    series: SeriesNumber or SeriesInstanceUID if a folder holds several series.
    phase: if a series or file holds several volumes (contrast phases, 4-D), the number of one, counted from 1; for
    DICOM also a text that its description contains.
    hu: refuse values that cannot be HU; False for label volumes and maps on the CT's grid.
    Raises InputError if the file is missing, damaged or not a CT; SeveralVolumesError if a phase must be chosen.
    """
    files = [Path(path)] if isinstance(path, (str, os.PathLike)) else [*path]
    if not path:
        raise InputError("an empty name: name a file or a folder")
    place = files[0] if len(files) == 1 else files[0].parent
    name = place.absolute().name
    check_name(place)
    try:
        volume = _read_place(place, series, phase) if len(files) == 1 else _read_dicom(files, series, phase)
        if not hu:
            return volume
        _check_modality(volume.acquisition)
        return replace(volume, warnings=(*volume.warnings, *check_hu(volume.hu)))
    except OSError as error:
        raise InputError(f"{name} cannot be read ({error.strerror}): check the path and its permissions") from None
    except MemoryError:
        raise InputError(f"{name} does not fit in memory: give fewer slices") from None
    except SeveralVolumesError as error:
        raise SeveralVolumesError(f"{name}: {error}", error.volumes) from None
    except InputError as error:  # the reader of a single file may already name it
        raise InputError(str(error) if str(error).startswith(name) else f"{name}: {error}") from None


def read_acquisition(path: Path) -> Acquisition:
    """Acquisition parameters in the header of a volume file (READABLE); empty if it cannot be read.

    Read as text, since some headers make ITK abort the program, and checking them first would read the voxels.
    """
    suffix = suffix_of(path)
    try:
        with gzip.open(path) if suffix == ".nii.gz" else path.open("rb") as stream:
            start = stream.read(_LONGEST_HEADER)
    except (OSError, EOFError, zlib.error):
        return Acquisition()
    if suffix.startswith(".nii"):  # descrip of NIfTI-1 and NIfTI-2
        return _acquisition_in((start[148:228] + b";" + start[240:320]).decode("ascii", "replace").replace("\0", ";"))
    header = start.partition(b"\n\n" if suffix in (".nrrd", ".nhdr") else b"ElementDataFile")[0]
    fields = dict(re.findall(r"^([^=:\n]+?) ?:?= ?(.*?)\r?$", header.decode("utf-8", "replace"), re.MULTILINE))
    return _acquisition(fields.get)


def _read_place(path: Path, series: str | int | None, phase: str | int | None) -> Volume:
    if not path.exists():
        raise InputError("no such file or folder: check the path")
    if path.is_file() and path.stat().st_size == 0:
        raise InputError("the file is empty: copy it again from its source")
    if not path.is_file() or suffix_of(path) not in READABLE:
        return _read_dicom(path, series, phase)
    if series is not None:
        raise InputError("a single file has no series to choose from: omit the series")
    return _with_warnings(_read_file(path, _number_of(phase)))


def _read_dicom(path: Path | Sequence[Path], series: str | int | None, phase: str | int | None) -> Volume:
    from bioatt.io.dicom.read import read_series

    return read_series(path, series, phase)


def write_volume(
    volume: Volume,
    path: str | os.PathLike[str],
    *,
    note: str = "",
    header: Mapping[str, str] | None = None,
    overwrite: bool = True,
) -> None:
    """Write a volume atomically, in its storage type, as .nrrd, .nii, .nii.gz or .mha.

    The header gets the geometry, kernel, slice thickness, kVp, modality and note (NIfTI: at most 79 characters), and
    nothing that identifies a person.
    header: further keys and values (not NIfTI). overwrite: whether an existing file may be replaced.
    Raises InputError if the path or format is unsuitable (see `check_output`) or the disk is full.
    """
    path = Path(path)
    check_output(volume, path)
    image = sitk.GetImageFromArray(cast(volume.hu, volume.storage))
    image.SetSpacing(volume.spacing)
    image.SetOrigin(volume.origin)
    image.SetDirection(volume.direction.ravel())
    for key, value in (_header(volume.acquisition, note, suffix_of(path)) | dict(header or {})).items():
        image.SetMetaData(key, value)
    with atomic_write(path, overwrite=overwrite) as partial:
        try:
            sitk.WriteImage(image, str(partial), useCompression=True, compressionLevel=_COMPRESSION)
            if suffix_of(path).startswith(".nii") and not volume.oriented:
                forget_orientation(partial)
            _verify(image, partial)
        except RuntimeError:  # ITK gives no reason
            raise OSError(errno.ENOSPC, "the disk may be full") from None


def check_output(volume: Volume, path: str | os.PathLike[str]) -> None:
    """Raise InputError if `write_volume` would refuse this path, to check before a long run."""
    path = Path(path)
    suffix = suffix_of(path)
    check_name(path)
    if path.is_dir() or suffix not in WRITABLE:
        raise InputError(f"{path.name} is not a volume format: name the output {', '.join(WRITABLE)}")
    if not path.name.endswith(suffix):
        raise InputError(f"{path.name}: many programs need {suffix} in lower case: rename the output")
    if any(same_file(path, source) for source in volume.sources):
        raise InputError(f"{path.name} is the input itself, which stays untouched: name another output")
    check_folder(path.parent)
    if not volume.even:
        raise InputError(
            "slices are missing or unevenly spaced, which only DICOM can represent: name a folder as output"
        )
    if suffix.startswith(".nii") and not volume.right_angled:
        raise InputError(
            f"{path.name}: NIfTI cannot store the shear of a tilted gantry: name .nrrd or .mha, or use --resample"
        )


def _check_modality(acquisition: Acquisition) -> None:
    """Refuse a volume whose header names a modality other than CT; most file headers name none."""
    modality = (acquisition.modality or "CT").strip().upper()
    if modality != "CT":
        raise InputError(f"the header gives modality {modality[:16]}, but only CT can be denoised: give a CT")


def _number_of(phase: str | int | None) -> int | None:
    try:
        return None if phase is None else int(phase)
    except ValueError:
        raise InputError(f"phase {phase!r} is not a number: choose a file's volume by its number from 1") from None


def _read_file(path: Path, number: int | None) -> Volume:
    if suffix_of(path).startswith(".nii"):
        return _read_nifti(path, number)
    try:
        check_whole(path)
        with _readable_name(path) as file, quiet_stderr():
            image = _image(file, number)
    except RuntimeError:
        raise InputError("damaged, or not the format its name suggests: copy it again from its source") from None
    return Volume(
        hu=sitk.GetArrayFromImage(image),
        spacing=image.GetSpacing(),
        origin=image.GetOrigin(),
        direction=np.reshape(image.GetDirection(), (3, 3)),
        acquisition=_acquisition(lambda key: _value(image, key)),
        sources=(path,),
        warnings=(DENOISED_BEFORE,) if any(DENOISED in _value(image, key) for key in _NOTES) else (),
    )


def _with_warnings(volume: Volume) -> Volume:
    """Add a warning if the header's kernel belongs to a reconstruction that reduces noise."""
    method = reconstruction({"ConvolutionKernel": volume.acquisition.kernel})
    if method is None or DENOISED_BEFORE in volume.warnings:
        return volume
    return replace(volume, warnings=(*volume.warnings, reconstruction_warning(method)))


def _read_nifti(path: Path, number: int | None) -> Volume:
    found = read_nifti(path, None if number is None else number - 1)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ found.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    check_spacing(tuple(spacing))
    return Volume(
        hu=found.voxels,
        spacing=tuple(spacing),
        origin=tuple(affine[:3, 3]),
        direction=affine[:3, :3] / spacing,
        acquisition=_acquisition_in(found.description),
        sources=(path,),
        storage=found.storage,
        oriented=found.oriented,
        warnings=(*found.notes, *((DENOISED_BEFORE,) if DENOISED in found.description else ())),
    )


@contextmanager
def _readable_name(path: Path) -> Iterator[Path]:
    """Yield the file under a name that ITK accepts; it refuses upper-case suffixes."""
    suffix = suffix_of(path)
    if suffix not in WRITABLE or path.name.endswith(suffix):  # .mhd and .nhdr need their data files next to them
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"scan{suffix}"
        try:
            file.symlink_to(path.absolute())
        except OSError:  # most Windows users may not create links
            shutil.copyfile(path, file)
        yield file


def _image(path: Path, number: int | None) -> sitk.Image:
    """Read a file as a 3D image. Raises InputError if it is not a single plain volume, RuntimeError from ITK."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    dimensions, components, size = reader.GetDimension(), reader.GetNumberOfComponents(), reader.GetSize()
    if components != 1 and number is not None:  # a list of volumes, as Slicer writes sequences
        index = volume_index(number, components)
        return sitk.VectorIndexSelectionCast(reader.Execute(), index)
    if components != 1:
        raise InputError(f"{components} values per voxel (colour or vector): give a plain CT")
    if any(extent != 1 for extent in size[4:]):
        raise InputError(f"{dimensions} dimensions: give a single 3D volume")
    index = volume_index(number, size[3] if dimensions > 3 else 1, dimensions)
    if dimensions > 3:
        reader.SetExtractSize([*size[:3], *[0] * (dimensions - 3)])
        reader.SetExtractIndex([0, 0, 0, index, *[0] * (dimensions - 4)])
    image = reader.Execute()
    return sitk.JoinSeries(image) if dimensions == 2 else image


def _value(image: sitk.Image, key: str) -> str:
    return image.GetMetaData(key).strip() if image.HasMetaDataKey(key) else ""


def _acquisition(field: Callable[[str], str | None]) -> Acquisition:
    """Acquisition from a header's fields, by name."""
    copied = {name: field(key) or "" for name, key in _DICOM_KEYS.items()}
    metaio = (field("Modality") or "").removeprefix("MET_MOD_")
    copied["modality"] = copied["modality"] or ("" if metaio in ("UNKNOWN", "OTHER") else metaio)
    return _acquisition_in(field(_LINE) or field(_NIFTI_LINE) or "", copied)


def _acquisition_in(line: str, copied: Mapping[str, str] | None = None) -> Acquisition:
    """Acquisition from an output's header line and from keys copied from DICOM."""
    values = dict.fromkeys(_DICOM_KEYS, "") | dict(copied or {})
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
    """Read the written file back and compare; on a full disk ITK writes a truncated NIfTI without an error."""
    if suffix_of(path).startswith(".nii"):
        try:
            voxels = read_nifti(path).voxels
        except InputError:
            raise RuntimeError from None
    else:
        voxels = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    if not np.array_equal(voxels, sitk.GetArrayViewFromImage(image), equal_nan=True):
        raise RuntimeError
