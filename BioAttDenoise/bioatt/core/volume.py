"""A CT volume: HU voxels with their geometry.

Conventions are ITK's: arrays are (z, y, x) = (k, j, i); spacing and origin are (x, y, z) in mm; the columns of
`direction` are the unit vectors of i, j, k in LPS, so that LPS = origin + direction · (spacing * (i, j, k)).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from bioatt.core.errors import BioAttError, InputError
from bioatt.core.geometry import check_direction, check_origin, check_spacing, nearest_axes, orientation_warnings
from bioatt.core.hu import cast, fillers, touching, working_type


@dataclass(frozen=True)
class Acquisition:
    """Acquisition parameters that define a model's training range; nothing here identifies a person."""

    kernel: str | None = None
    slice_thickness_mm: float | None = None
    kvp: float | None = None
    modality: str | None = None


@dataclass(frozen=True, eq=False)
class Volume:
    """CT voxels in HU with their geometry.

    hu: (z, y, x), int16, int32 or float32; other types are converted to the narrowest of these that holds theirs.
    spacing: (x, y, z) mm; origin: (x, y, z) mm LPS; direction: (3, 3) LPS, columns are the unit vectors of i, j, k.
    slice_ids: one identifier per slice, derived from its content if not given (see `content_ids`).
    sources: the DICOM files in slice order, or the single file the volume was read from.
    storage: name of the data type in the file, also used for the output.
    padding: HU values that the source declares as padding, in addition to the fillers that `padding_mask` finds.
    rescale: (slope, intercept) of each DICOM slice if any stores HU in steps other than 1; empty if all are whole HU.
    oriented: False if the file gives no orientation (NIfTI with both codes 0); the output then gives none either.
    even: False if DICOM slices are missing or unevenly spaced, so that `spacing` does not place them all.
    warnings: what a reader should know before trusting the result, one line each.

    Raises InputError if shape or geometry is impossible.
    """

    hu: np.ndarray
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: np.ndarray = field(default_factory=lambda: np.eye(3))
    slice_ids: tuple[str, ...] = ()
    acquisition: Acquisition = Acquisition()
    sources: tuple[Path, ...] = ()
    storage: str = ""
    padding: tuple[float, ...] = ()
    rescale: tuple[tuple[float, float], ...] = ()
    oriented: bool = True
    even: bool = True
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        hu = np.asarray(self.hu)
        if hu.ndim != 3 or 0 in hu.shape:
            raise InputError(f"a volume must have three dimensions (z, y, x), not shape {hu.shape}")
        if hu.dtype.kind not in "iuf":
            raise InputError(f"voxels of type {hu.dtype} cannot be HU: give integers or floats")
        direction = np.asarray(self.direction, dtype=np.float64).reshape(3, 3)
        spacing = tuple(float(s) for s in self.spacing)
        check_spacing(spacing)
        check_origin(self.origin)
        check_direction(direction)
        own = hu.dtype if hu.dtype.itemsize <= 8 and hu.dtype != np.float16 else working_type(hu.dtype)
        object.__setattr__(self, "storage", self.storage or np.dtype(own).name)
        object.__setattr__(self, "hu", cast(hu, working_type(hu.dtype)))
        object.__setattr__(self, "spacing", spacing)
        object.__setattr__(self, "origin", tuple(float(o) for o in self.origin))
        object.__setattr__(self, "direction", direction)
        object.__setattr__(self, "slice_ids", tuple(self.slice_ids) or content_ids(self.hu, self.direction))
        if len(self.slice_ids) != len(hu):
            raise InputError(f"{len(self.slice_ids)} slice ids for {len(hu)} slices")
        warnings = (*self.warnings, *orientation_warnings(self.direction))
        object.__setattr__(self, "warnings", tuple(dict.fromkeys(warnings)))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows, columns)"""
        slices, rows, columns = self.hu.shape
        return slices, rows, columns

    @property
    def pixel_mm(self) -> float:
        """Side of a square with the area of a pixel, mm."""
        return float(np.sqrt(self.spacing[0] * self.spacing[1]))

    @property
    def ijk_to_lps(self) -> np.ndarray:
        """(4, 4) affine from voxel indices (i, j, k, 1) to LPS mm."""
        affine = np.eye(4)
        affine[:3, :3] = self.direction * np.asarray(self.spacing)
        affine[:3, 3] = self.origin
        return affine

    @property
    def ijk_to_ras(self) -> np.ndarray:
        """(4, 4) affine from voxel indices (i, j, k, 1) to RAS mm, as Slicer's IJKToRAS."""
        return np.diag([-1.0, -1.0, 1.0, 1.0]) @ self.ijk_to_lps

    @property
    def axial(self) -> bool:
        """Whether the slices are axial, or nearly so; False for coronal and sagittal stacks."""
        return nearest_axes(self.direction)[0][2] == 2

    @property
    def right_angled(self) -> bool:
        """Whether the axes are at right angles; False for the shear of a tilted gantry."""
        return bool(np.allclose(self.direction.T @ self.direction, np.eye(3), atol=1e-4))

    @property
    def padding_mask(self) -> np.ndarray:
        """(z, y, x) bool: voxels outside the scanner's field of view, which hold a filler instead of HU.

        They hold a declared padding value or a filler (`hu.fillers`), or are below `hu.PADDING_BELOW_HU` and touch such
        voxels (resampling blends the rim of a filler). Other voxels that low are noise and are kept.
        """
        mask = np.zeros(self.shape, bool)
        for value in self.padding:
            mask |= self.hu == value
        for plane, found in zip(self.hu, mask, strict=True):
            found |= fillers(plane)
            touching(plane, found)
        return mask

    def with_hu(self, hu: np.ndarray) -> Volume:
        """The same slices with new HU, rounded and clipped to the stored type, with the original padding restored.

        hu: (z, y, x) of this volume's shape, any real type. Raises InputError for another shape, BioAttError for NaN.
        """
        if np.shape(hu) != self.shape:
            raise InputError(f"the new voxels have shape {np.shape(hu)}, the volume {self.shape}")
        mask = self.padding_mask
        values = np.empty_like(self.hu, order="C")
        for k, plane in enumerate(np.asarray(hu)):  # slice by slice, to avoid a second float copy of a large volume
            if not np.isfinite(plane).all():
                raise BioAttError("the new voxels contain NaN or infinite values: please report this")
            if self.rescale:
                slope, intercept = self.rescale[k]
                plane = np.rint((plane.astype(np.float64) - intercept) / slope) * slope + intercept
            values[k] = np.where(mask[k], self.hu[k], cast(plane, self.hu.dtype))
        return replace(self, hu=values)

    def part(self, slices: range) -> Volume:
        """The slices of a range (step 1) as a separate volume, each at its original position in space.

        Raises InputError if the range is empty or exceeds the volume.
        """
        if not (0 <= slices.start < slices.stop <= self.shape[0] and slices.step == 1):
            raise InputError(f"slices {slices.start}:{slices.stop} are not within 0:{self.shape[0]}")
        window = slice(slices.start, slices.stop)
        return replace(
            self,
            hu=self.hu[window],
            origin=tuple((self.ijk_to_lps @ [0, 0, slices.start, 1])[:3]),
            slice_ids=self.slice_ids[window],
            rescale=self.rescale[window],
            sources=self.sources[window] if len(self.sources) == self.shape[0] else self.sources,
        )


