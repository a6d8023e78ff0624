"""The embedded prior that ships: deterministic by slice, robust, small."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from bioatt.anatomy.descriptors import DescriptorSet, load_descriptor_set, parse_descriptor_set
from bioatt.core.canonical import canonical
from bioatt.core.errors import Cancelled, InputError
from bioatt.core.resources import resources_folder
from bioatt.core.volume import Volume
from bioatt.io.images import read_volume
from bioatt.network.embedded import EmbeddedNetwork, share
from bioatt.priors import build_prior
from bioatt.priors.embedded import FILE, EmbeddedPrior, save_embedded
from bioatt.priors.slice_image import CELL_MM, GRID, slice_image
from bioatt.simulation.phantom import torso as phantom

PAPER = load_descriptor_set("paper17")


@pytest.fixture(scope="module")
def prior() -> EmbeddedPrior:
    return EmbeddedPrior(PAPER)


@pytest.fixture(scope="module")
def chest() -> Volume:
    """Phantom slices from the abdomen to the lungs' tips, with the noise of a scan."""
    volume, _ = phantom(3, slices=6, size=192, z_range=(-150, 150))
    noise = np.random.default_rng(0).normal(0, 20, volume.shape)
    return Volume(np.rint(volume.hu + noise).astype(np.int16), volume.spacing, volume.origin, volume.direction)


def test_phantom_levels_are_told_apart(prior: EmbeddedPrior, chest: Volume) -> None:
    result = prior.probabilities(chest)
    assert result.p.shape == (6, 17)
    share_of = dict(zip(result.descriptors, result.p.T, strict=True))
    assert share_of["lungs"][-1] > 0.1 > 0.05 > share_of["lungs"][0]
    assert share_of["liver"][1] > 0.05 > 0.02 > share_of["liver"][-1]
    assert share_of["brain"].max() < 0.02


def test_probabilities_are_the_same_from_dicom_nrrd_and_alone(
    prior: EmbeddedPrior, chest: Volume, tmp_path: Path
) -> None:
    """Also with the volume's axes turned round; bit for bit, smoothing aside."""
    image = sitk.GetImageFromArray(chest.hu)
    image.SetSpacing(chest.spacing)
    sitk.WriteImage(image, str(tmp_path / "chest.nrrd"))
    sitk.WriteImage(sitk.DICOMOrient(image, "RAI"), str(tmp_path / "turned.nrrd"))
    folder = tmp_path / "series"
    folder.mkdir()
    names = [6, 2, 5, 1, 4, 3]
    for k, name in enumerate(names):
        _write_dicom(folder / f"{name}.dcm", chest, k)
    expected = prior.probabilities(canonical(chest).volume)
    for path in (tmp_path / "chest.nrrd", tmp_path / "turned.nrrd", folder):
        volume = canonical(read_volume(path)).volume
        found = prior.probabilities(volume).select(expected.slice_ids)
        assert np.array_equal(found.p, expected.p), path.name
    alone = chest.part(range(4, 5))
    assert np.array_equal(prior.probabilities(canonical(alone).volume).p[0], expected.p[4])


def _write_dicom(path: Path, volume: Volume, k: int) -> None:
    image = sitk.GetImageFromArray(volume.hu[k : k + 1])
    image.SetSpacing(volume.spacing)
    image.SetOrigin((*volume.origin[:2], volume.origin[2] + k * volume.spacing[2]))
    series = "1.2.826.0.1.3680043.8.498.1"
    tags = {
        "0008|0016": "1.2.840.10008.5.1.4.1.1.2",
        "0008|0018": f"{series}.{k + 1}",
        "0008|0060": "CT",
        "0020|000d": f"{series}.90",
        "0020|000e": f"{series}.91",
        "0020|0013": str(k + 1),
        "0020|0032": "\\".join(f"{value:g}" for value in image.GetOrigin()),
        "0020|0037": "1\\0\\0\\0\\1\\0",
        "0018|0050": f"{volume.spacing[2]:g}",
        "0028|1052": "0",
        "0028|1053": "1",
    }
    for tag, value in tags.items():
        image.SetMetaData(tag, value)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(path))
    writer.Execute(image)


@pytest.mark.parametrize("change", ["turned", "prone", "mirrored"])
def test_turned_slices_get_the_same(prior: EmbeddedPrior, chest: Volume, change: str) -> None:
    axes = {
        "turned": lambda hu: np.rot90(hu, 1, (1, 2)),
        "prone": lambda hu: hu[:, ::-1, ::-1],
        "mirrored": lambda hu: hu[:, :, ::-1],
    }
    other = Volume(np.ascontiguousarray(axes[change](chest.hu)), chest.spacing)
    np.testing.assert_allclose(prior.probabilities(other).p, prior.probabilities(chest).p, atol=1e-4)


def test_field_of_view_and_position_hardly_matter(prior: EmbeddedPrior, chest: Volume) -> None:
    wide = np.pad(chest.hu, ((0, 0), (40, 90), (70, 20)), constant_values=-1000)
    np.testing.assert_allclose(
        prior.probabilities(Volume(wide, chest.spacing)).p, prior.probabilities(chest).p, atol=1e-3
    )


