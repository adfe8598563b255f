"""Formulas written out a second time, so that tests can compare with them."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def euler(velocity: Callable[[Tensor, float], Tensor], x: Tensor, sigmas: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Follows `velocity` from `sigmas[0]` to `sigmas[-1]`. Returns the latent at the end and the last velocity."""
    v = torch.zeros_like(x)
    for sigma, following in zip(sigmas, sigmas[1:], strict=False):
        v = velocity(x, sigma)
        x = x + (following - sigma) * v
    return x, v
