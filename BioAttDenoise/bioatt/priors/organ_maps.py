"""Organ maps: the probability of every descriptor, and of none, at every pixel of a slice, from one small network.

maps = OrganMapPrior(load_descriptor_set("paper17")).maps(volume)     # canonical volume
maps.pooled()            # (slices, N): presence scaled to a distribution, the paper's p
maps.probabilities(z)    # (1 + N, H, W): none, then the descriptors, on the slice's pixels
maps.labels(z)           # (H, W): 0 for none, else 1 + the index of the most probable descriptor
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bioatt.anatomy.descriptors import DescriptorSet
from bioatt.compute import device as devices
from bioatt.core.errors import Cancelled, InputError
from bioatt.core.noise import CONTEXT_SLICES
from bioatt.core.resources import models_folder, resources_folder
from bioatt.core.volume import Volume
from bioatt.io.files import atomic_write
from bioatt.network.organ_maps import OrganMapNetwork, fuse
from bioatt.network.packing import packed, unpacked
from bioatt.priors.base import Prior
from bioatt.priors.organ_cells import AIR_HU, body_box, cell_count, coordinates, on_pixels, to_cells, window_of
from bioatt.priors.spatial import SpatialRows

FILE = "organ_maps.safetensors"
HOW_TO_GET = (
    f"reinstall BioAttDenoise, or train them with `bioatt-train organ-maps` and put {FILE} in the models folder"
)
SIGMA_MM = 3.0
"""σ of the Gaussian along z."""
SHOWN_ABOVE = 0.1
"""A class less probable than this everywhere on a slice is omitted from its maps."""
_EDGE = 0.02
"""A map is stored for the box around values above this."""
_LEAST_ML = 1.0
_SUREST_CELLS = 12
"""1.3 cm², the smallest area at which an organ counts as visible."""
_FLOOR = 1e-3
"""Added to every descriptor's presence, so that a slice without any anatomy gets equal shares."""
_SLICES_KEPT = 16
"""Network outputs in the cache, 1 MB each: the preview of the next slice reuses eight of its nine."""
_VOLUMES_KEPT = 2
"""Larger scans whose maps are cached, about 25 KB per slice."""


@dataclass(frozen=True)
class Patch:
    """A descriptor's map on a slice. column: its index. p: float16 on the cells at `place` (rows, columns), else 0."""

    column: int
    place: tuple[slice, slice]
    p: NDArray[np.float16]


@dataclass(frozen=True)
class CellMaps:
    """Maps of a slice at the network's resolution, for the descriptors that it may show.

    presence: float32 (N,) of all descriptors, 0…1.
    """

    patches: tuple[Patch, ...]
    presence: NDArray[np.float32]


