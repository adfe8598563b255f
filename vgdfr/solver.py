"""Formulas of flow matching: solvers, one-step denoise and renoise (paper, equations 1, 2 and 6).

sigma is the noise level: 1 for pure noise and 0 for a clean latent. The velocity v is d x / d sigma.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

Latent = Float[Tensor, "b c n h w"]


class State(NamedTuple):
    """A point of a trajectory: the latent `x`, the velocity `v` of the step that led to it, and the solver's history.

    A state is never changed in place and therefore serves as a checkpoint. `v` is None before the first step.
    """

    x: Latent
    v: Latent | None = None
    history: tuple[Any, ...] = ()

    @property
    def velocity(self) -> Latent:
        """Returns `v`. Raises ValueError before the first step."""
        if self.v is None:
            raise ValueError("no step was taken yet, so there is no velocity; take at least one step")
        return self.v


@dataclass(frozen=True)
class Solver(ABC):
    """Integrates the velocity from noise to a clean latent.

    sigmas: the noise levels from 1 down to 0; one more than the number of steps.
    """

    sigmas: tuple[float, ...]

    @property
    def num_steps(self) -> int:
        return len(self.sigmas) - 1

    @abstractmethod
    def step(self, velocity: Callable[[Latent, float, int], Latent], state: State, i: int) -> State:
        """Returns the state after step `i` (from 0), which goes from `sigmas[i]` to `sigmas[i + 1]`.

        `velocity` takes latent, sigma and step.
        """

    @abstractmethod
    def clean(self, state: State, i: int) -> Latent:
        """Returns the clean latent that the state after `i` steps predicts. It makes no DiT pass."""

    def restart(self, x: Latent) -> State:
        """Returns a state at `x` with an empty history, for a start or after a change of the latent's shape."""
        return State(x)


@dataclass(frozen=True)
class Euler(Solver):
    """Integrates the paper's equation 1 in Euler steps. The history is empty."""

    def step(self, velocity: Callable[[Latent, float, int], Latent], state: State, i: int) -> State:
        v = velocity(state.x, self.sigmas[i], i)
        return State(state.x + (self.sigmas[i + 1] - self.sigmas[i]) * v, v)

    def clean(self, state: State, i: int) -> Latent:
        return one_step_denoise(state.x, state.velocity, self.sigmas[i])


def one_step_denoise(x: Latent, v: Latent, sigma: float) -> Latent:
    """Returns the clean latent that `v` points to from `x` at noise level `sigma` (paper, equation 2).

    The paper writes (T-k)/T for sigma.
    """
    return x - sigma * v


def noise_estimate(solver: Solver, state: State, i: int) -> Latent:
    """Returns the noise that the state after `i` steps points back to: its clean latent plus its velocity.

    On the straight line from clean latent c to noise e the velocity is e - c.
    """
    return solver.clean(state, i) + state.velocity


def renoise(clean: Latent, noise: Latent, sigma: float) -> Latent:
    """Returns the point at `sigma` on the straight line from `clean` to `noise` (paper, equation 6)."""
    return sigma * noise + (1 - sigma) * clean


def released_preview_steps(k: int, steps: int, num_inference_steps: int) -> list[int]:
    """Returns the steps after which the released code evaluates a preview of `steps` steps, without the first, k."""
    left = num_inference_steps - k
    return [round(k + left / steps * i) for i in range(1, steps)]


def multi_step_denoise(
    velocity: Callable[[Latent, float], Latent],
    x: Latent,
    v: Latent,
    sigmas: Sequence[float],
    k: int,
    steps: int,
    as_released: bool = False,
) -> Latent:
    """Returns the clean latent after `steps` Euler steps from `x` at `sigmas[k]` to 0.

    The steps lead over evenly chosen levels of the remaining `sigmas`. The first step follows `v`, as the one-step
    denoise does. Each further step costs a DiT pass on the latest latent. `as_released` computes the released code's
    preview without CFG: the steps have equal length, and all velocities are taken at the given `x`, at the noise levels
    after `released_preview_steps`. Raises ValueError unless 1 <= steps <= len(sigmas) - 1 - k.
    """
    left = len(sigmas) - 1 - k
    if not 1 <= steps <= left:
        raise ValueError(f"steps must be between 1 and the {left} left, got {steps}")
    if as_released:
        levels = [sigmas[i] for i in released_preview_steps(k, steps, len(sigmas) - 1)]
        return x - sigmas[k] / steps * torch.stack([v, *(velocity(x, sigma) for sigma in levels)]).sum(0)
    coarse = Euler(tuple(sigmas[k + round(i * left / steps)] for i in range(steps + 1)))
    state = coarse.step(lambda x, sigma, i: v, State(x), 0)
    for i in range(1, steps):
        state = coarse.step(lambda x, sigma, i: velocity(x, sigma), state, i)
    return state.x
