"""Denoising without pairs: two generators in a cycle, and one discriminator per dose (arXiv 2605.00793).

Only the paper's abstract was available. It describes a Cycle-GAN (Zhu 2017, arXiv 1703.10593) whose generators combine
a U-Net's scales by attention and transform them by residual blocks, and a perceptual loss; everything else follows
Cycle-GAN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, l1_loss

from bioatt_training.adversarial.checks import STRUCTURE_PX
from bioatt_training.adversarial.discriminator import Discriminator, discriminator_loss, frozen, generator_loss
from bioatt_training.adversarial.features import load_features
from bioatt_training.adversarial.guard import GuardedExperiment
from bioatt_training.adversarial.perceptual import pointwise
from bioatt_training.adversarial.replay import Replay
from bioatt_training.fit.arms import arm_network
from bioatt_training.fit.config import Config
from bioatt_training.fit.objectives import interior

if TYPE_CHECKING:
    from bioatt_training.adversarial.methods import Unpaired

UnpairedBatch = tuple[Tensor, Tensor, Tensor, Tensor]
"""Low dose, full dose of other patients (B, 1, H, W), and the priors of both (B, N)."""
SIDES = ("full", "low")


class UnpairedExperiment(GuardedExperiment):
    """Trains `network` to map low dose to full dose, and `back` for the reverse; see `methods.Unpaired`.

    Validation uses pairs, with the full dose as reference, as in every other training. Networks with a noise-level
    input get none in training, because the noise level of generated images is unknown.
    """

    def __init__(self, config: Config, descriptors: int, steps: int, epoch_steps: int) -> None:
        super().__init__(config, descriptors, steps, epoch_steps)
        self.method: Unpaired = config.method  # type: ignore[assignment]
        self.features = load_features(self.method.features)
        self.back = arm_network(config.network, descriptors)
        self.back.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.judges = torch.nn.ModuleDict({side: Discriminator(self.method.width, spectral=False) for side in SIDES})
        self.replays = {side: Replay(self.method.replay, config.run.seed) for side in SIDES}

    def training_step(self, batch: UnpairedBatch, _: int) -> Tensor:  # type: ignore[override]
        """Sum of the weighted terms, and of the discriminators' own losses."""
        return self._total(self.terms(*batch))

    def terms(self, low: Tensor, full: Tensor, low_p: Tensor, full_p: Tensor) -> dict[str, Tensor]:
        """The weighted losses by name; see `UnpairedBatch`."""
        method, features = self.method, self.features.to(low.device)
        fake_full, fake_low = self.network(low, low_p).float(), self.back(full, full_p).float()
        cycle = self._l1(self.back(fake_full, low_p), low) + self._l1(self.network(fake_low, full_p), full)
        same = self._l1(self.network(full, full_p), full) + self._l1(self.back(low, low_p), low)
        terms = {"cycle": method.cycle * cycle, "identity": method.identity * same}
        if method.means:
            terms["means"] = method.means * (self._means(fake_full, low) + self._means(fake_low, full))
        inner = {"full": (full, fake_full), "low": (low, fake_low)}
        images = {side: tuple(interior(x, self.config.optimiser.margin) for x in pair) for side, pair in inner.items()}
        if method.perceptual:
            with torch.no_grad():
                before = features(images["low"][0])
            after = features(images["full"][1])
            terms["perceptual"] = method.perceptual * pointwise(after[1:], before[1:])
        for side, (real, fake) in images.items():
            judge = self.judges[side]
            with frozen(judge):
                terms[f"adversarial_{side}"] = method.adversarial * generator_loss(method.adversary, judge(fake))
            self.replays[side].first = self.global_rank * len(fake)
            shown = self.replays[side].exchanged(fake.detach(), self.global_step)
            terms[f"discriminator_{side}"] = discriminator_loss(method.adversary, judge(real), judge(shown))
        return terms

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the earlier fakes of all processes."""
        held = {side: replay.held for side, replay in self.replays.items() if replay.held is not None}
        if self.trainer.world_size > 1:
            held = {side: cast(Tensor, self.all_gather(one)).flatten(0, 1) for side, one in held.items()}
        checkpoint["replay"] = {side: one.cpu() for side, one in held.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore this process's share of the earlier fakes."""
        for side, held in checkpoint["replay"].items():
            share = len(held) // self.trainer.world_size
            self.replays[side].held = held[self.global_rank * share : (self.global_rank + 1) * share]

    def _l1(self, output: Tensor, target: Tensor) -> Tensor:
        margin = self.config.optimiser.margin
        return l1_loss(interior(output.float(), margin), interior(target, margin))

    def _means(self, output: Tensor, given: Tensor) -> Tensor:
        """Distance of the means over squares, in which noise averages out: a change of dose must not change them."""
        margin = max(self.config.optimiser.margin - STRUCTURE_PX // 2, 0)
        return interior(avg_pool2d(output - given, STRUCTURE_PX, stride=1), margin).abs().mean()

    def _trained(self) -> Any:
        return self._groups([self.network, self.back], list(self.judges.values()))
