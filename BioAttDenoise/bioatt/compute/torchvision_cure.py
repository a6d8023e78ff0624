"""Cure for the registry's torchvision (built for CUDA) beside a CPU torch: without its compiled operators its import
fails, and takes open_clip, timm, lightning, torchmetrics and transformers' models with it.

Declaring the two operators that the import asks for is enough: nothing here calls them.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

_kept: list[Any] = []  # a torch.library.Library takes its operators away when it is collected


def import_torchvision() -> None:
    """Import torchvision, cured where it needs it. Call before importing any of the packages above.

    Does nothing where torchvision is not installed, or imports as it should; other errors pass through.
    """
    try:
        importlib.import_module("torchvision")
    except ModuleNotFoundError as error:
        if error.name != "torchvision":
            raise
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        _declare_operators()
        importlib.import_module("torchvision")


def _declare_operators() -> None:
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _kept.append(library)