@dataclass(frozen=True)
class OrganMaps:
    """Maps of a volume's slices, stored on cells and interpolated to pixels on access."""

    slices: tuple[CellMaps, ...]
    descriptors: tuple[str, ...]
    cells: tuple[int, int]
    pixels: tuple[int, int]
    slice_ids: tuple[str, ...]

    def presence(self) -> NDArray[np.float32]:
        """(slices, N): probability that the slice shows each descriptor, 0…1, not scaled to a distribution."""
        return np.stack([one.presence for one in self.slices])

    def pooled(self) -> NDArray[np.float32]:
        """(slices, N): presence scaled to sum to 1, so that clearly visible descriptors get equal shares."""
        held = self.presence() + np.float32(_FLOOR)
        return held / held.sum(axis=1, keepdims=True)

    def probabilities(self, z: int) -> NDArray[np.float32]:
        """(1 + N, H, W): none, then the descriptors; the sum is 1 at every pixel."""
        p = np.zeros((1 + len(self.descriptors), *self.pixels), np.float32)
        p[0] = 1
        for column, fine, place in self._on_pixels(z):
            p[1 + column][place] = fine
            p[0][place] -= fine
        return p

    def labels(self, z: int) -> NDArray[np.uint8]:
        """(H, W): 0 where none is the most probable, else 1 + the descriptor's index."""
        labels = np.zeros(self.pixels, np.uint8)
        none, best = np.ones(self.pixels, np.float32), np.zeros(self.pixels, np.float32)
        for column, fine, place in self._on_pixels(z):
            none[place] -= fine
            better = fine > best[place]
            best[place][better] = fine[better]
            labels[place][better] = 1 + column
        labels[none >= best] = 0
        return labels

    @property
    def least_ml(self) -> float:
        """See OrganProbabilities."""
        return _LEAST_ML

    @property
    def source(self) -> str:
        """Name for reports."""
        return "organ maps"

    def organ(self, z: int, column: int) -> NDArray[np.float32]:
        """(H, W) probability of one descriptor."""
        p = np.zeros(self.pixels, np.float32)
        for patch in self.slices[z].patches:
            if patch.column == column:
                fine, place = on_pixels(patch.p.astype(np.float32), patch.place, self.cells, self.pixels)
                p[place] = fine
        return p

    def prior(self, *, spatial: bool = False, complete: bool = True) -> Prior:
        """The paper's p (slices, N), or if spatial the maps as rows of p (N, H, W).

        complete: the probability of none is distributed as the slice's p.
        """
        pooled = self.pooled()
        if not spatial:
            return Prior(pooled, self.descriptors, "maps", self.slice_ids)

        def row(z: int) -> NDArray[np.float32]:
            p = self.probabilities(z)
            return p[1:] + p[:1] * pooled[z][:, None, None] if complete else p[1:]

        count, depth = pooled.shape
        rows = SpatialRows(row, tuple(range(count)), tuple(range(depth)), depth, self.pixels, complete=complete)
        return Prior(rows, self.descriptors, "maps:spatial", self.slice_ids)

    def _on_pixels(self, z: int) -> Iterator[tuple[int, NDArray[np.float32], tuple[slice, slice]]]:
        """Yield each descriptor's index, the nonzero part of its map on pixels, and that part's rows and columns."""
        for patch in self.slices[z].patches:
            yield patch.column, *on_pixels(patch.p.astype(np.float32), patch.place, self.cells, self.pixels)


class OrganMapPrior:
    """AnatomicalPrior from organ maps.

    spatial: p (N, H, W) instead of (N,). smoothing: along z. complete: see `build_prior`.
    Raises InputError if the network was not trained on all of `descriptors`, or the file is missing or damaged.
    """

    def __init__(
        self,
        descriptors: DescriptorSet,
        device: str = "cpu",
        path: Path | None = None,
        *,
        spatial: bool = False,
        smoothing: bool = True,
        complete: bool = True,
    ) -> None:
        self.finder = _finder(path or organ_maps_file(), device)
        taught = self.finder.taught
        missing = [name for name in descriptors.descriptors if name not in taught]
        if missing:
            raise InputError(
                f"the organ maps do not cover {', '.join(missing)} of the set {descriptors.name}: "
                "use the prior biomedclip, or the set paper17"
            )
        self.taught, self.descriptors = taught, descriptors.descriptors
        self.spatial, self.complete, self.sigma_mm = spatial, complete, SIGMA_MM if smoothing else 0.0

    def probabilities(self, volume: Volume, *, cancelled: Callable[[], bool] | None = None) -> Prior:
        """See AnatomicalPrior."""
        maps = self.maps(volume, cancelled=cancelled)
        return maps.prior(spatial=self.spatial, complete=self.complete).aligned_to(self.descriptors)

    def maps(self, volume: Volume, *, cancelled: Callable[[], bool] | None = None) -> OrganMaps:
        """Organ maps of a canonical volume. Raises Cancelled when `cancelled()` returns True."""
        slices = self.finder.slices(volume, self.sigma_mm, cancelled)
        cells = (cell_count(volume.shape[1], volume.spacing[1]), cell_count(volume.shape[2], volume.spacing[0]))
        return OrganMaps(slices, self.taught, cells, volume.shape[1:], volume.slice_ids)


