"""The baseline, the baseline recomputed, and the model in fewer steps."""

from dataclasses import dataclass
from typing import ClassVar

from vgdfr.architecture import Architecture
from vgdfr.forecast import Work, baseline_steps
from vgdfr.method import Method, Role, Sampled, refuse_wrong_kind
from vgdfr.sampling import Sampling
from vgdfr.video import VideoSpec


@dataclass(frozen=True)
class Baseline(Method):
    """The model as it is. Every step runs on every latent frame."""

    needs_reference: ClassVar[bool] = False

    @property
    def title(self) -> str:
        return "Original"

    @property
    def role(self) -> Role:
        return "method" if self.accelerators else "reference"

    @property
    def row_title(self) -> str:
        """Returns the titles of the accelerators, or the method's own title without accelerators."""
        return " + ".join(each.title for each in self.accelerators) or self.title

    @property
    def row_family(self) -> str:
        return " + ".join(each.family for each in self.accelerators) or self.family

    def sample(self, run: Sampling) -> Sampled:
        return Sampled(run.baseline(run.steps).x)

    def work(self, spec: VideoSpec, architecture: Architecture, token_ratio: float) -> list[Work]:
        n = architecture.num_latents(spec.num_frames)
        return [*baseline_steps(0, spec.num_inference_steps, n), Work("decode", n, n)]


@dataclass(frozen=True)
class BaselineRerun(Method):
    """The baseline again, recomputed from scratch. Two such runs give this machine's noise floor."""

    shares: ClassVar[bool] = False

    @property
    def title(self) -> str:
        return "Original again"

    @property
    def role(self) -> Role:
        return "diagnostic"

    def sample(self, run: Sampling) -> Sampled:
        return Sampled(run.baseline(run.steps).x)


@dataclass(frozen=True)
class FewerSteps(Method):
    """The simplest way to save time: the model takes `steps` denoising steps, fewer than the spec asks for."""

    steps: int

    def __post_init__(self) -> None:
        refuse_wrong_kind("steps", self.steps, int)
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")

    @property
    def title(self) -> str:
        return "Fewer steps"

    def check(self, spec: VideoSpec, architecture: Architecture) -> None:
        """Raises ValueError unless `steps` is below the spec's number of steps."""
        if self.steps >= spec.num_inference_steps:
            raise ValueError(
                f"steps (method.steps) must be below num_inference_steps ({spec.num_inference_steps}), got {self.steps}"
            )

    def sample(self, run: Sampling) -> Sampled:
        solver = run.backbone.solver(run.spec, steps=self.steps)
        return Sampled(run.solve(solver.restart(run.noise), 0, stage="denoise_full", solver=solver).x)

    def work(self, spec: VideoSpec, architecture: Architecture, token_ratio: float) -> list[Work]:
        n = architecture.num_latents(spec.num_frames)
        return [Work("dit", n, n, self.steps), Work("decode", n, n)]
