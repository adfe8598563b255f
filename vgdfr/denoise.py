"""Flow matching, each formula once: Euler steps, one-step denoise, renoise (paper, equations 1, 2 and 6).

sigma is the noise level, 1 for pure noise and 0 for a clean latent; the velocity v is d x / d sigma.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

Velocity = Callable[[Float[Tensor, "b c n h w"], float], Float[Tensor, "b c n h w"]]


def euler(
    velocity: Velocity, x: Float[Tensor, "b c n h w"], sigmas: Sequence[float]
) -> tuple[Float[Tensor, "b c n h w"], Float[Tensor, "b c n h w"]]:
    """Follow `velocity` from `sigmas[0]` to `sigmas[-1]`; the latent reached, and the velocity of the last step."""
    v = torch.zeros_like(x)
    for sigma, following in zip(sigmas, sigmas[1:], strict=False):
        v = velocity(x, sigma)
        x = x + (following - sigma) * v
    return x, v


def one_step_denoise(
    x: Float[Tensor, "b c n h w"], v: Float[Tensor, "b c n h w"], sigma: float
) -> Float[Tensor, "b c n h w"]:
    """The clean latent that `v` points to from `x` at noise level `sigma` (paper, equation 2, sigma for (T-k)/T)."""
    return x - sigma * v


def multi_step_denoise(
    velocity: Velocity,
    x: Float[Tensor, "b c n h w"],
    v: Float[Tensor, "b c n h w"],
    sigmas: Sequence[float],
    steps: int,
    stale: bool = False,
) -> Float[Tensor, "b c n h w"]:
    """From `x` at `sigmas[0]` to 0 in `steps` Euler steps over evenly chosen ones of the remaining `sigmas`.

    The first step is along `v`, as in the one-step denoise; each other costs a DiT pass on the latest latent. `stale`
    is the released code's preview without CFG: steps of equal length, and all velocities of the `x` that came in.
    Raises ValueError unless 1 <= steps <= len(sigmas) - 1.
    """
    left = len(sigmas) - 1
    if not 1 <= steps <= left:
        raise ValueError(f"steps must be between 1 and the {left} left, got {steps}")
    coarse = [sigmas[round(i * left / steps)] for i in range(steps + 1)]
    if stale:
        velocities = [v, *(velocity(x, sigma) for sigma in coarse[1:-1])]
        return x - sigmas[0] / steps * torch.stack(velocities).sum(0)
    return euler(velocity, x + (coarse[1] - coarse[0]) * v, coarse[1:])[0]


def renoise(
    clean: Float[Tensor, "b c n h w"], noise: Float[Tensor, "b c n h w"], sigma: float
) -> Float[Tensor, "b c n h w"]:
    """The point at `sigma` on the straight line from `clean` to `noise` (paper, equation 6)."""
    return sigma * noise + (1 - sigma) * clean
