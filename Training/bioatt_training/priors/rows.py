"""Tables of slices: arrays with one row per slice."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Rows:
    """Fields of subclasses are arrays with one row per slice; `z` is the slice's index in its file."""

    def __len__(self) -> int:
        return len(self.columns()["z"])

    def columns(self) -> dict[str, NDArray[Any]]:
        """The arrays by name."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def where(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Self:
        """Only these rows."""
        return type(self)(**{name: column[rows] for name, column in self.columns().items()})


Kind = TypeVar("Kind", bound=Rows)


def joined(parts: Iterable[Kind]) -> Kind:
    """Concatenate the rows of one or more parts."""
    listed = list(parts)
    columns = zip(*(part.columns().values() for part in listed), strict=True)
    names = listed[0].columns()
    return type(listed[0])(**dict(zip(names, map(np.concatenate, columns), strict=True)))
