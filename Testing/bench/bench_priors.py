"""Cost of the priors per slice: organ maps, and full-size BiomedCLIP compared with its image tower alone.

BiomedCLIP has random weights in the published architecture (ViT-B/16 at 224 px), since the cost does not depend on
them. CPU time of one thread, which other programs hardly affect. Run: `python Testing/bench/bench_priors.py`.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt.compute.device import Precision, choose
from bioatt.core.volume import Volume
from bioatt.priors import build_prior, organ_maps
from bioatt.priors.biomedclip.files import in_folder
from bioatt.priors.biomedclip.install import MANIFEST
from bioatt.priors.biomedclip.prior import BiomedCLIPPrior
from bioatt.priors.biomedclip.text import FOLDER, cache_name, import_open_clip, write_text_embeddings

ROUNDS = 5
DESCRIPTORS = load_descriptor_set("paper17")
VISION = {
    "timm_model_name": "vit_base_patch16_224",
    "timm_model_pretrained": False,
    "timm_pool": "",
    "timm_proj": "linear",
    "image_size": 224,
}


def cpu_seconds(*works: Callable[[], object]) -> list[float]:
    """Median CPU seconds of each work over ROUNDS interleaved calls, after one warm-up call each."""
    times: list[list[float]] = [[] for _ in works]
    for round_ in range(ROUNDS + 1):
        for work, taken in zip(works, times, strict=True):
            start = time.process_time()
            work()
            if round_:
                taken.append(time.process_time() - start)
    return [statistics.median(taken) for taken in times]


def image_tower(folder: Path) -> None:
    """Write a folder like that of `bioatt models export`: full-size image tower, random text embeddings."""
    config = {"embed_dim": 512, "vision_cfg": VISION, "text_cfg": {"hf_model_name": ""}}
    preprocessing = {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]}
    tiny = {"context_length": 1, "vocab_size": 1, "width": 1, "heads": 1, "layers": 1}
    model = import_open_clip().CustomTextCLIP(embed_dim=512, vision_cfg=VISION, text_cfg=tiny)
    weights = {name: weight for name, weight in model.state_dict().items() if name.startswith(("visual.", "logit_"))}
    safetensors.torch.save_file(weights, folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocessing}))
    (folder / MANIFEST).write_text(json.dumps({"image_tower_only": True}))
    embeddings = torch.nn.functional.normalize(torch.randn(len(DESCRIPTORS), 512), dim=1)
    write_text_embeddings(folder / FOLDER / cache_name(in_folder(folder), DESCRIPTORS), embeddings)


def biomedclip(folder: Path, precision: Precision) -> None:
    """The prior of a batch of 512 × 512 slices against the image tower alone on preprocessed images."""
    prior = BiomedCLIPPrior(DESCRIPTORS, str(folder), precision=precision)
    slices = np.random.default_rng(0).normal(0, 300, (prior.batch, 512, 512)).astype(np.float32)
    images = torch.randn(prior.batch, 3, prior.side, prior.side)

    def bare() -> None:
        with torch.inference_mode(), prior.compute.arithmetic():
            prior.tower(images)

    tower, whole = (taken / prior.batch for taken in cpu_seconds(bare, lambda: prior.of_slices(slices)))
    print(f"biomedclip {precision}: {whole:.3f} s a slice, tower alone {tower:.3f} s, ratio {whole / tower:.2f}")


def maps() -> None:
    """The organ maps' prior of 512 × 512 slices."""
    prior = build_prior("maps", descriptors=DESCRIPTORS)
    volume = Volume(np.random.default_rng(0).normal(0, 300, (10, 512, 512)).astype(np.float32), (0.8, 0.8, 3.0))

    def anew() -> None:
        organ_maps.forget()
        prior.probabilities(volume)

    (taken,) = cpu_seconds(anew)
    print(f"maps: {1000 * taken / 10:.1f} ms a slice")


if __name__ == "__main__":
    torch.set_num_threads(1)
    maps()
    with tempfile.TemporaryDirectory() as name:
        image_tower(Path(name))
        for precision in ("fp32", *(("bf16",) if choose("cpu").dtype else ())):
            biomedclip(Path(name), precision)
