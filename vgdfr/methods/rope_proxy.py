"""Sensitivity of each layer to its RoPE from single forward passes: a cheap proxy for the study of section 3.3.

At step k the compressed model should go where the full model goes. The proxy measures the distance between the two
velocities on the kept latent frames, with the RoPE of one layer changed at a time. It makes no video.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from vgdfr.architecture import Architecture
from vgdfr.forecast import Work, baseline_steps
from vgdfr.method import Method, Role, Sampled
from vgdfr.methods.compression import scheduled
from vgdfr.methods.layers import global_layers_of, layers_of_record, positions_per_layer
from vgdfr.methods.trajectory import Trajectory
from vgdfr.methods.vgdfr import Vgdfr
from vgdfr.sampling import Sampling
from vgdfr.solver import renoise
from vgdfr.video import BrokenVideo, VideoSpec


@dataclass(frozen=True)
class RopeProxy(Method):
    """Measures relative errors of the compressed model's velocity at step k, for several choices of global layers.

    The settings decide the compressed latent. `Vgdfr` has settings of the same names and explains them. The data of a
    sample are "none" and "all" (no layer and every layer is global), and lists with one entry per layer: "only" (the
    layer alone is global) and "all_but" (all other layers are global).
    """

    makes_video: ClassVar[bool] = False
    needs_reference: ClassVar[bool] = False

    k: int
    theta: float
    max_merge: int = 4
    spatial_levels: int = 1
    similarity_dtype: Literal["float32", "float16"] = "float32"

    def __post_init__(self) -> None:
        if self.max_merge == 8:  # `Vgdfr` checks other values, and its factor 8 needs a setting that is not here
            raise ValueError("max_merge must be 2 or 4, got 8")
        object.__setattr__(self, "theta", self.vgdfr.theta)  # `Vgdfr` checks it; 1 and 1.0 must give the same key

    @cached_property
    def vgdfr(self) -> Vgdfr:
        """Returns the method that compresses the latent."""
        return Vgdfr(
            k=self.k, theta=self.theta, max_merge=self.max_merge, spatial_levels=self.spatial_levels,
            similarity_dtype=self.similarity_dtype,
        )  # fmt: skip

    @property
    def title(self) -> str:
        return "RoPE proxy"

    @property
    def role(self) -> Role:
        return "diagnostic"

    def check(self, spec: VideoSpec, architecture: Architecture) -> None:
        """Raises ValueError if these settings do not fit `spec` or the model."""
        self.vgdfr.check(spec, architecture)

    def identity(self, spec: VideoSpec) -> dict[str, Any]:
        settings = self.settings()
        return settings | {"ssim": "pytorch_msssim"} if self.similarity_dtype == "float16" else settings

    def stops(self) -> frozenset[int]:
        return frozenset({self.k})

    def sample(self, run: Sampling) -> Sampled:
        """Measures every layer, as the only global and as the only local layer, on the latent after step k.

        A DiT of L layers takes 2L + 2 passes on the shortened latent and one pass on the full latent. If nothing
        merges, the compressed model is the full model, and every error is 0 without these passes. Raises BrokenVideo if
        an error is not finite.
        """
        num_layers, method, sigma = run.backbone.architecture.num_layers, self.vgdfr, run.solver.sigmas[self.k]
        here = run.baseline(self.k)
        clean = method.preview.clean(Trajectory(run), self.k)
        schedule, _ = scheduled(run, method.rule, method.preview, clean)
        if schedule.keeps_everything:
            zeros = [0.0] * num_layers
            note = "nothing merged: the compressed model is the full one"
            return Sampled(
                None, schedule, notes=(note,), data={"none": 0.0, "all": 0.0, "only": zeros, "all_but": zeros}
            )
        kept = list(schedule.kept_latents)
        y = renoise(method.preview.encoded(run, clean, schedule), run.noise[:, :, kept], sigma)
        with run.stage("full_velocity"):
            full = run.velocity(here.x, sigma)[:, :, kept]

        def error(setting: str) -> float:
            layers = global_layers_of(setting, num_layers)
            with run.shortened(schedule, positions_per_layer(schedule.kept_latents, layers, num_layers)):
                return relative_error(run.velocity(y, sigma), full)

        with run.stage("layers"):
            none, everywhere = error("none"), error("all")
            only, all_but = ([error(f"{kind}_{n}") for n in range(num_layers)] for kind in ("only", "all_but"))
        refuse_not_finite((none, everywhere, *only, *all_but))
        return Sampled(None, schedule, data={"none": none, "all": everywhere, "only": only, "all_but": all_but})

    def layers(self, architecture: Architecture) -> dict[str, Any]:
        return layers_of_record(architecture, None)

    def work(self, spec: VideoSpec, architecture: Architecture, token_ratio: float) -> list[Work]:
        n, levels = architecture.num_latents(spec.num_frames), self.spatial_levels
        about, most = self.vgdfr.rule.kept(spec.num_frames, architecture.frames_per_latent, token_ratio)
        return [
            *baseline_steps(0, self.k, n),
            Work("dit", n, n),
            Work("dit", about, most, 2 * architecture.num_layers + 2),
            Work("decode", n, n, levels=levels),
            Work("encode", about, most, levels=levels),
        ]


def relative_error(v: Float[Tensor, "1 c n h w"], expected: Float[Tensor, "1 c n h w"]) -> float:
    """Returns the Euclidean length of `v - expected` over the length of `expected`, computed in float64."""
    expected = expected.double()
    return float((v.double() - expected).norm() / expected.norm())


def refuse_not_finite(errors: Iterable[float]) -> None:
    """Raises BrokenVideo if an error is not a number, or infinite."""
    finite = [math.isfinite(error) for error in errors]
    if not all(finite):
        raise BrokenVideo("nan", f"{finite.count(False)} of {len(finite)} layer errors are not finite")
