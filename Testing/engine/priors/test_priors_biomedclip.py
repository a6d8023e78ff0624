"""The BiomedCLIP prior through its public interface, on the small checkpoint."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bioatt.anatomy.descriptors import load_descriptor_set, parse_descriptor_set
from bioatt.core.errors import Cancelled, InputError
from bioatt.core.volume import Volume
from bioatt.priors import build_prior
from bioatt.priors.biomedclip.files import IMAGE_REPOSITORY, find_files, in_folder
from bioatt.priors.biomedclip.prior import BiomedCLIPPrior, clip_images
from bioatt.priors.biomedclip.text import text_embeddings

PAPER = load_descriptor_set("paper17")


def test_equations_1_and_2_against_open_clip_itself(small: Path, torso: Volume) -> None:
    """The reference uses open_clip's encode_image and encode_text, untrimmed tokens and an explicit softmax."""
    import open_clip

    prior = BiomedCLIPPrior(PAPER, str(small), precision="fp32")
    config = json.loads((small / "open_clip_config.json").read_text())
    model, _, _ = open_clip.create_model_and_transforms(
        f"local-dir:{small}",
        text_cfg={**config["model_cfg"]["text_cfg"], "hf_model_name": str(small), "hf_model_pretrained": False},
    )
    tokenizer = open_clip.get_tokenizer(f"local-dir:{small}")
    model.eval()
    images = clip_images(torch.from_numpy(torso.hu.astype(np.float32)), PAPER.hu_windows, 160)
    mean, std = (np.array(config["preprocess_cfg"][key]).reshape(1, 3, 1, 1) for key in ("mean", "std"))
    shown = torch.from_numpy((images.numpy() - mean) / std).float()
    with torch.no_grad():
        image = model.encode_image(shown).double().numpy()
        text = []
        for prompts in PAPER.prompts:
            rows = model.encode_text(tokenizer(list(prompts))).double().numpy()
            mean_row = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).mean(axis=0)
            text.append(mean_row / np.linalg.norm(mean_row))
    image /= np.linalg.norm(image, axis=1, keepdims=True)
    similarity = model.logit_scale.exp().item() * image @ np.array(text).T
    expected = np.exp(similarity) / np.exp(similarity).sum(axis=1, keepdims=True)
    result = prior.probabilities(torso)
    np.testing.assert_allclose(result.p, expected, atol=1e-5)
    assert result.descriptors == PAPER.descriptors
    assert np.ptp(expected, axis=0).max() > 1e-3, "the small checkpoint tells slices apart"
    assert expected.max() > 2 / 17, "and is far from uniform"


def test_a_slice_alone_has_the_probabilities_it_has_in_its_volume(small: Path, torso: Volume) -> None:
    prior = BiomedCLIPPrior(PAPER, str(small), precision="fp32", batch=4)
    whole = prior.probabilities(torso).p
    for z in (0, 5, 8):
        assert np.array_equal(prior.probabilities(torso.part(range(z, z + 1))).p[0], whole[z])


def test_bf16_stays_near_fp32(small: Path, torso: Volume) -> None:
    exact = BiomedCLIPPrior(PAPER, str(small), precision="fp32").probabilities(torso).p
    half = BiomedCLIPPrior(PAPER, str(small), precision="bf16").probabilities(torso).p
    assert np.abs(exact - half).max() < 0.05


def test_pickled_weights_give_the_same(
    build_small: Callable[..., Path], small: Path, torso: Volume, tmp_path: Path
) -> None:
    pickled = build_small(tmp_path / "pickled", weights="bin")
    assert not list(pickled.glob("*.safetensors"))
    expected = BiomedCLIPPrior(PAPER, str(small), precision="fp32").probabilities(torso).p
    np.testing.assert_array_equal(
        BiomedCLIPPrior(PAPER, str(pickled), precision="fp32").probabilities(torso).p, expected
    )


def test_windows_make_the_image_that_pil_makes() -> None:
    hu = np.random.default_rng(0).normal(40, 60, (512, 512)).astype(np.float32)
    eight_bit = np.rint((np.clip(hu, -160, 240) + 160) / 400 * 255).astype(np.uint8)
    reference = np.asarray(Image.fromarray(eight_bit).resize((224, 224), Image.Resampling.BICUBIC)) / 255
    images = clip_images(torch.from_numpy(hu)[None], ((-160.0, 240.0),), 224).numpy()
    assert images.shape == (1, 3, 224, 224)
    np.testing.assert_allclose(images[0, 1], reference, atol=0.012)


def test_three_windows_are_red_green_blue_and_no_side_is_cut_off() -> None:
    hu = torch.full((1, 40, 100), 40.0)
    images = clip_images(hu, ((-1000.0, 0.0), (-160.0, 240.0), (0.0, 400.0)), 100)
    assert images[0, :, 50, 0].tolist() == pytest.approx([1.0, 0.5, 0.1], abs=1e-5)
    assert images[0, :, 5, 50].tolist() == pytest.approx([0, 0, 0], abs=1e-5), "air above and below"


