"""The paper's network: RED-CNN with organ-aware attention, in the arms of its Table 1 (BioAtt, §2.2–2.3).

Convolutions are unpadded and each has a transposed counterpart, so the output has the input's size.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from bioatt.network.base import Arm, BioAttNetwork, Record, Stage, Weighting

CROP: dict[Stage, int] = {"middle": 6, "last": 10}
"""Pixels that three and five unpadded 5×5 convolutions crop from each side before a stage's attention."""
HALO = 26
"""Receptive-field radius: ten 5×5 layers (2 px each) and two 7×7 attention convolutions (3 px each)."""


class RedCnn(BioAttNetwork):
    """RED-CNN (Chen 2017) whose encoder attends after relu(conv3), "middle", and relu(conv5), "last".

    Recorded maps are (B, N, H − 2·CROP, W − 2·CROP).
    """

    layout = "red_cnn"

    def __init__(self, arm: Arm, filters: int, descriptors: int, weighting: Weighting = "anatomical") -> None:
        super().__init__(arm, filters, descriptors, weighting)
        widths = [1] + [filters] * 5
        self.encoder = nn.ModuleList(nn.Conv2d(a, b, 5) for a, b in pairwise(widths))
        self.decoder = nn.ModuleList(nn.ConvTranspose2d(a, b, 5) for a, b in pairwise(widths[::-1]))
        self.attention = self._attention_blocks({"middle": filters, "last": filters})

    @property
    def halo(self) -> int:
        return HALO

    @property
    def border(self) -> int:
        """The halo: the outermost pixels of transposed convolutions are incomplete sums."""
        return HALO

    def pixel_maps(self, stage: Stage, maps: Tensor) -> Tensor:
        return functional.pad(maps, [CROP[stage]] * 4)

    def _at(self, stage: Stage, weights: Tensor) -> Tensor:
        crop = CROP[stage]
        return weights[..., crop:-crop, crop:-crop]

    def _residual(self, x: Tensor, weights: Tensor | None, record: Record | None) -> Tensor:
        conv1, conv2, conv3, conv4, conv5 = self.encoder
        skip2 = torch.relu(conv2(torch.relu(conv1(x))))
        middle = self._attend("middle", torch.relu(conv3(skip2)), weights, record)
        skip4 = torch.relu(conv4(middle))
        y = self._attend("last", torch.relu(conv5(skip4)), weights, record)
        deconv1, deconv2, deconv3, deconv4, deconv5 = self.decoder
        y = torch.relu(deconv1(y) + skip4)
        y = torch.relu(deconv2(y))
        y = torch.relu(deconv3(y) + skip2)
        y = torch.relu(deconv4(y))
        output: Tensor = deconv5(y)
        return output