def test_a_slice_full_of_bone_stays_bone() -> None:
    assert slice_image(np.full((64, 64), 900, np.float32), (1, 1))[GRID // 2, GRID // 2] == pytest.approx(900)


def test_noise_changes_little(prior: EmbeddedPrior, chest: Volume) -> None:
    noisy = Volume(chest.hu + np.random.default_rng(1).normal(0, 60, chest.shape), chest.spacing)
    difference = np.abs(prior.probabilities(noisy).p - prior.probabilities(chest).p)
    assert difference.mean() < 0.02


@pytest.mark.parametrize("value", [-1000, 0, 3000])
def test_a_slice_without_anatomy_is_still_a_distribution(prior: EmbeddedPrior, value: int) -> None:
    p = prior.probabilities(Volume(np.full((1, 64, 64), value, np.int16))).p
    assert np.isfinite(p).all()
    assert p.sum() == pytest.approx(1, abs=1e-5)


def test_smoothing_is_on_unless_declined(chest: Volume, prior: EmbeddedPrior) -> None:
    thin = Volume(chest.hu, (*chest.spacing[:2], 3.0))
    plain = build_prior("embedded", descriptors=PAPER, smoothing=False).probabilities(thin).p
    smooth = build_prior("embedded", descriptors=PAPER).probabilities(thin).p
    assert np.array_equal(plain, prior.probabilities(thin).p)
    assert np.abs(np.diff(smooth, axis=0)).sum() < np.abs(np.diff(plain, axis=0)).sum()


def test_sets_are_matched_by_name_and_refused_with_the_list(chest: Volume, prior: EmbeddedPrior) -> None:
    few = parse_descriptor_set({"name": "few", "descriptors": [{"name": "spine"}, {"name": "lungs"}]})
    found = build_prior("embedded", descriptors=few, smoothing=False).probabilities(chest)
    assert found.descriptors == ("spine", "lungs")
    both = prior.probabilities(chest).p[:, [16, 4]]
    np.testing.assert_allclose(found.p, both / both.sum(axis=1, keepdims=True), rtol=1e-5)
    with pytest.raises(InputError, match="not trained for ventricles, lymph nodes"):
        build_prior("embedded", descriptors=load_descriptor_set("authors11"))


def test_small_enough_and_its_card_is_beside_it() -> None:
    path = resources_folder() / "Models" / FILE
    assert path.stat().st_size < 2_000_000
    assert path.with_suffix(".md").is_file()


def test_one_prior_does_not_move_the_network_of_another(chest: Volume) -> None:
    one, other = (EmbeddedPrior(PAPER) for _ in range(2))
    other.network.to("meta")
    assert np.isfinite(one.probabilities(chest).p).all()


def test_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "prior.safetensors"
    path.write_bytes(b"x" * 100)
    with pytest.raises(InputError, match="missing or damaged"):
        EmbeddedPrior(PAPER, path=path)
    with pytest.raises(InputError, match="missing or damaged"):
        EmbeddedPrior(PAPER, path=tmp_path / "absent.safetensors")


def test_save_and_load(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = EmbeddedNetwork(2, width=4).eval()
    names = ["liver", "spleen"]
    calibration = {"slope": [2.0, 1.0], "offset": [0.0, 1.0]}
    save_embedded(tmp_path / "p.safetensors", network, {"descriptors": names, "calibration": calibration})
    two = DescriptorSet("two", ("spleen", "liver"), (("spleen",), ("liver",)))
    volume = Volume(np.random.default_rng(0).normal(0, 300, (1, 70, 80)), (2.0, 2.0, 2.0))
    found = EmbeddedPrior(two, path=tmp_path / "p.safetensors").probabilities(volume).p[0]
    image = slice_image(volume.hu[0], (2.0, 2.0))
    views = [np.rot90(side, quarter) for side in (image, image[:, ::-1]) for quarter in range(4)]
    with torch.inference_mode():
        logits = np.mean([network(torch.from_numpy(view.copy())[None, None])[0].numpy() for view in views], axis=0)
    presence = 1 / (1 + np.exp(-(logits * (2.0, 1.0) + (0.0, 1.0)))) + 1e-3
    np.testing.assert_allclose(found, (presence / presence.sum())[::-1], rtol=1e-4)


def test_cancelling(prior: EmbeddedPrior, chest: Volume) -> None:
    asked = iter([False, False, True])
    with pytest.raises(Cancelled):
        prior.probabilities(chest, cancelled=lambda: next(asked))


def test_slice_image_keeps_mass_and_physical_size() -> None:
    hu = np.full((200, 300), -1000, np.float32)
    hu[60:140, 80:180] = 0
    image = slice_image(hu, (0.9, 1.1))
    assert image.shape == (GRID, GRID)
    water = (image + 1000).sum() / 1000 * CELL_MM**2
    assert water == pytest.approx(80 * 1.1 * 100 * 0.9, rel=1e-4)
    assert image[GRID // 2, GRID // 2] == pytest.approx(0, abs=1e-2), "the body comes to the middle"
    assert image[0, 0] == pytest.approx(-1000)


def test_shares_are_equal_among_the_visible() -> None:
    p = share(torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]))
    np.testing.assert_allclose(p[0], [0.5, 0.5, 0.0, 0.0], atol=1e-3)
    np.testing.assert_allclose(p[1], 0.25)


def test_file_says_what_it_was_taught() -> None:
    from bioatt.priors.embedded import load_embedded

    metadata = load_embedded(resources_folder() / "Models" / FILE)[1]
    assert metadata["descriptors"] == list(PAPER.descriptors)
    assert json.dumps(metadata["calibration"])
