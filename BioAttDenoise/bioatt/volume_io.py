"""Reading and writing volumes: NRRD, NIfTI and MetaImage by SimpleITK, DICOM through `dicom_series`."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from bioatt.errors import BioAttError, InputError
from bioatt.volume import Acquisition, Volume, cast, check_hu

READABLE = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd")
WRITABLE = (".nrrd", ".nii", ".nii.gz", ".mha")
_HOW_TO_NAME = f"name the output {', '.join(WRITABLE)}, or a folder for DICOM"

# Keys of the file header that carry Acquisition; DICOM keywords, which no patient can be known by.
_KERNEL, _THICKNESS, _KVP, _MODALITY, _NOTE = "ConvolutionKernel", "SliceThickness", "KVP", "Modality", "Description"
_DICOM_TAGS = {_KERNEL: "0018|1210", _THICKNESS: "0018|0050", _KVP: "0018|0060", _MODALITY: "0008|0060"}

sitk.ProcessObject.SetGlobalWarningDisplay(False)  # one line on stderr, and it is ours


def read_volume(path: str | os.PathLike[str], *, hu: bool = True) -> Volume:
    """Read a CT: NRRD, NIfTI, MetaImage, a DICOM file, or a folder with a DICOM series.

    hu: refuse values that cannot be HU; False for label volumes and maps on the CT's grid.
    Raises InputError where the file is missing, broken, or no CT.
    """
    path = Path(path)
    try:
        if path.is_dir():
            from bioatt.dicom_series import read_series

            volume = read_series(path)
        elif not path.is_file():
            raise InputError(f"{path.name}: no such file or folder; check the path")
        elif path.stat().st_size == 0:
            raise InputError(f"{path.name} is empty: copy it again from its source")
        elif suffix_of(path) in READABLE:
            volume = _read_file(path)
        else:
            from bioatt.dicom_series import read_series

            volume = read_series(path)
        warnings = check_hu(volume.hu) if hu else ()
    except OSError as error:
        raise InputError(
            f"{path.name} cannot be read ({error.strerror or error}): check the path and its rights"
        ) from None
    except InputError as error:
        raise error if path.name in str(error) else InputError(f"{path.name}: {error}") from None
    return _with_warnings(volume, warnings)


def write_volume(volume: Volume, path: str | os.PathLike[str], *, note: str = "") -> None:
    """Write a volume as .nrrd, .nii, .nii.gz or .mha: whole, in its storage type, or not at all.

    The header gets geometry, kernel, slice thickness, kVp, modality and the note, and nothing that identifies a person.
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
    handle, name = tempfile.mkstemp(prefix=".bioatt-", suffix=suffix_of(path), dir=path.parent)
    os.close(handle)
    try:
        sitk.WriteImage(image, name, useCompression=True, compressionLevel=2)
        _verify(image, Path(name))
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except (RuntimeError, OSError) as error:
        raise InputError(
            f"{path.name} could not be written whole ({reason(error)}): free some space and try again"
        ) from None
    finally:
        Path(name).unlink(missing_ok=True)


def check_output(volume: Volume, path: str | os.PathLike[str]) -> None:
    """Raise InputError where `write_volume` would refuse this path, so that a long run can ask first."""
    path = Path(path)
    suffix = suffix_of(path)
    if path.is_dir() or suffix not in WRITABLE:
        raise InputError(f"{path.name}: this is no name for a volume; {_HOW_TO_NAME}")
    if any(path.exists() and source.exists() and path.samefile(source) for source in volume.sources):
        raise InputError(f"{path.name} is the input itself, which stays untouched: name another output")
    check_folder(path.parent)
    if not volume.even:
        raise InputError("slices are missing or unevenly spaced, which only DICOM can hold: name a folder as output")
    if suffix.startswith(".nii") and not np.allclose(volume.direction.T @ volume.direction, np.eye(3), atol=1e-4):
        raise InputError(f"{path.name}: NIfTI cannot hold the tilted gantry's shear: name the output .nrrd or .mha")


def check_folder(folder: Path) -> None:
    """Raise InputError where no file can be made in a folder."""
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}: make it first")
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(f"folder {folder} cannot be written ({error.strerror}): choose another") from None


def suffix_of(path: Path) -> str:
    """The file's ending in lower case, `.nii.gz` as one."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def reason(error: Exception) -> str:
    """What the system said, without paths or ITK's preamble."""
    if isinstance(error, OSError):
        return error.strerror or os.strerror(error.errno or errno.EIO)
    return str(error).strip().splitlines()[-1].rpartition("): ")[2] or "write error"


def _read_file(path: Path) -> Volume:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        dimensions, components = reader.GetDimension(), reader.GetNumberOfComponents()
        if components != 1:
            raise InputError(f"{path.name} has {components} values a voxel (colour or vector): give a plain CT")
        size = [*reader.GetSize(), 1, 1]
        if dimensions not in (2, 3) and any(extent != 1 for extent in size[3:]):
            raise InputError(f"{path.name} has {dimensions} dimensions ({size[3]} volumes): give one of them alone")
        image = reader.Execute()
    except RuntimeError as error:
        raise InputError(f"{path.name} is damaged or of another format ({reason(error)}): copy it again") from None
    if dimensions == 2:
        image = sitk.JoinSeries(image)
    while image.GetDimension() > 3:
        image = image[..., 0]
    voxels = sitk.GetArrayFromImage(image)
    if voxels.dtype.itemsize == 1 and voxels.dtype.kind in "iu" and voxels.min() != voxels.max():
        storage = voxels.dtype.name
    else:
        storage = voxels.dtype.name
    return Volume(
        hu=voxels,
        spacing=image.GetSpacing(),
        origin=image.GetOrigin(),
        direction=np.reshape(image.GetDirection(), (3, 3)),
        acquisition=_acquisition(image),
        sources=(path,),
        storage=storage,
    )


def _acquisition(image: sitk.Image) -> Acquisition:
    def value(key: str) -> str | None:
        for name in (key, _DICOM_TAGS[key]):
            if image.HasMetaDataKey(name) and (text := image.GetMetaData(name).strip()):
                return text
        return None

    def number(key: str) -> float | None:
        try:
            return float(value(key) or "")
        except ValueError:
            return None

    return Acquisition(value(_KERNEL), number(_THICKNESS), number(_KVP), value(_MODALITY))


def _header(acquisition: Acquisition, note: str, suffix: str) -> dict[str, str]:
    values = {
        _KERNEL: acquisition.kernel,
        _THICKNESS: acquisition.slice_thickness_mm,
        _KVP: acquisition.kvp,
        _MODALITY: acquisition.modality,
        _NOTE: note or None,
    }
    return {key: f"{value:g}" if isinstance(value, float) else str(value) for key, value in values.items() if value}


def _verify(image: sitk.Image, path: Path) -> None:
    """A full disk can leave a short file without an error: what was written must read back the same."""
    written = sitk.ReadImage(str(path))
    if written.GetSize() != image.GetSize() or not np.array_equal(
        sitk.GetArrayViewFromImage(written), sitk.GetArrayViewFromImage(image)
    ):
        raise BioAttError("the written file does not read back the same: please report it")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _with_warnings(volume: Volume, warnings: tuple[str, ...]) -> Volume:
    from dataclasses import replace

    return replace(volume, warnings=(*volume.warnings, *warnings)) if warnings else volume