def test_text_embeddings_are_computed_once(small: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = in_folder(small)
    first = text_embeddings(files, PAPER)
    assert len(list((own_cache / "text_embeddings").glob("paper17-*.safetensors"))) == 1
    monkeypatch.setattr("bioatt.priors.biomedclip.text.load_open_clip", lambda files: pytest.fail("computed again"))
    assert torch.equal(text_embeddings(files, PAPER), first)


def test_other_prompts_are_not_taken_from_the_cache(small: Path) -> None:
    files = in_folder(small)
    other = parse_descriptor_set(
        {"name": "paper17", "descriptors": [{"name": name, "phrase": f"the {name}"} for name in PAPER.descriptors]}
    )
    assert not torch.allclose(text_embeddings(files, PAPER), text_embeddings(files, other), atol=1e-3)


def _copy(small: Path, folder: Path) -> Path:
    shutil.copytree(small, folder)
    return folder


def test_missing_vocabulary_is_refused(small: Path, tmp_path: Path) -> None:
    folder = _copy(small, tmp_path / "broken")
    (folder / "vocab.txt").unlink()
    with pytest.raises(InputError, match="lacks its vocabulary"):
        BiomedCLIPPrior(PAPER, str(folder))


@pytest.mark.parametrize("kept", [0, 5, 60])
def test_truncated_vocabulary_is_refused(small: Path, tmp_path: Path, kept: int) -> None:
    folder = _copy(small, tmp_path / "broken")
    words = (folder / "vocab.txt").read_text().splitlines()
    (folder / "vocab.txt").write_text("\n".join(words[:kept]))
    with pytest.raises(InputError, match=r"vocabulary has \d+ words|cannot be loaded"):
        BiomedCLIPPrior(PAPER, str(folder))


def test_words_the_vocabulary_does_not_know_are_refused(small: Path) -> None:
    strange = parse_descriptor_set({"name": "strange", "descriptors": [{"name": "liver"}, {"name": "간"}]})
    with pytest.raises(InputError, match="lacks words of the prompt '간'"):
        BiomedCLIPPrior(strange, str(small))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("open_clip_config.json", "lacks open_clip_config.json"),
        ("config.json", "lacks its text model's config.json"),
        ("open_clip_model.safetensors", "lacks open_clip_model"),
    ],
)
def test_missing_files_are_named(small: Path, tmp_path: Path, name: str, reason: str) -> None:
    folder = _copy(small, tmp_path / "broken")
    (folder / name).unlink()
    with pytest.raises(InputError, match=reason):
        BiomedCLIPPrior(PAPER, str(folder))


def test_damaged_weights_are_refused(small: Path, tmp_path: Path) -> None:
    folder = _copy(small, tmp_path / "broken")
    weights = folder / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="BiomedCLIP"):
        BiomedCLIPPrior(PAPER, str(folder))


def test_absent_model_says_how_to_get_it() -> None:
    with pytest.raises(InputError, match="bioatt models download biomedclip"):
        build_prior("biomedclip", descriptors=PAPER)
    with pytest.raises(InputError, match="does not exist"):
        build_prior("biomedclip:nowhere", descriptors=PAPER)


def test_cancelling(small: Path, torso: Volume) -> None:
    with pytest.raises(Cancelled):
        BiomedCLIPPrior(PAPER, str(small)).probabilities(torso, cancelled=lambda: True)


@pytest.mark.slow
def test_hub_cache_is_used_offline(small: Path, tmp_path: Path) -> None:
    """With HF_HUB_OFFLINE=1, both repositories are found in the Hugging Face cache; a missing one is an error."""
    hub = tmp_path / "hub"
    repositories = {
        IMAGE_REPOSITORY: ("open_clip_config.json", "open_clip_model.safetensors"),
        "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract": ("config.json", "vocab.txt"),
    }
    for repository, names in repositories.items():
        folder = hub / ("models--" + repository.replace("/", "--"))
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text("0" * 40)
        snapshot = folder / "snapshots" / ("0" * 40)
        snapshot.mkdir(parents=True)
        for name in names:
            shutil.copy(small / name, snapshot / name)
    code = (
        "from bioatt.anatomy.descriptors import load_descriptor_set\n"
        "from bioatt.priors.biomedclip.prior import BiomedCLIPPrior\n"
        f"print(BiomedCLIPPrior(load_descriptor_set('paper17'), {f'hf-hub:{IMAGE_REPOSITORY}'!r}).text.shape)\n"
        "BiomedCLIPPrior(load_descriptor_set('paper17'))\n"
    )
    environment = {**os.environ, "HF_HUB_CACHE": str(hub), "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)

    found = run()
    assert found.returncode == 0, found.stderr[-2000:]
    assert "torch.Size([17, 16])" in found.stdout
    shutil.rmtree(hub / "models--microsoft--BiomedNLP-BiomedBERT-base-uncased-abstract")
    missing = run()
    assert missing.returncode == 1
    assert "is incomplete in the Hugging Face cache" in missing.stderr


def test_find_files_prefers_the_named_place(small: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BIOATT_BIOMEDCLIP", str(small))
    assert find_files().config.parent == small
    other = _copy(small, tmp_path / "other")
    assert find_files(str(other)).config.parent == other
    assert find_files(f"local-dir:{other}").config.parent == other
