"""The data pack: what is written is read, neighbours touch."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from bioatt.core.errors import InputError
from bioatt_training.slabs.pack import Pack, neighbour_table, quantum, read_pack, write_pack


def test_a_pack_is_read_as_it_was_written_but_for_the_steps_of_its_hu(pack: Pack, tmp_path: Path) -> None:
    path = tmp_path / "slabs.npz"
    assert write_pack(path, pack) == path.stat().st_size
    found = read_pack(path)
    error = np.abs(found.hu.astype(int) - pack.hu).max(axis=(1, 2))
    assert (error <= quantum(pack) / 2).all()
    for one in fields(Pack):
        if one.name != "hu":
            np.testing.assert_array_equal(getattr(found, one.name), getattr(pack, one.name), one.name)


def test_hu_lose_at_most_half_a_noise_level(pack: Pack) -> None:
    step = quantum(pack)
    scans = ~pack.phantom[pack.scan]
    assert (step[scans] <= np.maximum(pack.own_level[scans] / 2, 1)).all()


def test_a_damaged_pack_is_refused(pack: Pack, tmp_path: Path) -> None:
    path = tmp_path / "slabs.npz"
    write_pack(path, pack)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(InputError, match=r"slabs\.npz"):
        read_pack(path)
    with pytest.raises(InputError, match="cannot be opened"):
        read_pack(tmp_path / "none.npz")


def test_neighbours_touch_without_a_gap_and_lie_within_four_millimetres() -> None:
    scan, z = [0, 0, 0, 0, 1, 1], [1, 2, 3, 5, 2, 3]
    table = neighbour_table(scan, z, [1.5, 5.0], 4.0, 3)
    assert table[1].tolist() == [-1, -1, 0, 2, -1, -1]  # slice 5 is behind a gap
    assert table[0].tolist() == [-1, -1, -1, 1, 2, -1]
    assert (table[3:] == -1).all()  # alone, and steps of 5 mm
