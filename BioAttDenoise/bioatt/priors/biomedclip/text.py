"""Text embeddings of a descriptor set: computed once by BiomedCLIP's text tower and cached by content hash."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor

from bioatt.anatomy.descriptors import DescriptorSet
from bioatt.compute.torchvision_cure import import_torchvision
from bioatt.core.errors import InputError
from bioatt.core.resources import models_folder
from bioatt.priors.biomedclip.files import HOW_TO_GET, BiomedCLIPFiles

FOLDER = "text_embeddings"


def text_embeddings(files: BiomedCLIPFiles, descriptors: DescriptorSet) -> Tensor:
    """(N, D) float32 unit vectors: the mean of each descriptor's prompt embeddings.

    Read from the folder of the weights or the user's cache, else computed and cached. Raises InputError if they must be
    computed and the text tower is missing, or its vocabulary is not the model's or lacks words of a prompt.
    """
    name = cache_name(files, descriptors)
    places = (files.config.parent / FOLDER / name, models_folder() / FOLDER / name)
    for place in places:
        cached = _read(place, len(descriptors))
        if cached is not None:
            return cached
    embeddings = compute_text_embeddings(files, descriptors)
    write_text_embeddings(places[1], embeddings)
    return embeddings


def cache_name(files: BiomedCLIPFiles, descriptors: DescriptorSet) -> str:
    """File name with a hash of everything the embeddings depend on: weights, names and prompts."""
    key = hashlib.sha256(f"{files.weights_id()}/{descriptors.text_hash}".encode()).hexdigest()
    return f"{descriptors.name}-{key[:32]}.safetensors"


def compute_text_embeddings(files: BiomedCLIPFiles, descriptors: DescriptorSet) -> Tensor:
    """Compute (N, D) embeddings with the text tower. Result and errors as `text_embeddings`."""
    model, tokenizer = load_open_clip(files)
    prompts = [prompt for several in descriptors.prompts for prompt in several]
    tokens = _tokens(tokenizer, prompts)
    with torch.inference_mode():
        embedded = F.normalize(torch.cat([model.encode_text(part) for part in tokens.split(32)]).float(), dim=-1)
    means = [rows.mean(dim=0) for rows in embedded.split([len(several) for several in descriptors.prompts])]
    return F.normalize(torch.stack(means), dim=-1)


def write_text_embeddings(path: Path, embeddings: Tensor) -> None:
    """Cache embeddings atomically in a file; a failure to write is ignored."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        safetensors.torch.save_file({"embeddings": embeddings.contiguous()}, partial)
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)


def _read(path: Path, count: int) -> Tensor | None:
    try:
        embeddings = safetensors.torch.load_file(path)["embeddings"]
    except (OSError, KeyError, safetensors.SafetensorError):
        return None
    return embeddings if len(embeddings) == count and bool(embeddings.isfinite().all()) else None


def load_open_clip(files: BiomedCLIPFiles) -> tuple[Any, Any]:
    """Load the whole model and its tokenizer with open_clip, offline. Raises InputError if files are inconsistent."""
    folder = files.text_folder
    if folder is None:
        raise InputError(
            "this BiomedCLIP has no text tower and no text embeddings for this descriptor set: "
            f"export them on a machine with the whole model, or {HOW_TO_GET}"
        )
    open_clip = import_open_clip()
    text_config = {**files.model_config["text_cfg"], "hf_model_name": str(folder), "hf_model_pretrained": False}
    try:
        with offline():
            model, _, _ = open_clip.create_model_and_transforms(
                f"local-dir:{files.config.parent}", text_cfg=text_config
            )
            tokenizer = open_clip.tokenizer.HFTokenizer(
                str(folder), context_length=text_config.get("context_length", 256)
            )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, safetensors.SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"BiomedCLIP cannot be loaded ({reason}); get its files again: {HOW_TO_GET}") from None
    words, known = model.text.config.vocab_size, len(tokenizer.tokenizer)
    if words != known:
        raise InputError(
            f"BiomedCLIP's vocabulary has {known} words but the model was trained with {words}, so the file is missing "
            f"or truncated; get it again: {HOW_TO_GET}"
        )
    return model.eval(), tokenizer


def _tokens(tokenizer: Any, prompts: Sequence[str]) -> Tensor:
    """(prompts, longest) token ids, padded only to the longest prompt; embeddings do not depend on the padding."""
    tokens = tokenizer(list(prompts))
    unknown = tokenizer.tokenizer.unk_token_id
    for prompt, row in zip(prompts, tokens, strict=True):
        if bool((row == unknown).any()):
            raise InputError(f"BiomedCLIP's vocabulary lacks words of the prompt {prompt!r}: rephrase it")
    used = tokens != tokenizer.tokenizer.pad_token_id
    return tokens[:, : int(used.sum(dim=1).max())]


def import_open_clip() -> Any:
    """Import open_clip. Raises InputError with installation instructions if it is missing."""
    try:
        import_torchvision()
        import open_clip
        import open_clip.tokenizer
    except ImportError as error:
        raise InputError(
            f"the prior biomedclip needs open_clip, which is not installed ({error.name}): pip install 'bioatt[prior]'"
        ) from None
    return open_clip


@contextmanager
def offline() -> Iterator[None]:
    """Keep libraries off the network: a missing file raises an error instead of being downloaded without consent."""
    import huggingface_hub.constants as constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
