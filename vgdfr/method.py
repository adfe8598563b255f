"""The ways to generate a video: frozen settings that check themselves, no behaviour."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch

from vgdfr.dyrope import LAYERS_EXPECTED, NAMED_LAYERS, global_layers_of
from vgdfr.rife import loaded, weights_file
from vgdfr.similarity import WINDOW
from vgdfr.video import VideoSpec

ScheduleName = Literal["threshold", "token_ratio", "uniform"]
MergeSpace = Literal["pixel", "latent"]
InterpolatorName = Literal["flow", "linear", "rife"]


@dataclass(frozen=True, slots=True)
class Baseline:
    """The model as it is: every step on every latent frame."""

    def check(self, spec: VideoSpec, num_layers: int, num_spatial_levels: int) -> None:
        """Nothing can be wrong with a baseline for any spec and model."""


@dataclass(frozen=True, slots=True)
class BaselineRerun:
    """The baseline computed once more, of nothing that it left: how far "identical" is from identical on a machine."""

    def check(self, spec: VideoSpec, num_layers: int, num_spatial_levels: int) -> None:
        """Nothing can be wrong with it for any spec and model."""


@dataclass(frozen=True, slots=True)
class FewerSteps:
    """The plainest way to save time: the model as it is, in `steps` denoising steps instead of the spec's."""

    steps: int

    def __post_init__(self) -> None:
        _refuse_wrong_kind("steps", self.steps, int)
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")

    def check(self, spec: VideoSpec, num_layers: int, num_spatial_levels: int) -> None:
        """Raise ValueError where `steps` is not fewer than the spec's."""
        if self.steps >= spec.num_inference_steps:
            raise ValueError(
                f"steps (method.steps) must be below num_inference_steps ({spec.num_inference_steps}), got {self.steps}"
            )


