"""The ceiling of a schedule: the baseline's video with the merged frames interpolated. No shortened pass costs it."""

from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar

from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from vgdfr.architecture import Architecture
from vgdfr.assets import Asset
from vgdfr.forecast import Work, baseline_steps
from vgdfr.method import Method, Role, Sampled
from vgdfr.methods.compression import Dtype, PreviewLatent, scheduled
from vgdfr.methods.interpolation import InterpolatorName
from vgdfr.methods.scheduling import Placement, RuleName, Search
from vgdfr.methods.trajectory import Trajectory
from vgdfr.methods.vgdfr import Vgdfr
from vgdfr.sampling import Sampling
from vgdfr.schedule import FrameSchedule
from vgdfr.video import VideoSpec


@dataclass(frozen=True)
class Interpolated(Method):
    """The video that VGDFR would make if its shortened trajectory lost nothing: the ceiling of its schedule.

    The baseline's frames stand at the indices that the schedule keeps, and the interpolator fills in the other frames.
    So the difference to the baseline is what merging frames alone costs. The schedule is that of `Vgdfr` with the same
    settings, and `Vgdfr` explains them. The DiT makes the baseline's passes, and those of a preview of several steps.
    """

    has_cost: ClassVar[bool] = False

    k: int
    theta: float | None = None
    schedule: RuleName = "threshold"
    token_ratio: float | None = None
    search: Search = "exact"
    max_merge: int = 4
    spatial_levels: int = 1
    similarity_dtype: Dtype = "float32"
    interpolator: InterpolatorName = "flow"
    interpolator_weights: str | None = field(default=None, metadata={"weights": True})
    preview_steps: int = 1
    preview_latent: PreviewLatent = "latest"
    placement: Placement = field(default="aligned", metadata={"later": True})

    def __post_init__(self) -> None:
        for name in ("theta", "token_ratio"):  # `Vgdfr` checks them; 1 and 1.0 must give the same key
            object.__setattr__(self, name, getattr(self.vgdfr, name))

    @cached_property
    def vgdfr(self) -> Vgdfr:
        """Returns the method that has this schedule and this interpolator."""
        return Vgdfr(**{f.name: getattr(self, f.name) for f in fields(self) if f.name != "accelerators"})

    @property
    def title(self) -> str:
        return "Ceiling"

    @property
    def role(self) -> Role:
        return "diagnostic"

    def check(self, spec: VideoSpec, architecture: Architecture) -> None:
        """Raises ValueError if these settings do not fit `spec` or the model, and for accelerators.

        With RIFE, raises as `Vgdfr.check` does.
        """
        if self.accelerators:
            raise ValueError(
                "the ceiling (method=interpolated) is made of the baseline's video; leave out accelerators"
            )
        self.vgdfr.check(spec, architecture)

    def identity(self, spec: VideoSpec) -> dict[str, Any]:
        """Returns the settings that decide the pixels, as `Vgdfr` writes them."""
        ours, theirs = self.settings(), self.vgdfr.settings()
        decisive = self.vgdfr.identity(spec)
        return {name: v for name, v in decisive.items() if name in ours or name not in theirs} | self.origin()

    def missing(self) -> list[Asset]:
        return self.vgdfr.missing()

    def stops(self) -> frozenset[int]:
        return self.vgdfr.stops()

    def asked(self) -> dict[str, float | None]:
        return self.vgdfr.asked()

    def sample(self, run: Sampling) -> Sampled:
        """Returns the baseline's final latents, with VGDFR's schedule."""
        rule, preview = self.vgdfr.rule, self.vgdfr.preview
        clean = preview.clean(Trajectory(run), self.k)
        schedule, similarity = scheduled(run, rule, preview, clean)
        return Sampled(run.baseline(run.steps).x, schedule, similarity, rule.notes(schedule))

    def fill(
        self, frames: Float[Tensor, "t 3 h w"], schedule: FrameSchedule | None, spec: VideoSpec
    ) -> UInt8[ndarray, "t h w 3"]:
        """Returns the video from all of the baseline's frames: the kept frames stay, the others are interpolated."""
        kept = frames if schedule is None else frames[list(schedule.kept_frames)]
        return self.vgdfr.fill(kept, schedule, spec)

    def work(self, spec: VideoSpec, architecture: Architecture, token_ratio: float) -> list[Work]:
        n, levels = architecture.num_latents(spec.num_frames), self.spatial_levels
        return [
            *baseline_steps(0, spec.num_inference_steps, n),
            Work("dit", n, n, self.preview_steps - 1),
            Work("decode", n, n, levels=levels),
        ]