class _Finder:
    """A network on a device, with a cache of recent results.

    A scan's prior, organs, strengths by organ and previews all need the same slices. `forget` clears the cache.
    """

    def __init__(self, path: Path, device: str) -> None:
        network, metadata = load_organ_maps(path)
        self.compute = devices.choose(device, "fp32")
        self.network = copy.deepcopy(network).to(self.compute.device)
        self.taught: tuple[str, ...] = tuple(metadata["descriptors"])
        self.calibration = Calibration(**metadata["calibration"])

    def slices(self, volume: Volume, sigma_mm: float, cancelled: Callable[[], bool] | None) -> tuple[CellMaps, ...]:
        """Maps of a volume's slices, smoothed along z; cached."""
        cells = [to_cells(np.asarray(hu, np.float32), volume.spacing[:2]) for hu in volume.hu]
        content = hashlib.sha1(b"".join(one.tobytes() for one in cells), usedforsecurity=False).digest()
        key = self, sigma_mm, volume.spacing, volume.shape, content
        found = next((slices for known, slices in _volumes if known == key), None)
        if found is None:
            smoothed = smoothed_along_z(self._raw(cells, cancelled), len(cells), volume.spacing[2], sigma_mm)
            found = tuple(self._shown(p) for p in smoothed)
            if len(cells) > _SLICES_KEPT:  # keeps the few slices of a preview from evicting its volume
                _volumes.append((key, found))
        return found

    def _raw(
        self, cells: list[NDArray[np.float32]], cancelled: Callable[[], bool] | None
    ) -> Iterator[NDArray[np.float32]]:
        """Yield (1 + N, rows, columns) probabilities of each slice alone, independent of its volume."""
        for one in cells:
            if cancelled is not None and cancelled():
                raise Cancelled("cancelled")
            yield _cached_probabilities(self, one.tobytes(), one.shape)

    def _shown(self, p: NDArray[np.float32]) -> CellMaps:
        organs = p[1:]
        patches = []
        for column in np.flatnonzero(organs.max(axis=(1, 2)) > SHOWN_ABOVE):
            above = organs[column] > _EDGE
            rows, columns = (np.flatnonzero(above.any(axis=axis)) for axis in (1, 0))
            place = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
            patches.append(Patch(int(column), place, organs[column][place].astype(np.float16)))
        return CellMaps(tuple(patches), self.calibration.presence(organs))


@cache
def _finder(path: Path, device: str) -> _Finder:
    return _Finder(path, device)


_volumes: deque[tuple[object, tuple[CellMaps, ...]]] = deque(maxlen=_VOLUMES_KEPT)


@lru_cache(_SLICES_KEPT)
def _cached_probabilities(finder: _Finder, cells: bytes, shape: tuple[int, int]) -> NDArray[np.float32]:
    """`cell_probabilities` of cells (float32) of this shape."""
    hu = np.frombuffer(cells, np.float32).reshape(shape)
    with finder.compute.arithmetic():
        return cell_probabilities(finder.network, hu, finder.calibration.temperature)


def forget() -> None:
    """Clear the cache of maps, for programs that measure time."""
    _volumes.clear()
    _cached_probabilities.cache_clear()