def content_ids(hu: np.ndarray, direction: np.ndarray) -> tuple[str, ...]:
    """One identifier per slice: SHA-1 of its voxels (whole HU, in-plane axes in LPS order) and shape.

    The identifier does not depend on the DICOM file order, on the axis directions of NRRD or NIfTI, or on the other
    slices. It reveals nothing, whereas a SOPInstanceUID leads to the patient and is lost outside DICOM.
    Slices with identical voxels are distinguished by "#2", "#3", ... counted in canonical order.
    """
    index, signs = nearest_axes(direction)
    axial = index[2] == 2
    if axial:
        if index[0] == 1:
            hu = hu.transpose(0, 2, 1)
        hu = hu[:, :: int(signs[1]), :: int(signs[0])]
    order = range(len(hu))[:: int(signs[2]) if axial else 1]
    seen: dict[str, int] = {}
    names = [""] * len(hu)
    for k in order:
        digest = hashlib.sha1(str(hu[k].shape).encode(), usedforsecurity=False)
        with np.errstate(invalid="ignore"):  # `check_hu` refuses NaN; any value will do here
            digest.update(cast(hu[k], "<i4").tobytes())
        name = digest.hexdigest()
        seen[name] = seen.get(name, 0) + 1
        names[k] = name if seen[name] == 1 else f"{name}#{seen[name]}"
    return tuple(names)
