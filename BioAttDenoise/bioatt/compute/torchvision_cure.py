"""Workaround for a CUDA build of torchvision combined with a CPU build of torch.

Importing torchvision then fails because compiled operators are missing, and with it the imports of open_clip, timm,
lightning, torchmetrics and transformers' models. Declaring the two operators that the import looks up is enough;
nothing here calls them.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

_libraries: list[Any] = []  # a torch.library.Library unregisters its operators when it is garbage-collected


def import_torchvision() -> None:
    """Import torchvision, with the workaround if needed. Call before importing any of the packages above.

    Does nothing if torchvision is not installed or imports normally; other errors propagate.
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
    _libraries.append(library)
