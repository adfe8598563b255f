"""The input of `generate` (`VideoSpec`) and its result (`GeneratedVideo`)."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from vgdfr.passes import Passes
from vgdfr.schedule import FrameSchedule, Similarity
from vgdfr.stopwatch import Took


@dataclass(frozen=True, slots=True)
class VideoSpec:
    """One video to generate. Spec, method and backbone together decide every pixel.

    height, width: in pixels.
    num_frames, fps: of the finished video.
    num_inference_steps: denoising steps of the baseline.
    guidance_scale: scale of the embedded guidance (HunyuanVideo: 6.0; models without guidance ignore it).
    flow_shift: shift of the noise levels (HunyuanVideo: 7.0).

    Raises ValueError for a value of the wrong kind or outside its range.
    """

    prompt: str
    seed: int
    height: int
    width: int
    num_frames: int
    num_inference_steps: int
    guidance_scale: float
    flow_shift: float
    fps: int

    def __post_init__(self) -> None:
        for name in ("guidance_scale", "flow_shift"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or isinstance(value, bool):
                raise ValueError(f"{name} must be a number, got {value!r}")
            object.__setattr__(self, name, float(value))  # 6 and 6.0 must give the same key
        for name in ("seed", "height", "width", "num_frames", "num_inference_steps", "fps"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise ValueError(f"{name} must be a whole number, got {value!r}")
        if not self.prompt.strip():
            raise ValueError("prompt must not be empty")
        for name in ("height", "width", "num_frames"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("num_inference_steps", "fps", "flow_shift"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be in [0, 2**63), got {self.seed}")


class BrokenVideo(Exception):
    """The decoded frames are no video: `kind` is "nan" (a value is not finite) or "constant" (all pixels are equal)."""

    def __init__(self, kind: Literal["nan", "constant"], message: str) -> None:
        super().__init__(message)
        self.kind: Literal["nan", "constant"] = kind


@dataclass(frozen=True, eq=False)
class GeneratedVideo:
    """A finished sample and the account of its cost.

    made: uint8 RGB frames `[t, h, w, 3]`, read as `frames`; None if the method makes no video.
    schedule, similarity: the merged frames, and the similarities that decided them; None if the method has none.
    seconds: wall time by stage.
    outside_latency: stages that do not count in the latency.
    peak_bytes: the model's memory on a GPU, and the largest rise of any part of the sample; None on a CPU.
    timed: count and total time of each kind of block in the latency, such as DiT passes on 9 latent frames.
    unpooled: the time in the latency that belongs to no kind, by stage.
    observed: kind and time of each block that was computed for this sample, in order.
    notes: sentences for the readers of the record.
    shared_stages: stages with at least one part that another sample computed.
    passes: DiT passes of the sample when made alone. A pass on fewer tokens counts as its share of the full tokens.
    passes_done: DiT passes that ran for this sample, without the passes of reused parts.
    dit_passes: histogram of the passes of the sample when made alone, with the computed shares of the layers.
    noise_sha256: hash of the initial noise in float32, which is the same on every device. None for a method that draws
        noise of its own.
    latents: the decoded latents, on the CPU; `frames_of` decodes them to the same frames.
    accelerated: each accelerator's counts, by its name.
    data: the measurements of a method that makes no video.
    """

    made: UInt8[np.ndarray, "t h w 3"] | None
    schedule: FrameSchedule | None
    similarity: Similarity | None
    seconds: dict[str, float]
    peak_bytes: int | None = None
    notes: tuple[str, ...] = ()
    shared_stages: tuple[str, ...] = ()
    passes: float = 0.0
    passes_done: float = 0.0
    noise_sha256: str | None = None
    latents: Float[Tensor, "1 c n y x"] | None = None
    dit_passes: Passes = field(default_factory=Counter)
    outside_latency: frozenset[str] = frozenset()
    timed: dict[str, tuple[int, Took]] = field(default_factory=dict)
    unpooled: dict[str, Took] = field(default_factory=dict)
    observed: tuple[tuple[str, Took], ...] = ()
    accelerated: dict[str, dict[str, float]] = field(default_factory=dict)
    data: dict[str, Any] | None = None

    @property
    def frames(self) -> UInt8[np.ndarray, "t h w 3"]:
        """Returns the video's frames. Raises ValueError for a sample without a video."""
        if self.made is None:
            raise ValueError("this method makes no video; its measurements are in `data`")
        return self.made

    @property
    def latency_s(self) -> float:
        """Returns the seconds of all stages except `outside_latency`, as the paper counts latency.

        Prompt encoding, the final decode and interpolation, among others, do not count.
        """
        return sum(s for stage, s in self.seconds.items() if stage not in self.outside_latency)


def refuse_not_finite(frames: Float[Tensor, "t 3 h w"]) -> None:
    """Raises BrokenVideo if a decoded value is not a number, or infinite."""
    if not frames.isfinite().all():
        raise BrokenVideo("nan", f"{int((~frames.isfinite()).sum())} of {frames.numel()} decoded values are not finite")


def to_uint8(frames: Float[Tensor, "t 3 h w"]) -> UInt8[np.ndarray, "t h w 3"]:
    """Returns frames in [-1, 1] as rounded bytes.

    Raises BrokenVideo if a value is not finite, or if all pixels are equal.
    """
    refuse_not_finite(frames)
    scaled = ((frames / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    if (scaled == scaled[:1, :, :1, :1]).all():
        raise BrokenVideo("constant", f"every pixel of every frame is RGB {scaled[0, :, 0, 0].tolist()}")
    return rearrange(scaled, "t c h w -> t h w c").cpu().numpy()


def nearest(value: int, step: int, offset: int) -> str:
    """Returns text with the two positive numbers around `value` that leave `offset` when divided by `step`."""
    lower = max((value - offset) // step * step + offset, offset or step)
    return f"{lower} and {lower + step}"
