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


def released_preview_steps(k: int, steps: int, num_inference_steps: int) -> list[int]:
    """The steps after which the released code evaluates a preview of several `steps`, but for the first, after k."""
    left = num_inference_steps - k
    return [round(k + left / steps * i) for i in range(1, steps)]


def multi_step_denoise(
    velocity: Velocity,
    x: Float[Tensor, "b c n h w"],
    v: Float[Tensor, "b c n h w"],
    sigmas: Sequence[float],
    k: int,
    steps: int,
    as_released: bool = False,
) -> Float[Tensor, "b c n h w"]:
    """From `x` at `sigmas[k]` to 0 in `steps` Euler steps over evenly chosen ones of the remaining `sigmas`.

    The first step is along `v`, as in the one-step denoise; each other costs a DiT pass on the latest latent.
    `as_released` is the released code's preview without CFG: steps of equal length, all velocities of the `x` that came
    in, at the noise levels after `released_preview_steps`.
    Raises ValueError unless 1 <= steps <= len(sigmas) - 1 - k.
    """
    left = len(sigmas) - 1 - k
    if not 1 <= steps <= left:
        raise ValueError(f"steps must be between 1 and the {left} left, got {steps}")
    if as_released:
        levels = [sigmas[i] for i in released_preview_steps(k, steps, len(sigmas) - 1)]
        return x - sigmas[k] / steps * torch.stack([v, *(velocity(x, sigma) for sigma in levels)]).sum(0)
    coarse = [sigmas[k + round(i * left / steps)] for i in range(steps + 1)]
    return euler(velocity, x + (coarse[1] - coarse[0]) * v, coarse[1:])[0]


def renoise(
    clean: Float[Tensor, "b c n h w"], noise: Float[Tensor, "b c n h w"], sigma: float
) -> Float[Tensor, "b c n h w"]:
    """The point at `sigma` on the straight line from `clean` to `noise` (paper, equation 6)."""
    return sigma * noise + (1 - sigma) * clean
