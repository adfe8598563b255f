"""The built-in caches with settings that skip nothing and with settings that skip much, and loops that watch them."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from vgdfr import Accelerator, Method, Sampled, Sampling
from vgdfr.accelerators import (
    FasterCache,
    FirstBlockCache,
    MagCache,
    PyramidAttentionBroadcast,
    SeaCache,
    TaylorSeer,
)

ALWAYS = {"above": -1, "below": 1001}  # all timesteps
RATIOS = (1.0, 1.01, 0.99, 1.02)

NEUTRAL: dict[str, Accelerator] = {
    "FirstBlockCache": FirstBlockCache(0.0),
    "MagCache": MagCache(1e9, ratios=RATIOS, max_skip_steps=0, retention_ratio=0.0),
    "TaylorSeer": TaylorSeer(1, disable_cache_before_step=1),
    "TaylorSeer lite": TaylorSeer(1, disable_cache_before_step=1, lite=True),
    "SeaCache": SeaCache(0.0, retention_steps=0, cache_end_steps=0),
    "PAB": PyramidAttentionBroadcast(1, **ALWAYS),
    "FasterCache": FasterCache(1, **ALWAYS),
}
ACTIVE: dict[str, Accelerator] = {
    "FirstBlockCache": FirstBlockCache(1e9),
    "MagCache": MagCache(1e9, ratios=RATIOS, retention_ratio=0.0),
    "TaylorSeer": TaylorSeer(3, disable_cache_before_step=1),
    "SeaCache": SeaCache(1e9, cache_end_steps=0),
    "PAB": PyramidAttentionBroadcast(3, **ALWAYS),
    "FasterCache": FasterCache(3, **ALWAYS),
}


@dataclass(frozen=True)
class Watched(Method):
    """Takes plain steps. From step `shrinks_at` on, the latent has only its first three frames.

    Each step appends to `skipped` the number of calls that the accelerator has skipped in it, and its velocity to
    `velocities`.
    """

    shrinks_at: int | None = None
    skipped: list[float] = field(default_factory=list, compare=False)
    velocities: list[Tensor] = field(default_factory=list, compare=False)

    def sample(self, run: Sampling) -> Sampled:
        state, before = run.solver.restart(run.noise), 0.0
        for step in range(run.steps):
            if step == self.shrinks_at:
                state = run.solver.restart(state.x[:, :, :3])
            state = run.solver.step(run.velocity, state, step)
            (counts,) = run.accelerated.measured().values()
            self.skipped.append(counts["blocks_skipped"] - before)
            before = counts["blocks_skipped"]
            self.velocities.append(state.velocity)
        return Sampled(torch.cat([state.x, run.noise[:, :, state.x.shape[2] :]], 2))
