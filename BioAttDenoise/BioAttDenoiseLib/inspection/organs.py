"""The organs found and measured by the engine: table, segmentation node, organ maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bioatt.anatomy.table import as_csv

from ..scene import segmentations, slice_views, volumes


class Organs:
    """One volume's organs. The segmentation node is hidden and unsaved until `keep()`; the maps, uint8 of the whole
    volume, are stored by organ as they arrive.
    """

    def __init__(self) -> None:
        self.source: Any = None
        self.table: dict[str, Any] = {}
        self.node: Any = None
        self.kept = False
        self._labels = np.zeros((0, 0, 0), np.uint8)
        self._maps: dict[str, np.ndarray] = {}

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The table's rows, one per organ."""
        return self.table.get("organs", [])

    def take(self, source: Any, reply: dict[str, Any]) -> None:
        """Replace the state with the engine's reply to `organs`."""
        self.clear()
        self.source, self.table = source, reply["table"]
        self._labels = reply["array"]
        self.node = segmentations.make(source, self._labels, reply["segments"])
        self.takeMaps(reply)

    def takeMaps(self, reply: dict[str, Any]) -> None:
        """Add the organ maps of a reply."""
        self._maps |= {entry["name"]: entry["array"] for entry in reply["maps"]}

    def map(self, name: str) -> np.ndarray | None:
        """An organ's probability, float32 (k, j, i), None if its map has not arrived."""
        stored = self._maps.get(name)
        return None if stored is None else stored.astype(np.float32) / 255

    def centre(self, name: str) -> tuple[float, float, float] | None:
        """RAS mm on screen of the organ's voxel nearest its centre; None if it has none."""
        value = next((row["value"] for row in self.rows if row["organ"] == name), None)
        voxels = np.argwhere(self._labels == value) if value is not None else ()
        if not len(voxels):
            return None
        nearest = voxels[np.argmin(((voxels - voxels.mean(axis=0)) ** 2).sum(axis=1))]
        place = (volumes.ijk_to_ras(self.source) @ [*nearest[::-1], 1.0])[:3]
        return tuple(volumes.to_world(self.source, [place])[0])

    def keep(self) -> Any:
        """Make the segmentation a regular node of the scene; returns it."""
        segmentations.keep(self.node)
        self.kept = True
        return self.node

    def save(self, path: str | Path) -> None:
        """Write the table as CSV. Raises OSError."""
        # with a byte order mark, as Excel reads plain UTF-8 as Latin-1
        Path(path).write_text(as_csv(self.table), encoding="utf-8-sig")

    def clear(self) -> None:
        """Remove everything from the scene except a kept segmentation."""
        if not self.kept:
            slice_views.remove(self.node)
        self.source, self.table, self.node, self.kept, self._maps = None, {}, None, False, {}
        self._labels = np.zeros((0, 0, 0), np.uint8)
