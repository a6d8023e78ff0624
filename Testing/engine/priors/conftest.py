"""A BiomedCLIP small enough for tests: the same architecture, file names and configuration, 1.4 MB, random weights."""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt.compute.torchvision_cure import import_torchvision
from bioatt.core.volume import Volume

TEXT_REPOSITORY = "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract"
SIDE, WIDTH = 160, 16
CONFIG = {
    "model_cfg": {
        "embed_dim": WIDTH,
        "vision_cfg": {
            "timm_model_name": "test_vit",
            "timm_model_pretrained": False,
            "timm_pool": "",
            "timm_proj": "linear",
            "image_size": SIDE,
        },
        "text_cfg": {
            "hf_model_name": TEXT_REPOSITORY,
            "hf_tokenizer_name": TEXT_REPOSITORY,
            "hf_proj_type": "mlp",
            "hf_pooler_type": "cls_last_hidden_state_pooler",
            "context_length": 64,
        },
    },
    "preprocess_cfg": {
        "mean": [0.48145466, 0.4578275, 0.40821073],
        "std": [0.26862954, 0.26130258, 0.27577711],
    },
}


def vocabulary() -> list[str]:
    """WordPiece words of the shipped prompts, plus every letter so that no word is unknown."""
    prompts = (prompt for several in load_descriptor_set("paper17").prompts for prompt in several)
    words = {word.lower() for prompt in prompts for word in prompt.split()}
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = string.ascii_lowercase + string.digits
    return [*special, *letters, *(f"##{letter}" for letter in letters), *sorted(words - set(letters))]


@pytest.fixture(scope="session")
def build_small() -> Callable[..., Path]:
    """build_small(folder, weights="safetensors" | "bin", text_files=True) writes the small BiomedCLIP into a folder."""

    def build(folder: Path, weights: str = "safetensors", text_files: bool = True) -> Path:
        import_torchvision()
        import open_clip
        from safetensors.torch import save_file
        from transformers import BertConfig

        folder.mkdir(parents=True, exist_ok=True)
        words = vocabulary()
        text = BertConfig(
            vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
        )
        text.save_pretrained(folder)
        (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
        (folder / "open_clip_config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
        config = CONFIG["model_cfg"]
        torch.manual_seed(0)
        model = open_clip.CustomTextCLIP(
            WIDTH,
            config["vision_cfg"],
            {**config["text_cfg"], "hf_model_name": str(folder), "hf_model_pretrained": False},
        )
        with torch.no_grad():
            model.logit_scale.fill_(np.log(100))  # close to the published model's
            for name, parameter in model.named_parameters():
                if parameter.ndim > 1:  # larger than initialised, so that embeddings differ like trained ones
                    parameter.mul_(30 if "word_embeddings" in name else 3)
        state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        if weights == "bin":
            torch.save(state, folder / "open_clip_pytorch_model.bin")
        else:
            save_file(state, folder / "open_clip_model.safetensors")
        if not text_files:
            (folder / "config.json").unlink()
            (folder / "vocab.txt").unlink()
        return folder

    return build


@pytest.fixture(scope="session")
def small(build_small: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the small BiomedCLIP. Tests must not modify it."""
    return build_small(tmp_path_factory.mktemp("biomedclip") / "small")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the tests away from the user's cache."""
    monkeypatch.setenv("BIOATT_MODELS", str(tmp_path / "cache"))
    monkeypatch.delenv("BIOATT_BIOMEDCLIP", raising=False)
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def torso() -> Volume:
    """Nine slices of an ellipse with two lungs, a spine and noise; all slices and orientations differ."""
    generator = np.random.default_rng(1)
    y, x = np.mgrid[:96, :120]
    hu = np.full((9, 96, 120), -1000.0)
    hu[:, ((x - 60) / 52) ** 2 + ((y - 48) / 38) ** 2 < 1] = 40
    for z in range(9):
        for side in (-1, 1):
            hu[z, ((x - 60 - side * 24) / (6 + z)) ** 2 + ((y - 44) / (8 + 2 * z)) ** 2 < 1] = -850
    hu[:, ((x - 60) / 8) ** 2 + ((y - 74) / 8) ** 2 < 1] = 400
    hu = np.rint(hu + generator.normal(0, 15, hu.shape)).astype(np.int16)
    return Volume(hu, spacing=(3.2, 3.2, 5.0))
