"""Train under priors better and worse than the one at hand, so that the model does not depend on a single source."""

from __future__ import annotations

import torch
from torch import Tensor


def perturb(p: Tensor, share: float) -> Tensor:
    """Replace the prior of about `share` of the batch, p (B, N) with rows that sum to 1.

    A third each becomes flat (uniform), softened (√p, as an unsure prior) and mixed with a random distribution (as a
    wrong one). Rows still sum to 1.
    """
    uniform = torch.full_like(p, 1 / p.shape[1])
    softened = p.sqrt() / p.sqrt().sum(dim=1, keepdim=True)
    random = torch.distributions.Dirichlet(torch.full_like(p, 0.5)).sample()
    choice = torch.rand(p.shape[0], 1, device=p.device) / max(share, 1e-9)
    p = torch.where(choice < 1 / 3, uniform, p)
    p = torch.where((choice >= 1 / 3) & (choice < 2 / 3), softened, p)
    return torch.where((choice >= 2 / 3) & (choice < 1), (p + random) / 2, p)
