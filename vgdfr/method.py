"""The ways to generate a video: frozen settings that check themselves, no behaviour."""

from dataclasses import dataclass
from typing import Literal

from vgdfr.video import VideoSpec


@dataclass(frozen=True, slots=True)
class Baseline:
    """The model as it is: every step on every latent frame."""

    def check(self, spec: VideoSpec, num_layers: int) -> None:
        """Nothing can be wrong with a baseline for any spec and model."""


@dataclass(frozen=True, slots=True)
class Vgdfr:
    """VGDFR (arXiv 2504.12259) with the threshold schedule.

    k: denoising steps on the full latent before the compression module, at least 1 and below the number of steps.
    theta: similarity above which frames may merge, in (0, 1].
    max_merge: the largest number of frames merged into one, 2 or 4.
    global_layers: DiT layers that use Global-RoPE, numbered through dual- and single-stream blocks from 0; the others
        use Local-RoPE. "paper" is the paper's list, mapped by relative depth on models that have not 60 layers.
    spatial_levels: levels removed from the VAE for the compression decoder and encoder.
    similarity_dtype: precision of the SSIM.
    interpolator: what fills in merged frames.
    """

    k: int
    theta: float
    max_merge: int = 4
    global_layers: tuple[int, ...] | Literal["paper"] = "paper"
    spatial_levels: int = 1
    similarity_dtype: Literal["float32", "float16"] = "float32"
    interpolator: Literal["flow", "linear"] = "flow"

    def __post_init__(self) -> None:
        for name, kind in (("k", int), ("max_merge", int), ("spatial_levels", int), ("theta", (int, float))):
            value = getattr(self, name)
            if not isinstance(value, kind) or isinstance(value, bool):
                raise ValueError(f"{name} must be a {'number' if name == 'theta' else 'whole number'}, got {value!r}")
        object.__setattr__(self, "theta", float(self.theta))  # equal settings are equal in a key, too
        if not 0 < self.theta <= 1:
            raise ValueError(f"theta must be in (0, 1], got {self.theta}")
        if self.k < 1:
            raise ValueError(f"k must be at least 1 (steps before compression), got {self.k}")
        if self.max_merge not in (2, 4):
            raise ValueError(f"max_merge must be 2 or 4, got {self.max_merge}")
        if self.spatial_levels < 1:
            raise ValueError(f"spatial_levels must be at least 1, got {self.spatial_levels}")
        for name, allowed in (("similarity_dtype", ("float32", "float16")), ("interpolator", ("flow", "linear"))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if self.global_layers != "paper":
            layers = self.global_layers
            if not isinstance(layers, tuple) or not all(isinstance(layer, int) for layer in layers):
                raise ValueError(
                    f'global_layers must be "paper" or a list of layer numbers such as [0,4], got {layers!r}'
                )
            object.__setattr__(self, "global_layers", tuple(sorted(set(layers))))

    def check(self, spec: VideoSpec, num_layers: int) -> None:
        """Raise ValueError where these settings do not fit `spec` or a DiT of `num_layers` layers."""
        if self.k >= spec.num_inference_steps:
            raise ValueError(
                f"k must be below num_inference_steps ({spec.num_inference_steps}), got {self.k}: "
                "no step would be left to run on the merged latent"
            )
        if self.global_layers != "paper":
            wrong = [layer for layer in self.global_layers if not 0 <= int(layer) < num_layers]
            if wrong:
                raise ValueError(
                    f"global_layers must be between 0 and {num_layers - 1} for this model, got {wrong} "
                    "(dual-stream blocks come first, then single-stream)"
                )


Method = Baseline | Vgdfr