@dataclass(frozen=True, slots=True)
class Vgdfr:
    """VGDFR (arXiv 2504.12259) and its ablations.

    k: denoising steps on the full latent before the compression module, at least 1 and below the number of steps.
    schedule: how blocks to merge are chosen: those more similar than `theta` ("threshold", the paper's Table 1), the
        most similar ones down to a share of tokens ("token_ratio"), or all of them ("uniform").
    theta: similarity above which frames may merge, in (0, 1]; of the threshold schedule.
    token_ratio: share of latent frames to keep, in (0, 1]; of the token-ratio schedule.
    search: "exact", or "released" for the released code's bisection, which counts frames instead of latents.
    max_merge: the largest number of frames merged into one, 2 or 4.
    global_layers: DiT layers that use Global-RoPE, numbered through dual- and single-stream blocks from 0; the others
        use Local-RoPE. "paper" is the paper's list, mapped by relative depth on models that have not 60 layers.
        "all", "none", "only_3" and "all_but_3" are what they say.
    spatial_levels: levels removed from the VAE for the compression decoder and encoder.
    similarity_dtype: precision of the SSIM; "float16" is the released code's, see `frame_similarity`.
    interpolator: what fills in merged frames: DIS optical flow, a blend, or RIFE 4.26 heavy (the paper's).
    interpolator_weights: file with RIFE's weights; None for the pinned ones in the cache.
    preview_steps: Euler steps from the noise level after step k to 0 that make the preview; 1 costs no DiT pass.
    preview_latent: with several of them, each on the "latest" latent, or "as_released" on the one after step k, at
        the released code's noise levels.
    merge_space: "latent" averages the noisy latent frames themselves, without the compression module (Fig. 4).
    denoise_renoise: False puts the noisy latent itself through decoder and encoder (Fig. 4).
    schedule_from: the preview whose similarities decide the schedule: of the "clean" latent, or of the "noisy" one,
        as an ablation left to itself would have to.
    """

    k: int
    theta: float | None = None
    schedule: ScheduleName = "threshold"
    token_ratio: float | None = None
    search: Literal["exact", "released"] = "exact"
    max_merge: int = 4
    global_layers: tuple[int, ...] | str = "paper"
    spatial_levels: int = 1
    similarity_dtype: Literal["float32", "float16"] = "float32"
    interpolator: InterpolatorName = "flow"
    interpolator_weights: str | None = None
    preview_steps: int = 1
    preview_latent: Literal["latest", "as_released"] = "latest"
    merge_space: MergeSpace = "pixel"
    denoise_renoise: bool = True
    schedule_from: Literal["clean", "noisy"] = "clean"

    def __post_init__(self) -> None:
        for name in ("k", "max_merge", "spatial_levels", "preview_steps"):
            _refuse_wrong_kind(name, getattr(self, name), int)
        if not isinstance(self.denoise_renoise, bool):
            raise ValueError(f"denoise_renoise must be true or false, got {self.denoise_renoise!r}")
        for name, annotation in (
            ("schedule", ScheduleName), ("search", Literal["exact", "released"]), ("interpolator", InterpolatorName),
            ("similarity_dtype", Literal["float32", "float16"]), ("preview_latent", Literal["latest", "as_released"]),
            ("merge_space", MergeSpace),
            ("schedule_from", Literal["clean", "noisy"]),
        ):  # fmt: skip
            if getattr(self, name) not in get_args(annotation):
                allowed = ", ".join(map(str, get_args(annotation)))
                raise ValueError(f"{name} must be one of {allowed}, got {getattr(self, name)!r}")
        for name in ("theta", "token_ratio"):
            self._check_share(name, needed=self.schedule == {"theta": "threshold"}.get(name, name))
        if self.k < 1:
            raise ValueError(f"k must be at least 1 (steps before compression), got {self.k}")
        if self.max_merge not in (2, 4):
            raise ValueError(f"max_merge must be 2 or 4, got {self.max_merge}")
        for name in ("spatial_levels", "preview_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.search != "exact" and self.schedule != "token_ratio":
            raise ValueError(f"search is of the token_ratio schedule, got search={self.search}, {self.schedule}")
        if self.search == "released" and self.max_merge != 4:
            raise ValueError(
                f"search=released has its own rule for factor 4; max_merge must be 4, got {self.max_merge}"
            )
        if self.schedule == "uniform":
            for name, value in (("similarity_dtype", "float32"), ("schedule_from", "clean")):
                if getattr(self, name) != value:
                    raise ValueError(f"{name} decides nothing in the uniform schedule; leave it at {value}")
            if not self.renoises and self.preview_steps > 1:
                raise ValueError("preview_steps decides nothing here: no preview is made; leave it at 1")
            if self.merge_space == "latent" and self.spatial_levels > 1:
                raise ValueError("spatial_levels decides nothing here: nothing is decoded; leave it at 1")
        if self.preview_latent != "latest" and self.preview_steps == 1:
            raise ValueError(f"preview_latent={self.preview_latent} needs preview_steps of 2 or more, got 1")
        if self.interpolator_weights is not None and self.interpolator != "rife":
            raise ValueError(f"interpolator_weights are RIFE's, got them for {self.interpolator}")
        if self.merge_space == "latent" and not self.denoise_renoise:
            raise ValueError("merge_space=latent has no denoise and renoise to leave out; drop denoise_renoise=false")
        layers = self.global_layers
        if isinstance(layers, tuple) and all(type(layer) is int for layer in layers):
            object.__setattr__(self, "global_layers", tuple(sorted(set(layers))))
        elif not isinstance(layers, str) or not NAMED_LAYERS.fullmatch(layers):
            raise ValueError(f"global_layers must be {LAYERS_EXPECTED}, got {layers!r}")

    def _check_share(self, name: str, needed: bool) -> None:
        value = getattr(self, name)
        if needed and value is None:
            raise ValueError(f"the {self.schedule} schedule needs {name}, in (0, 1]")
        if not needed and value is not None:
            raise ValueError(f"{name} is not of the {self.schedule} schedule, got {value!r}; leave it out (null)")
        if value is None:
            return
        _refuse_wrong_kind(name, value, (int, float))
        object.__setattr__(self, name, float(value))  # equal settings are equal in a key, too
        if not 0 < value <= 1:
            raise ValueError(f"{name} must be in (0, 1], got {value}")

    @property
    def borrows_schedule(self) -> bool:
        """Whether a preview is made only to have the schedule the full method would have used (Fig. 4)."""
        return self.merge_space == "latent" and self.schedule_from == "clean" and self.schedule != "uniform"

    @property
    def renoises(self) -> bool:
        """Whether what is merged is a clean latent, which noise is added to again."""
        return self.merge_space == "pixel" and self.denoise_renoise

    def check(self, spec: VideoSpec, num_layers: int, num_spatial_levels: int) -> None:
        """Raise ValueError where these settings do not fit `spec`, or a DiT and a VAE of so many layers and levels.

        Raises FileNotFoundError or ValueError where RIFE is asked for and its weights are not there, or not its own.
        """
        if self.k >= spec.num_inference_steps:
            raise ValueError(
                f"k must be below num_inference_steps ({spec.num_inference_steps}), got {self.k}: "
                "no step would be left to run on the merged latent"
            )
        if self.preview_steps > spec.num_inference_steps - self.k:
            raise ValueError(
                f"preview_steps must be at most the {spec.num_inference_steps - self.k} steps left after k, "
                f"got {self.preview_steps}"
            )
        size = min(spec.height, spec.width)
        fitting = [n for n in range(1, num_spatial_levels + 1) if size // 2**n >= WINDOW]
        if self.spatial_levels not in fitting:
            raise ValueError(
                f"spatial_levels must be one of {fitting} for this VAE and {spec.height}x{spec.width} videos, whose "
                f"preview must be at least {WINDOW} pixels high and wide (SSIM's window), got {self.spatial_levels}"
            )
        global_layers_of(self.global_layers, num_layers)
        if self.interpolator == "rife":
            loaded(weights_file(self.interpolator_weights), torch.device("cpu"))


Method = Baseline | BaselineRerun | FewerSteps | Vgdfr


def refuse_unknown(method: object, *also: type) -> None:
    """Raise ValueError unless `method` is exactly one of the classes above, or of `also`.

    `generate` would otherwise take a class that it has no code for as the plain model, and its pixels would be stored
    under that class's name.
    """
    known = (*get_args(Method), *also)
    if type(method) not in known:
        kind = type(method)
        raise ValueError(
            f"method must be a {', '.join(k.__name__ for k in known[:-1])} or {known[-1].__name__}, got a "
            f"{kind.__module__}.{kind.__qualname__}, which nothing here knows how to generate with"
        )


def _refuse_wrong_kind(name: str, value: Any, kind: type | tuple[type, ...]) -> None:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{name} must be a {'whole number' if kind is int else 'number'}, got {value!r}")
