"""The seven arms of the paper's Table 1: network, weighting and training data of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from bioatt.network import Arm, BioAttNetwork, Weighting, build_network

if TYPE_CHECKING:
    from bioatt_training.fit.config import NetworkConfig

ArmName = Literal["base", "channel", "spatial", "whole", "uniform", "random", "bioatt"]


@dataclass(frozen=True)
class TableArm:
    """network, weighting: arguments of `bioatt.network.build_network`. whole: trained on whole slices, one per
    batch.
    """

    network: Arm
    weighting: Weighting = "anatomical"
    whole: bool = False

    @property
    def uses_prior(self) -> bool:
        """Whether a model of this arm carries descriptors."""
        return self.network == "bioatt"


ARMS: dict[ArmName, TableArm] = {
    "base": TableArm("base"),
    "channel": TableArm("channel"),
    "spatial": TableArm("spatial"),
    "whole": TableArm("bioatt", whole=True),
    "uniform": TableArm("bioatt", "uniform"),
    "random": TableArm("bioatt", "random"),
    "bioatt": TableArm("bioatt"),
}
"""In the order of the table: §3.2 compares attention, §3.3 patches and whole slices, §3.4 weightings."""

assert tuple(ARMS) == get_args(ArmName)


def arm_network(config: NetworkConfig, descriptors: int) -> BioAttNetwork:
    """The network of an arm with fresh weights; descriptors: N."""
    arm = ARMS[config.arm]
    return build_network(arm.network, config.filters, descriptors, arm.weighting, config.layout)
