"""A deeper network that begins where a shallower one ended, so that what that one learned is not learned again.

A fresh residual block is the identity (Chen 2016, arXiv 1511.05641), so the output is the shallow network's at first.
"""

from __future__ import annotations

from bioatt.errors import InputError
from bioatt.network import BioAttNetwork

SAME = ("layout", "arm", "weighting", "descriptors", "filters")


def deepen(shallow: BioAttNetwork, deep: BioAttNetwork) -> None:
    """Give `deep`, with fresh weights, the function of `shallow`, which has as many blocks or fewer.

    Raises InputError where they differ in more than the depth, or the deep one has less of it.
    """
    if any(getattr(shallow, name) != getattr(deep, name) for name in SAME) or shallow.depth > deep.depth:
        raise InputError(
            f"[run] initial: the model to start from is a {_kind(shallow)}, the one to train a {_kind(deep)}: "
            "only the depth may differ, and not fall"
        )
    deep.load_state_dict(shallow.state_dict(), strict=False)


def _kind(network: BioAttNetwork) -> str:
    return f"{network.layout} of {network.filters} filters, {network.descriptors} descriptors and depth {network.depth}"
