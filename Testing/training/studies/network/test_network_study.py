"""The network study: its measurements of denoisers with known behaviour, and the command."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt.core.volume import Volume
from bioatt.inference.models import load_model, save_model
from bioatt.io.images import write_volume
from bioatt.network.slab_unet import SlabUNet
from bioatt_training.cli import main
from bioatt_training.studies.network import conditions, inserts, runner, scans, slices
from bioatt_training.studies.network.examined import Examined
from bioatt_training.studies.network.scans import Scan, single_slices, slabs

SIDE, PIXEL_MM = 112, 1.5
DESCRIPTORS = load_descriptor_set("paper17").descriptors


def body(count: int, noise_hu: float = 0.0, seed: int = 0) -> np.ndarray:
    """A disc of tissue in air, 15 cm in diameter: (count, SIDE, SIDE) HU."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    hu = np.where(np.hypot(y, x) * PIXEL_MM < 75, 50.0, -1000.0)
    return hu + noise_hu * np.random.default_rng(seed).standard_normal((count, SIDE, SIDE))


def toy_scan(count: int = 5, step_mm: float = 1.25) -> Scan:
    rng = np.random.default_rng(3)
    return Scan(
        name=f"toy-{count}-{step_mm}",
        patient="a",
        hu=np.rint(body(count)).astype(np.int16),
        noise=np.rint(20 * rng.standard_normal((2, count, SIDE, SIDE))).astype(np.int16),
        middle=count // 2,
        pixel_mm=PIXEL_MM,
        step_mm=step_mm,
        thickness_mm=step_mm,
        sharpness="soft",
        response=np.exp2(-((np.linspace(0, 0.75, 48) / 0.25) ** 2)).astype(np.float32),
    )


class Halved:
    """Removes half of every deviation from 50 HU, or three quarters with neighbours."""

    model = SimpleNamespace(descriptors=DESCRIPTORS)

    def alone(self, volume: Volume, k: int = 0):
        return 50 + (volume.hu[k] - 50) / 2

    def within(self, volume: Volume, k: int):
        return 50 + (volume.hu[k] - 50) / 4

    def organs(self, volume: Volume, k: int = 0):
        maps = np.zeros((len(DESCRIPTORS), *volume.shape[1:]), np.float32)
        maps[DESCRIPTORS.index("liver"), 40:70, 40:70] = 0.9
        return maps, np.full(len(DESCRIPTORS), 1 / len(DESCRIPTORS), np.float32)


def test_single_slices_tell_noise_texture_and_edges_of_a_known_denoiser():
    found = slices.single(Halved(), toy_scan(1))
    assert found["0"]["left_hu"] == pytest.approx(20, rel=0.03)
    assert found["1"]["left_hu"] == pytest.approx(10, rel=0.03)
    assert found["0.75"]["left_hu"] == pytest.approx(12.5, rel=0.03)
    assert found["1"]["mean_per_mm"] == pytest.approx(found["0"]["mean_per_mm"], rel=1e-4)
    assert found["0"]["f50"] == found["0"]["f50 full dose"] == 1
    assert found["1"]["f50"] == pytest.approx(1, abs=0.01)
    # PSNR of the input (strength 0), which the toy denoiser's change of the air does not affect, rises with the dose
    assert found["doses"]["0.1"]["0"] < found["doses"]["0.25"]["0"] < found["doses"]["0.5"]["0"]


def test_neighbours_are_compared_by_noise_and_contrast():
    found = slices.neighbours(Halved(), toy_scan())
    of_3_mm = 20 * np.hypot(1.25, np.hypot(0.875, 0.875)) / 3
    for region in ("soft tissue", "liver"):
        assert found["within"]["noise"][region] == pytest.approx(found["alone"]["noise"][region] / 2, rel=0.01)
        assert found["mean of 3 mm"]["noise"][region] == pytest.approx(of_3_mm, rel=0.05)
        assert found["lower"][region] == pytest.approx(50, abs=1)  # both as sharp as the input
    assert np.isnan(found["within"]["noise"]["lungs"])
    for kind in (inserts.SPHERE, inserts.VESSEL):
        assert found["input"]["kept"][kind] == pytest.approx(1, abs=1e-3)
        assert found["alone"]["kept"][kind] == pytest.approx(0.5, abs=1e-3)
        assert found["within"]["kept"][kind] == pytest.approx(0.25, abs=1e-3)
        assert found["mean of 5 mm"]["kept"][kind] < 0.8  # the object lies elsewhere in other slices
    assert "mean of 3 mm" not in slices.neighbours(Halved(), toy_scan(3, 3.0))


