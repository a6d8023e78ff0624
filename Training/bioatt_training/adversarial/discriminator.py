"""The discriminator: a PatchGAN that cross-attends to the anatomy in a reference image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from bioatt_training.adversarial.features import Levels

Adversary = Literal["hinge", "least_squares"]
SLOPE = 0.2
"""Negative slope of the leaky ReLUs."""
KEY_CHANNELS = 64
DETAIL_PX, DETAIL_GAIN = 5, 10.0
"""The discriminator sees x and, scaled tenfold (1 is 50 HU), x − its 5×5 mean, because noise is small relative to
anatomy.
"""


class SemanticAttention(nn.Module):
    """Cross-attention of one head: queries from semantics (B, S, h, w), keys and values from features (B, C, H, W).

    Returns (B, C, H, W): the attended features on the semantics' grid, upsampled. Initialised to 0, so that the
    discriminator starts without semantics.
    """

    def __init__(self, semantics: int, features: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(semantics, KEY_CHANNELS, 1)
        self.key = nn.Conv2d(features, KEY_CHANNELS, 1)
        self.value = nn.Conv2d(features, KEY_CHANNELS, 1)
        self.output = nn.Conv2d(KEY_CHANNELS, features, 1)
        nn.init.zeros_(self.output.weight)
        assert self.output.bias is not None
        nn.init.zeros_(self.output.bias)

    def forward(self, semantics: Tensor, features: Tensor) -> Tensor:
        semantics = functional.instance_norm(semantics)  # backbones differ in scale
        query, key, value = (
            layer(x).flatten(2).transpose(1, 2)
            for layer, x in ((self.query, semantics), (self.key, features), (self.value, features))
        )
        attended = functional.scaled_dot_product_attention(query, key, value)
        on_grid = attended.transpose(1, 2).unflatten(2, semantics.shape[2:])
        upsampled: Tensor = functional.interpolate(
            self.output(on_grid), features.shape[2:], mode="bilinear", align_corners=False
        )
        return upsampled


class Discriminator(nn.Module):
    """x (B, 1, H, W) and the reference's features → one logit for each region of x, (B, 1, h, w).

    Three convolutions of stride 2 with 1, 2 and 4 times `width` channels; after each, the discriminator attends to the
    semantics of one depth, concatenates the result and merges it. semantics: channels of the three levels; (): a plain
    PatchGAN (Isola 2017, arXiv 1611.07004). spectral: whether all layers but the attention are spectrally normalised
    (Miyato 2018, arXiv 1802.05957), which bounds the discriminator's contribution to a paired loss. Without pairs it is
    the generator's only training signal, and normalisation makes it too weak.
    """

    def __init__(self, width: int, semantics: tuple[int, ...] = (), *, spectral: bool = True) -> None:
        super().__init__()
        widths = (2, width, 2 * width, 4 * width)
        conv = _spectral if spectral else _plain
        self.down = nn.ModuleList(conv(widths[k], widths[k + 1], 4, 2) for k in range(3))
        self.attention = nn.ModuleList(SemanticAttention(*pair) for pair in zip(semantics, widths[1:], strict=False))
        self.merge = nn.ModuleList(conv(2 * channels, channels, 3) for channels in widths[1 : 1 + len(semantics)])
        self.last = conv(4 * width, 8 * width, 3)
        self.logits = conv(8 * width, 1, 3)

    def forward(self, x: Tensor, semantics: Levels | None = None) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # spectral norms cannot be tracked in half precision
            return self._logits(x.float(), semantics or [])

    def _logits(self, x: Tensor, semantics: Levels) -> Tensor:
        blurred = functional.avg_pool2d(x, DETAIL_PX, 1, DETAIL_PX // 2, count_include_pad=False)
        x = torch.cat([x, DETAIL_GAIN * (x - blurred)], dim=1)
        for number, down in enumerate(self.down):
            x = functional.leaky_relu(down(x), SLOPE)
            if self.attention:
                attended = self.attention[number](semantics[number], x)
                x = functional.leaky_relu(self.merge[number](torch.cat([x, attended], dim=1)), SLOPE)
        logits: Tensor = self.logits(functional.leaky_relu(self.last(x), SLOPE))
        return logits


def discriminator_loss(kind: Adversary, real: Tensor, fake: Tensor) -> Tensor:
    """Hinge (Lim 2017, arXiv 1705.02894) or least squares (Mao 2017, arXiv 1611.04076): real to 1, fake to −1 or 0."""
    if kind == "hinge":
        return functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()
    return 0.5 * ((real - 1) ** 2).mean() + 0.5 * (fake**2).mean()


def generator_loss(kind: Adversary, fake: Tensor) -> Tensor:
    """The generator's counterpart of `discriminator_loss`."""
    return -fake.mean() if kind == "hinge" else 0.5 * ((fake - 1) ** 2).mean()


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Context in which the module's output has gradients with respect to its input only.

    This lets one backward pass over the sum of their losses train both generator and discriminator.
    """
    parameters = [one for one in module.parameters() if one.requires_grad]
    for one in parameters:
        one.requires_grad_(False)
    try:
        yield
    finally:
        for one in parameters:
            one.requires_grad_(True)


def _plain(inputs: int, outputs: int, side: int, stride: int = 1) -> nn.Module:
    return nn.Conv2d(inputs, outputs, side, stride, padding=1)


def _spectral(inputs: int, outputs: int, side: int, stride: int = 1) -> nn.Module:
    return spectral_norm(_plain(inputs, outputs, side, stride))
