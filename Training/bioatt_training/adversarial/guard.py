"""Training that monitors HU and structures in validation, with several losses, each with its own parameters."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bioatt.core.metrics import TISSUES
from bioatt_training.adversarial.checks import column, structure_error, tissue_errors
from bioatt_training.fit.experiment import Experiment

COLUMNS = (*map(column, TISSUES), "val_drift_hu", "val_structure", "val_guarded")


class GuardedExperiment(Experiment):
    """An experiment that also logs the columns `COLUMNS`, over the patches' interior.

    val_bias_…_hu: mean output − target by tissue; val_drift_hu: the largest of them in magnitude; val_structure: error
    of means over squares of about 7 mm relative to that of the input; val_guarded: val_relative, or infinity if drift
    or structure exceeds the method's limits (`most_drift_hu`, `most_structure`).
    """

    method: Any

    def _measure(self, output: Tensor, target: Tensor, low: Tensor) -> None:
        super()._measure(output, target, low)
        for tissue, sums in tissue_errors(output, target).items():
            self._sums.setdefault(column(tissue), []).append(torch.stack(sums))
        for name, image in (("structure", output), ("structure_low", low)):
            self._add({name: structure_error(image, target)}, len(image))

    def _conclude(self, means: dict[str, Tensor]) -> None:
        biases = torch.stack([means[column(tissue)] for tissue in TISSUES])
        means["val_drift_hu"] = drift = biases.abs().nan_to_num(0).max()
        means["val_structure"] = structure = (means["val_structure"] / means.pop("val_structure_low")).sqrt()
        within = (drift <= self.method.most_drift_hu) & (structure <= self.method.most_structure)
        means["val_guarded"] = torch.where(within, means["val_relative"], torch.inf)

    def configure_gradient_clipping(self, optimizer: Any, gradient_clip_val: Any = None, *_: Any, **__: Any) -> None:
        """Clip the gradient of each group separately, so that the discriminator's does not shrink the generator's."""
        if gradient_clip_val:
            for group in optimizer.param_groups:
                nn.utils.clip_grad_norm_(group["params"], gradient_clip_val)

    def _total(self, terms: dict[str, Tensor]) -> Tensor:
        """The sum of the weighted losses; logs each of them."""
        total = torch.stack(list(terms.values())).sum()
        self.log_dict({f"train_{name}": value.detach() for name, value in terms.items()})
        self.log("train_loss", total, prog_bar=True)
        return total

    def _groups(self, generators: list[nn.Module], discriminators: list[nn.Module]) -> list[dict[str, Any]]:
        """Two optimiser groups, the second with the method's learning rate."""
        rates = (1.0, self.method.discriminator_rate)
        groups = [
            {"params": [one for module in modules for one in module.parameters()], "lr": rate * self._rate}
            for modules, rate in zip((generators, discriminators), rates, strict=True)
        ]
        return [group for group in groups if group["params"]]

    @property
    def _rate(self) -> float:
        return self.config.optimiser.learning_rate
