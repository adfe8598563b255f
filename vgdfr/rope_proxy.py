"""What one forward pass says of each layer's RoPE: the cheap stand-in for a sensitivity study (paper, section 3.3).

At step k the compressed model should go where the full model goes. How far its velocity is from the full model's, on
the kept frames, is measured with one layer's RoPE changed at a time; no video is made.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from vgdfr.backbones.base import Backbone
from vgdfr.compression import compress
from vgdfr.denoise import euler, one_step_denoise, renoise
from vgdfr.dyrope import global_layers_of
from vgdfr.method import Vgdfr
from vgdfr.numerics import exact_float32
from vgdfr.schedule import FrameSchedule
from vgdfr.stopwatch import Stopwatch
from vgdfr.video import BrokenVideo, VideoSpec


@dataclass(frozen=True, slots=True)
class RopeProxy:
    """Which compressed latent is looked at: the settings of `Vgdfr` that decide it, of the same names."""

    k: int
    theta: float
    max_merge: int = 4
    spatial_levels: int = 1
    similarity_dtype: Literal["float32", "float16"] = "float32"

    def __post_init__(self) -> None:
        object.__setattr__(self, "theta", self.vgdfr.theta)  # checked, and equal settings are equal in a key, too

    @property
    def vgdfr(self) -> Vgdfr:
        """The method whose latent after step k it is."""
        return Vgdfr(
            k=self.k, theta=self.theta, max_merge=self.max_merge, spatial_levels=self.spatial_levels,
            similarity_dtype=self.similarity_dtype,
        )  # fmt: skip

    def check(self, spec: VideoSpec, num_layers: int, num_spatial_levels: int) -> None:
        """Raise ValueError where these settings do not fit `spec`, or a DiT and a VAE of so many layers and levels."""
        self.vgdfr.check(spec, num_layers, num_spatial_levels)


@dataclass(frozen=True, eq=False)
class LayerErrors:
    """Relative errors of the compressed model's velocity at step k, by which layers use Global-RoPE.

    none, all: no layer, every layer. only[l]: layer l alone. all_but[l]: every layer but l.
    `seconds` maps stage to wall time; `passes` are the DiT passes, one on the shortened latent counting as its share of
    the tokens.
    """

    none: float
    all: float
    only: tuple[float, ...]
    all_but: tuple[float, ...]
    schedule: FrameSchedule
    seconds: dict[str, float]
    peak_bytes: int | None
    passes: float
    notes: tuple[str, ...] = ()


@torch.inference_mode()
@exact_float32()
def layer_errors(backbone: Backbone, spec: VideoSpec, proxy: RopeProxy) -> LayerErrors:
    """Measure every layer of `backbone`, global alone and local alone, on the latent that `spec` gives after step k.

    One forward pass on the shortened latent per layer and direction, and one each with no layer and all layers global;
    before them the k steps, and one pass of the full model. Where nothing merges, the compressed model is the full one
    and every error is 0, which the notes say. Raises ValueError for a `proxy` that does not fit `spec` or the model,
    BrokenVideo where an error is not finite.
    """
    num_layers, method = backbone.num_layers, proxy.vgdfr
    method.check(spec, num_layers, backbone.codec.num_spatial_levels)
    watch = Stopwatch(backbone.device)
    with watch.stage("encode_prompt"):
        velocity = backbone.velocity(spec)
    noise, sigmas, k = backbone.noise(spec), backbone.sigmas(spec), proxy.k
    with watch.stage("denoise_full"):
        x, v = euler(velocity, noise, sigmas[: k + 1])
    with watch.stage("compress"):
        merged, schedule, _ = compress(backbone, one_step_denoise(x, v, sigmas[k]), x, method)
    if merged is None:
        zeros, note = (0.0,) * num_layers, "nothing merged: the compressed model is the full one"
        return LayerErrors(0.0, 0.0, zeros, zeros, schedule, watch.seconds, watch.peak_bytes, float(k), (note,))
    kept = list(schedule.kept_latents)
    y = renoise(merged, noise[:, :, kept], sigmas[k])
    with watch.stage("full_velocity"):
        full = velocity(x, sigmas[k])[:, :, kept]

    def error(setting: str) -> float:
        with backbone.dyrope(schedule, global_layers_of(setting, num_layers)):
            return relative_error(velocity(y, sigmas[k]), full)

    with watch.stage("layers"):
        none, everywhere = error("none"), error("all")
        only, all_but = (tuple(error(f"{kind}_{n}") for n in range(num_layers)) for kind in ("only", "all_but"))
    refuse_not_finite((none, everywhere, *only, *all_but))
    passes = k + 1 + 2 * (num_layers + 1) * schedule.token_ratio
    return LayerErrors(none, everywhere, only, all_but, schedule, watch.seconds, watch.peak_bytes, passes)


def relative_error(v: Float[Tensor, "1 c n h w"], expected: Float[Tensor, "1 c n h w"]) -> float:
    """Length of the difference over the length of what is expected."""
    expected = expected.double()
    return float((v.double() - expected).norm() / expected.norm())


def refuse_not_finite(errors: Iterable[float]) -> None:
    """Raise BrokenVideo where an error is not a number, or infinite."""
    finite = [math.isfinite(error) for error in errors]
    if not all(finite):
        raise BrokenVideo("nan", f"{finite.count(False)} of {len(finite)} layer errors are not finite")
