"""The trajectory on the full latent that VGDFR branches off: the baseline's, or the model's in fewer steps."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property

from vgdfr.sampling import Sampling
from vgdfr.solver import Solver, State
from vgdfr.video import VideoSpec


@dataclass(frozen=True)
class Trajectory:
    """The trajectory from the noise of `run` in `steps` denoising steps. None is the baseline's number of steps.

    Samples of a prompt share the baseline's trajectory. Samples of one method's class share a trajectory of equal
    `steps`.
    """

    run: Sampling
    steps: int | None = None

    @property
    def is_baseline(self) -> bool:
        return self.steps in (None, self.run.steps)

    @cached_property
    def solver(self) -> Solver:
        """Returns the solver with the trajectory's noise levels."""
        return self.run.solver if self.is_baseline else self.run.backbone.solver(self.run.spec, steps=self.steps)

    @property
    def key(self) -> tuple[Hashable, ...]:
        """Returns the entries that tell this trajectory from others in a key of `Sampling.once`."""
        return () if self.is_baseline else ("steps", self.steps)

    def after(self, step: int) -> State:
        """Returns the state after `step` steps."""
        if self.is_baseline:
            return self.run.baseline(step)
        return self._solved(step, lambda: self.solver.restart(self.run.noise), 0)

    def end(self, via: int) -> State:
        """Returns the last state. The state after `via` steps is computed on the way and kept, if it was not before."""
        if self.is_baseline:
            return self.run.baseline(self.run.steps)
        return self._solved(self.solver.num_steps, lambda: self.after(via), via)

    def _solved(self, step: int, start: Callable[[], State], first: int) -> State:
        def solved() -> State:
            return self.run.solve(start(), first, step, stage="denoise_full", solver=self.solver)

        return self.run.once("denoise_full", ("full", *self.key, step), solved, kind="state")


def check_steps(spec: VideoSpec, steps: int | None, k: int, preview_steps: int, full_steps: int) -> None:
    """Raises ValueError unless the steps of `Vgdfr` fit `spec`; its settings have these names."""
    all_steps, name = spec.num_inference_steps, "num_inference_steps"
    if steps is not None:
        if steps > all_steps:
            raise ValueError(f"steps (method.steps) must be at most num_inference_steps ({all_steps}), got {steps}")
        all_steps, name = steps, "steps"
    left = all_steps - k
    if left < 1:
        raise ValueError(
            f"k must be below {name} ({all_steps}), got {k}: no step would be left to run on the merged latent"
        )
    if preview_steps > left:
        raise ValueError(f"preview_steps must be at most the {left} steps left after k, got {preview_steps}")
    if full_steps >= left:
        raise ValueError(
            f"full_steps must be below the {left} steps left after k, got {full_steps}: no step would be left to run "
            "on the merged latent"
        )