def test_noise_is_compared_at_equal_sharpness():
    f50 = {"alone": 0.8, "within": 0.9}
    found = slices._of_equal_f50(lambda way, strength: 1 - strength * (1 - f50[way]))
    assert found["within"] == 1
    assert found["alone"] == pytest.approx(0.5, abs=0.021)
    assert np.isnan(slices._of_equal_f50(lambda way, strength: f50[way])["alone"])


def test_a_mean_over_mm_takes_parts_of_slices():
    volume = Volume(np.arange(5, dtype=np.float32)[:, None, None] ** 2 * np.ones((5, 4, 4), np.float32), (1, 1, 2.5))
    assert slices.averaged(volume, 2, 5.0)[0, 0] == pytest.approx(0.25 * 1 + 0.5 * 4 + 0.25 * 9)


def test_objects_have_their_size_and_contrast():
    scan = toy_scan(5, 1.0)
    where = {inserts.DISC: [(40, 40)], inserts.SPHERE: [(40, 70)], inserts.VESSEL: [(75, 56)]}
    hu = inserts.added(scan, where)
    assert hu[:, 40, 40] == pytest.approx(50, abs=0.05)
    volumes = hu[:, 30:51, 60:81].sum() * PIXEL_MM**2, hu[2, 65:86, 46:67].sum() * PIXEL_MM**2
    assert volumes[0] == pytest.approx(100 * 4 / 3 * np.pi * 1.5**3, rel=0.05)
    assert volumes[1] == pytest.approx(100 * np.sqrt(2) * np.pi * 0.5**2, rel=0.1)
    # the vessel moves by one slice spacing per slice
    columns = [(one[75] * np.arange(SIDE))[50:63].sum() / one[75, 50:63].sum() for one in hu[1:4]]
    assert np.diff(columns) * PIXEL_MM == pytest.approx([1.0, 1.0], abs=0.15)
    smooth = hu - 0.5 * (hu - np.roll(hu, 1, axis=2))
    assert inserts.kept(scan, where, hu[2], smooth[2])[inserts.DISC] < 0.97


def test_priors_are_what_their_names_say():
    maps = np.zeros((4, 6, 6), np.float32)
    maps[1, :4], maps[2, 5] = 0.7, 0.3
    pooled = np.array([0.1, 0.5, 0.3, 0.1], np.float32)
    pooled[0] = 0.05
    found = conditions.distributions(maps, pooled, maps[::-1], lungs=3)
    assert len(found) == 9
    assert found["one-hot, right"].tolist() == [0, 1, 0, 0]
    assert found["one-hot, wrong"].tolist() == [1, 0, 0, 0]
    assert found["none"].sum() == 0
    assert found["0.98 lungs"][3] == pytest.approx(0.98)
    assert found["0.98 lungs"].sum() == pytest.approx(1)
    assert found["hard masks"].sum() == 24  # none where "none" is the most probable


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    """An untrained network, which returns its input whatever the prior."""
    torch.manual_seed(0)
    path = tmp_path / "untrained.safetensors"
    described = {"descriptors": list(DESCRIPTORS), "descriptor_set": "paper17", "version": "0", "prior": "maps"}
    save_model(path, SlabUNet("bioatt", 2, len(DESCRIPTORS)), {**described, "training": {}})
    return path


@pytest.fixture
def collection(tmp_path: Path) -> tuple[Path, Path]:
    """A collection of two test patients (a slab, a single slice) and a training patient, and its split."""
    data = tmp_path / "ct"
    for name in ("slabs", "slices", "volumes"):
        (data / name).mkdir(parents=True)
    names = {"slabs/a_s1.nrrd": ("a", 5, 1.25), "slices/b_1.nrrd": ("b", 1, 5.0), "slices/c_1.nrrd": ("c", 1, 5.0)}
    for seed, (name, (_, count, step)) in enumerate(names.items()):
        hu = np.clip(body(count, 8.0, seed), -1000, 3000).astype(np.int16)
        write_volume(Volume(hu, (PIXEL_MM, PIXEL_MM, step)), data / name)
    slab = "file,patient,kernel,thickness_mm,noise_correlation_of_neighbours\nslabs/a_s1.nrrd,a,B30,1.25,0.3\n"
    (data / "slabs" / "slabs.csv").write_text(slab)
    slices_csv = "file,patient,kernel,thickness_mm\nslices/b_1.nrrd,b,B30,5\nslices/c_1.nrrd,c,B30,5\n"
    (data / "slices.csv").write_text(slices_csv)
    (data / "SOURCES.md").write_text("")
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"test": ["a", "b"], "validation": []}))
    return data, split