@dataclass(frozen=True)
class Calibration:
    """Calibration of the network's outputs.

    temperature: divides the logits. slope, offset: (N,), presence = sigmoid(slope · `presence_score` + offset).
    """

    temperature: float
    slope: tuple[float, ...]
    offset: tuple[float, ...]

    def presence(self, organs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Presence (N,) from maps (N, rows, columns)."""
        logits = np.asarray(self.slope) * presence_score(organs) + np.asarray(self.offset)
        return (1 / (1 + np.exp(-logits))).astype(np.float32)


def presence_score(organs: NDArray[np.float32]) -> NDArray[np.float64]:
    """Log-odds (N,) of the mean probability of each organ's most probable cells, from maps (N, rows, columns)."""
    flat = torch.from_numpy(organs).flatten(1)
    surest = flat.topk(min(_SUREST_CELLS, flat.shape[1]), dim=1).values.double().mean(dim=1).numpy()
    mean = np.clip(surest, 1e-5, 1 - 1e-5)
    return np.log(mean / (1 - mean))


def smoothed_along_z(
    raw: Iterator[NDArray[np.float32]], count: int, step_mm: float, sigma_mm: float
) -> Iterator[NDArray[np.float32]]:
    """Average each of `count` arrays with at most CONTEXT_SLICES neighbours on either side, step_mm apart.

    The weights are Gaussian in distance; those below 1 % are dropped.
    """
    weights = [np.exp(-0.5 * (k * step_mm / sigma_mm) ** 2) if sigma_mm else 0.0 for k in range(1, CONTEXT_SLICES + 1)]
    shares = [1.0, *(weight for weight in weights if weight >= 0.01)]
    reach = len(shares) - 1
    held: deque[tuple[int, NDArray[np.float32]]] = deque(maxlen=2 * reach + 1)
    for z in range(count):
        while not held or (held[-1][0] < min(z + reach, count - 1)):
            held.append((held[-1][0] + 1 if held else 0, next(raw)))
        near = [(shares[abs(k - z)], p) for k, p in held if abs(k - z) <= reach]
        if len(near) == 1:
            yield near[0][1]
            continue
        total = np.zeros_like(near[0][1])
        for share, p in near:
            total += np.float32(share / sum(weight for weight, _ in near)) * p
        yield total


def cell_probabilities(
    network: OrganMapNetwork, cells: NDArray[np.float32], temperature: float = 1.0
) -> NDArray[np.float32]:
    """Probabilities (1 + N, rows, columns) from the mean HU of cells (rows, columns); none is 1 away from the body."""
    window, shown, where = network_input(cells)
    device = next(network.parameters()).device
    with torch.inference_mode():
        logits: Tensor = network(shown.to(device), where.to(device))[0] / temperature
        found = logits.softmax(dim=0).cpu().numpy()
    p = np.zeros((len(found), *cells.shape), np.float32)
    p[0] = 1
    outer, inner = zip(*(_overlap(extent, size) for extent, size in zip(window, cells.shape, strict=True)), strict=True)
    p[:, outer[0], outer[1]] = found[:, inner[0], inner[1]]
    return p


def network_input(cells: NDArray[np.float32]) -> tuple[tuple[slice, slice], Tensor, Tensor]:
    """The network's input window around the body: rows and columns, HU (1, 1, h, w) and coordinates (1, 2, h, w).

    The window may extend beyond `cells`; it is filled with air there.
    """
    box = body_box(cells)
    window = window_of(box)
    shape = (window[0].stop - window[0].start, window[1].stop - window[1].start)
    shown = np.full(shape, AIR_HU, np.float32)
    outer, inner = zip(*(_overlap(extent, size) for extent, size in zip(window, cells.shape, strict=True)), strict=True)
    shown[inner] = cells[outer]
    rows, columns = (
        slice(edge.start - extent.start, edge.stop - extent.start) for edge, extent in zip(box, window, strict=True)
    )
    where = coordinates((rows, columns), shape)
    return window, torch.from_numpy(shown)[None, None], torch.from_numpy(where)[None]


def _overlap(extent: slice, size: int) -> tuple[slice, slice]:
    """The part of an extent within 0 … size, and its position in the extent."""
    first, last = max(extent.start, 0), min(extent.stop, size)
    return slice(first, last), slice(first - extent.start, last - extent.start)


def save_organ_maps(path: Path, network: OrganMapNetwork, metadata: dict[str, Any]) -> None:
    """Write a network in evaluation mode as int8, with its normalisations folded in.

    metadata: descriptors, calibration {temperature, slope, offset}, and any further keys.
    """
    folded = fuse(copy.deepcopy(network).eval())
    weights = packed({name: tensor.detach().cpu().contiguous() for name, tensor in folded.state_dict().items()})
    described = {"widths": list(network.widths), **metadata}
    import safetensors.torch

    with atomic_write(path) as partial:
        safetensors.torch.save_file(weights, partial, metadata={"bioatt": json.dumps(described, sort_keys=True)})


def organ_maps_file() -> Path:
    """File of the trained organ maps, among the shipped models or else the user's. Raises InputError if missing."""
    for folder in (resources_folder() / "Models", models_folder()):
        if (folder / FILE).is_file():
            return folder / FILE
    raise InputError(f"organ maps are not installed: {HOW_TO_GET}")


@cache
def load_organ_maps(path: Path) -> tuple[OrganMapNetwork, dict[str, Any]]:
    """Load the network in evaluation mode and its file's metadata. Raises InputError for a missing or damaged file."""
    import safetensors.torch  # here, so that networks can be trained without it

    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = json.loads(file.metadata()["bioatt"])
        network = fuse(OrganMapNetwork(1 + len(metadata["descriptors"]), tuple(metadata["widths"])).eval())
        weights = unpacked(safetensors.torch.load_file(path))
        network.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
        Calibration(**metadata["calibration"])
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{path.name} is not an organ-map file or is damaged ({type(error).__name__}): {HOW_TO_GET}"
        ) from None
    return network.to(memory_format=torch.channels_last), metadata  # type: ignore[call-overload]  # missing in torch
