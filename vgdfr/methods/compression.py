"""The steps of the compression module: preview, compare, merge, encode (paper, section 3.2, steps 1 to 4)."""

from collections.abc import Callable, Hashable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

import torch
from einops import reduce
from jaxtyping import Float
from torch import Tensor

from vgdfr.architecture import Architecture
from vgdfr.backbones.base import Codec
from vgdfr.block_search import Block
from vgdfr.method import refuse_wrong_kind
from vgdfr.methods.scheduling import Rule, refuse_other
from vgdfr.methods.similarity import WINDOW, frame_similarity
from vgdfr.methods.trajectory import Trajectory
from vgdfr.sampling import Sampling
from vgdfr.schedule import FrameSchedule, Similarity, least_error, possible_blocks
from vgdfr.solver import multi_step_denoise, released_preview_steps
from vgdfr.video import VideoSpec, refuse_not_finite

PreviewLatent = Literal["latest", "as_released"]
Dtype = Literal["float32", "float16"]
STAGE = "compress"


@dataclass(frozen=True)
class Source:
    """A latent `[1, c, n, y, x]` that the module previews, and its key in `Sampling.once`."""

    latent: Float[Tensor, "1 c n y x"]
    key: tuple[Hashable, ...]


@dataclass(frozen=True)
class Preview:
    """The settings of the preview. `Vgdfr` has fields of the same names and explains them.

    Raises ValueError for an unknown value, for a number below 1, and for settings that exclude each other.
    """

    preview_steps: int
    preview_latent: PreviewLatent
    spatial_levels: int
    similarity_dtype: Dtype

    def __post_init__(self) -> None:
        for name in ("spatial_levels", "preview_steps"):
            refuse_wrong_kind(name, getattr(self, name), int)
        refuse_other("similarity_dtype", self.similarity_dtype, Dtype)
        refuse_other("preview_latent", self.preview_latent, PreviewLatent)
        for name in ("spatial_levels", "preview_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.preview_latent != "latest" and self.preview_steps == 1:
            raise ValueError(f"preview_latent={self.preview_latent} needs preview_steps of 2 or more, got 1")

    def check(self, spec: VideoSpec, architecture: Architecture) -> None:
        """Raises ValueError unless the preview of `spec` has a size that the VAE and the SSIM can work on."""
        size = min(spec.height, spec.width)
        fitting = [n for n in range(1, architecture.num_spatial_levels + 1) if size // 2**n >= WINDOW]
        if self.spatial_levels not in fitting:
            raise ValueError(
                f"spatial_levels must be one of {fitting} for this VAE and {spec.height}x{spec.width} videos: the "
                f"preview must be at least {WINDOW} pixels high and wide (SSIM's window), got {self.spatial_levels}"
            )

    def marks(self, k: int, num_steps: int) -> dict[str, Any]:
        """Returns the entries of a key for settings that gave other pixels in version 0.1.0."""
        marks: dict[str, Any] = {}
        if self.preview_latent == "as_released":
            steps, left = self.preview_steps, num_steps - k
            released = released_preview_steps(k, steps, num_steps)
            if released != [k + round(i * left / steps) for i in range(1, steps)]:
                marks["preview_at_steps"] = released
        if self.similarity_dtype == "float16":
            marks["ssim"] = "pytorch_msssim"
        return marks

    def clean(self, path: Trajectory, k: int, stage: str = STAGE) -> Source:
        """Returns the clean latent that the trajectory after `k` steps predicts.

        With one preview step this is the paper's equation 2 and costs no DiT pass.
        """
        run, here = path.run, path.after(k)
        key = ("clean", *path.key, k, self.preview_steps, self.preview_latent)

        def denoised() -> Float[Tensor, "1 c n y x"]:
            if self.preview_steps == 1:
                return path.solver.clean(here, k)
            as_released, sigmas = self.preview_latent == "as_released", path.solver.sigmas
            return multi_step_denoise(run.velocity, here.x, here.velocity, sigmas, k, self.preview_steps, as_released)

        return Source(run.once(stage, key, denoised, kind="preview latent"), key)

    def frames(self, run: Sampling, source: Source, stage: str = STAGE) -> Float[Tensor, "t 3 h2 w2"]:
        """Returns the preview: the small frames that the compression decoder D_comp makes of a latent.

        Their nominal range is [-1, 1]. Raises BrokenVideo if a value is not finite.
        """

        operation = decoding(run.backbone.codec, source.latent, self.spatial_levels)
        key = ("preview", source.key, self.spatial_levels)
        return run.once(stage, key, operation.compute, latest=True, kind=operation.kind)

    def similarity(self, run: Sampling, source: Source, stage: str = STAGE) -> Similarity:
        """Returns the SSIM between frames of a latent's preview that are 1, 2 and 3 apart."""
        operation = comparing(self.frames(run, source, stage), self.similarity_dtype)
        key = ("similarity", source.key, self.spatial_levels, self.similarity_dtype)
        return run.once(stage, key, operation.compute, kind=operation.kind)

    def merging_errors(self, run: Sampling, source: Source, max_merge: int, stage: str = STAGE) -> dict[Block, float]:
        """Returns the error that each possible block would make in a latent's preview, as `merging_errors` does."""
        group = run.backbone.architecture.frames_per_latent
        operation = measuring_merges(self.frames(run, source, stage), max_merge, group)
        key = ("merging errors", source.key, self.spatial_levels, max_merge)
        return run.once(stage, key, operation.compute, kind=operation.kind)

    def encoded(self, run: Sampling, source: Source, schedule: FrameSchedule) -> Float[Tensor, "1 c kept y x"]:
        """Returns the latent that the compression encoder E_comp makes of a preview's merged frames."""
        operation = encoding(run.backbone.codec, self.frames(run, source), self.spatial_levels, schedule)
        key = ("merged", source.key, self.spatial_levels, schedule.segments)
        return run.once(STAGE, key, operation.compute, kind=operation.kind)


class Operation(NamedTuple):
    """A piece of the module's work and its kind: all operations of one kind take equally long on one machine."""

    kind: str
    compute: Callable[[], Any]


def decoding(codec: Codec, latent: Float[Tensor, "1 c n y x"], levels: int) -> Operation:
    """Returns the work of D_comp, `levels` spatial levels smaller than the VAE's decoder, on a latent.

    With 0 levels it is the VAE's decoder.
    """

    def decoded() -> Float[Tensor, "t 3 h2 w2"]:
        with codec.reduced(levels) if levels else nullcontext():
            frames = codec.decode(latent)
        refuse_not_finite(frames)
        return frames

    return Operation(f"decode {_size(latent)} levels {levels}", decoded)


def comparing(frames: Float[Tensor, "t 3 h2 w2"], dtype: Dtype) -> Operation:
    """Returns the work of the SSIM between a preview's frames, in [-1, 1]."""
    size = "x".join(map(str, (len(frames), *frames.shape[-2:])))
    return Operation(f"ssim {size} {dtype}", lambda: frame_similarity(_visible(frames), getattr(torch, dtype)))


def measuring_merges(frames: Float[Tensor, "t 3 h2 w2"], max_merge: int, group: int) -> Operation:
    """Returns the work of `merging_errors` on a preview's frames, in [-1, 1]."""
    size = "x".join(map(str, (len(frames), *frames.shape[-2:])))
    return Operation(
        f"merges {size} up to {max_merge} per {group}", lambda: merging_errors(_visible(frames), max_merge, group)
    )


def encoding(
    codec: Codec, frames: Float[Tensor, "t 3 h2 w2"], levels: int, schedule: FrameSchedule | None = None
) -> Operation:
    """Returns the work of E_comp, `levels` spatial levels smaller than the VAE's encoder, on frames.

    With 0 levels it is the VAE's encoder. `schedule` merges the frames first.
    """

    def encoded() -> Float[Tensor, "1 c kept y x"]:
        with codec.reduced(levels) if levels else nullcontext():
            return codec.encode(frames if schedule is None else merge(frames, schedule))

    count = len(frames) if schedule is None else len(schedule.kept_frames)
    size = "x".join(map(str, (count, *frames.shape[-2:])))
    return Operation(f"encode {size} levels {levels}", encoded)


def operation_of(kind: str, codec: Codec, latent: Float[Tensor, "1 c n y x"]) -> Operation | None:
    """Returns an operation of this kind on the first frames of a `latent` of the full size, or on grey frames.

    Returns None for another kind.
    """
    name, *rest = kind.split()
    if name not in ("decode", "ssim", "merges", "encode"):
        return None
    size, *settings = rest
    if name == "decode":
        begin = latent[:, :, : int(size.split("x")[0])]
        return decoding(codec, begin, int(settings[1])) if size == _size(begin) else None
    count, height, width = map(int, size.split("x"))
    frames = torch.zeros(count, 3, height, width, device=latent.device)
    if name == "merges":
        return measuring_merges(frames, int(settings[2]), int(settings[4]))
    return comparing(frames, cast(Dtype, settings[0])) if name == "ssim" else encoding(codec, frames, int(settings[1]))


def _visible(frames: Float[Tensor, "t 3 h2 w2"]) -> Float[Tensor, "t 3 h2 w2"]:
    """Returns frames in [0, 1]."""
    return (frames / 2 + 0.5).clamp(0, 1)


def _size(latent: Float[Tensor, "1 c n y x"]) -> str:
    return "x".join(map(str, latent.shape[-3:]))


def scheduled(
    run: Sampling, rule: Rule, preview: Preview, source: Source, stage: str = STAGE
) -> tuple[FrameSchedule, Similarity | None]:
    """Returns the schedule for the preview of `source`, and the similarity; None for a uniform schedule."""
    group = run.backbone.architecture.frames_per_latent
    if rule.is_uniform:
        return rule.uniform(run.spec.num_frames, group), None
    similarity = preview.similarity(run, source, stage)
    if rule.placement == "aligned":
        return rule.by_similarity(similarity, group), similarity
    num_frames, num_kept = run.spec.num_frames, rule.num_kept(similarity, group)
    merges = num_kept < run.backbone.architecture.num_latents(num_frames)
    errors = preview.merging_errors(run, source, rule.max_merge, stage) if merges else {}
    return least_error(errors, num_kept, num_frames, frames_per_latent=group), similarity


def merging_errors(frames: Float[Tensor, "t c h w"], max_merge: int, frames_per_latent: int) -> dict[Block, float]:
    """Returns the squared error of each possible block, at least 0. Blocks start at any latent group.

    The error of a frame is the mean over channels and pixels of its squared difference to the mean of the frames that
    merge with it. No other frame in the place of this mean gives a smaller sum. A block's error is the sum over its
    frames: at most n / 4 for n frames in [0, 1]. Raises ValueError as `possible_blocks` does.
    """
    group = frames_per_latent
    blocks = possible_blocks(len(frames), max_merge, frames_per_latent=group, step=1)

    def error(start: int, factor: int) -> Tensor:
        groups = frames[start : start + group * factor].float().unflatten(0, (group, factor))
        return (groups - groups.mean(1, keepdim=True)).square().mean((2, 3, 4)).sum()

    errors = torch.stack([error(*block) for block in blocks]).tolist() if blocks else []
    return dict(zip(blocks, errors, strict=True))


def merge(frames: Float[Tensor, "t c h w"], schedule: FrameSchedule) -> Float[Tensor, "kept c h w"]:
    """Returns the frames with each group that `schedule` merges replaced by its mean."""
    return torch.cat(
        [
            reduce(frames[s.start : s.start + s.length], "(g f) c h w -> g c h w", "mean", f=s.factor)
            for s in schedule.segments
        ]
    )


def merge_latents(latent: Float[Tensor, "1 c n h w"], schedule: FrameSchedule) -> Float[Tensor, "1 c kept h w"]:
    """Returns the latent with each group of latent frames that `schedule` merges replaced by its mean.

    This is the ablation without the compression module (paper, Fig. 4).
    """
    parts, at = [], 0
    for s in schedule.segments:
        length = -(-s.length // schedule.frames_per_latent)  # the first frame has a latent frame of its own
        parts.append(reduce(latent[:, :, at : at + length], "b c (g f) h w -> b c g h w", "mean", f=s.factor))
        at += length
    return torch.cat(parts, dim=2)