@pytest.fixture
def white_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """White noise instead of a simulated scanner, and no torsos."""

    def insert(hu, *_, rng, **__):
        return SimpleNamespace(noise=15 * np.random.default_rng(rng).standard_normal(hu.shape))

    monkeypatch.setattr(scans, "insert_noise", insert)
    monkeypatch.setattr(runner, "QUICK", runner.Size("quick", torsos=0))


@pytest.mark.usefixtures("white_noise")
def test_the_command_writes_a_page_and_resumes(collection, model_file, tmp_path, monkeypatch, capsys):
    data, split = collection
    out = tmp_path / "out"
    command = ["examine", str(data), str(out), "--split", str(split), "--models", str(model_file), "--quick"]
    assert main(command) == 0, capsys.readouterr().err
    page = (out / "README.md").read_text(encoding="utf-8")
    results = json.loads((out / "results.json").read_text())
    found = {one["title"]: one["rows"] for one in (results["aims"], *results["tables"])}
    assert found["Single slices, quarter dose"][0][4][0] == pytest.approx(15, rel=0.05)
    assert [row[3][0] for row in found["Dose"]] == pytest.approx([0, 0, 0], abs=1e-5)  # the network returns its input
    assert found["Neighbours: PSNR"][0][:3] == ["up to 1.5 mm", "1 (1)", "untrained"]
    assert found["Neighbours: PSNR"][0][5][0] == pytest.approx(0, abs=1e-5)
    assert {row[1] for row in found["Priors"]} == set(conditions.distributions(*[np.ones((2, 1, 1))] * 3, 0))
    assert [row[2][0] for row in found["Priors"]] == pytest.approx([0] * 9, abs=1e-5)
    assert all(row[4] == "0 of 1" and row[6] == 0 for row in found["Priors"])
    met = {row[0]: row[4] for row in found["Aims"]}
    sharpness = next(row for row in found["Aims"] if row[0].startswith("f50 of a 50 HU disc"))
    assert (sharpness[3][0], sharpness[4]) == (pytest.approx(1, abs=0.01), "open")  # only one patient
    assert met["Less remaining noise with neighbours at equal f50, soft tissue, steps up to 1.5 mm, %"] == "open"
    for title in found:
        assert f"## {title}" in page
    kept = sorted(path.name for path in (out / "work" / "scans").iterdir())
    assert kept == ["slab-a_s1-2.npz", "slice-b_1-0.npz"]  # not the training patient
    measured = (out / "work" / "measured.jsonl").read_bytes()
    monkeypatch.setattr(slices, "single", lambda *_: pytest.fail("measured again"))
    assert main(command) == 0
    assert (out / "work" / "measured.jsonl").read_bytes() == measured
    assert (out / "README.md").read_text(encoding="utf-8") == page


@pytest.mark.usefixtures("white_noise")
def test_a_part_without_scans_is_refused(collection, model_file, tmp_path, capsys):
    data, split = collection
    command = ["examine", str(data), str(tmp_path / "out"), "--split", str(split), "--models", str(model_file)]
    assert main([*command, "--part", "validation"]) == 2
    assert "no scan of the validation patients" in capsys.readouterr().err


def test_a_prior_may_leave_everything_to_none(model_file):
    model = Examined(str(model_file))
    assert model.name == load_model(model_file).name
    low = Volume(body(1, 10.0).astype(np.float32), (PIXEL_MM, PIXEL_MM, 5.0))
    result = model.under(low, np.zeros(len(DESCRIPTORS), np.float32))
    assert result.prior is not None
    assert np.asarray(result.prior.p[0]).sum() == 0


def test_slabs_are_limited_by_class_and_slices_by_patient(collection, tmp_path, white_noise):
    data, split = collection
    found = runner.plans(data, split, ("test",))
    folder = tmp_path / "scans"
    folder.mkdir()
    assert [one.name for one in slabs(found, folder, 1)] == ["slab-a_s1-2"]
    assert [one.patient for one in single_slices(found, folder, 1)] == ["b"]
    assert len(list(slabs([found[0], found[0]], folder, 1, 1))) == 1


def test_a_torso_is_noise_free_and_has_its_step(tmp_path):
    (torso,) = scans.torsos(tmp_path, 1, (3.0,), 64)
    assert (len(torso.hu), torso.middle) == (3, 1)
    assert torso.noise.shape == (2, *torso.hu.shape)
    assert abs(np.corrcoef(torso.noise[0].ravel(), torso.noise[1].ravel())[0, 1]) < 0.1
    assert slices.spread_in(torso.noise[0, 1].astype(float), slices.soft_tissue(torso.truth)) > 5
