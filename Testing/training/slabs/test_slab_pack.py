"""The data pack is read as written, and neighbours are contiguous slices."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt.core.errors import InputError
from bioatt.priors.organ_maps import organ_maps_file
from bioatt_training.slabs.batches import fine_levels
from bioatt_training.slabs.pack import NOISE_STEP, Pack, neighbour_table, quantum, read_pack, write_pack
from bioatt_training.slabs.packing import make_pack
from bioatt_training.slabs.stacks import Stack, keep


@pytest.mark.parametrize("with_noise", [False, True])
def test_a_pack_is_read_as_it_was_written_but_for_the_steps_of_its_hu(
    pack: Pack, tmp_path: Path, with_noise: bool
) -> None:
    path = tmp_path / "slabs.npz"
    if with_noise:
        pack = replace(pack, noise=np.random.default_rng(1).integers(-127, 128, pack.hu.shape, np.int8))
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


def test_neighbours_are_the_adjacent_slices_within_four_millimetres() -> None:
    scan, z = [0, 0, 0, 0, 1, 1, 2, 2], [1, 2, 3, 5, 2, 3, 7, 8]
    table = neighbour_table(scan, z, [1.5, 5.0, 4.0], 4.0)
    assert table.tolist() == [
        [-1, 1], [0, 2], [1, -1],
        [-1, -1],  # slice 5 lies beyond a gap
        [-1, -1], [-1, -1],  # steps of 5 mm
        [-1, 7], [6, -1],
    ]  # fmt: skip


def test_the_noise_of_stacks_is_packed_in_steps_of_its_level(tmp_path: Path) -> None:
    noise = np.rint(20 * np.random.default_rng(3).standard_normal((2, 64, 72))).astype(np.int16)
    stack = Stack(
        "s", "a", "train", np.full(noise.shape, 40, np.int16), noise, np.arange(2), np.full(2, 8, np.float32),
        np.full(2, 20, np.float32), np.ones(48, np.float32), 1.25, 0.8, 1.0, 0.3, phantom=False,
    )  # fmt: skip
    keep(tmp_path / "s.npz", stack)
    names = load_descriptor_set("paper17")
    for with_noise in (False, True):
        make_pack([tmp_path / "s.npz"], tmp_path / "slabs.npz", names, organ_maps_file(), noise=with_noise)
        found = read_pack(tmp_path / "slabs.npz")
        if not with_noise:
            assert found.noise is None
            continue
        assert found.noise is not None
        level = fine_levels(torch.from_numpy(found.levels.copy())).numpy()
        again = (found.noise * NOISE_STEP * level)[:, :64, :72]
        assert np.abs(again - noise).max() <= NOISE_STEP / 2 * level.max() + 1e-3
