"""Import Lightning after the torchvision workaround: it imports torchmetrics, which imports torchvision."""

import warnings

from bioatt.compute.torchvision_cure import import_torchvision

import_torchvision()
warnings.filterwarnings("ignore", message=r"`isinstance\(treespec", module="lightning")

import lightning  # noqa: E402
import lightning.pytorch.callbacks as callbacks  # noqa: E402
import lightning.pytorch.loggers as loggers  # noqa: E402
from lightning.pytorch.plugins.io import TorchCheckpointIO  # noqa: E402
from lightning.pytorch.utilities import rank_zero_only  # noqa: E402

__all__ = ["TorchCheckpointIO", "callbacks", "lightning", "loggers", "rank_zero_only"]
