"""What is asked for (`VideoSpec`) and what comes back (`GeneratedVideo`)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from vgdfr.schedule import FrameSchedule, Similarity


@dataclass(frozen=True, slots=True)
class VideoSpec:
    """One video to generate; together with a method and a backbone it decides every pixel.

    `height` and `width` in pixels, `num_frames` and `fps` of the finished video, `flow_shift` of the noise schedule
    (HunyuanVideo: 7.0), `guidance_scale` of the embedded guidance (HunyuanVideo: 6.0; ignored by models without it).
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
            object.__setattr__(self, name, float(value))  # equal settings are equal in a key, too
        for name in ("seed", "height", "width", "num_frames", "num_inference_steps", "fps"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise ValueError(f"{name} must be a whole number, got {value!r}")
        if not self.prompt.strip():
            raise ValueError("prompt must not be empty")
        for name in ("height", "width"):
            value = getattr(self, name)
            if value < 16 or value % 16:
                raise ValueError(f"{name} must be divisible by 16, got {value}; nearest are {_nearest(value, 16, 0)}")
        if self.num_frames < 1 or self.num_frames % 4 != 1:
            nearest = _nearest(self.num_frames, 4, 1)
            raise ValueError(f"num_frames must be 4n+1 for this VAE, got {self.num_frames}; nearest are {nearest}")
        for name in ("num_inference_steps", "fps", "flow_shift"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be in [0, 2**63), got {self.seed}")


class BrokenVideo(Exception):
    """What was decoded is no video: `kind` is "nan" (a value is not finite) or "constant" (all pixels are equal)."""

    def __init__(self, kind: Literal["nan", "constant"], message: str) -> None:
        super().__init__(message)
        self.kind: Literal["nan", "constant"] = kind


@dataclass(frozen=True, eq=False)
class GeneratedVideo:
    """A finished video and how it came about.

    `frames` are uint8 RGB. `schedule` and the preview's `similarity` are None for a baseline. `seconds` maps stage to
    wall time (`LATENCY_STAGES` are those the paper counts); `peak_bytes` is the device's peak memory, None where it is
    not measured.
    `notes` say in words what a reader of the record should know. `shared_stages` are those whose seconds were measured,
    in part at least, while another sample was made. `passes` are the DiT passes that the sample takes alone,
    `passes_done` those that were made for it; one on a shortened latent counts as its share of the tokens.
    `noise_sha256` is of the noise it began with, float32, which is the same on every device. `latents` are those that
    were decoded, on the CPU; `frames_of` makes the same frames of them.
    """

    frames: UInt8[np.ndarray, "t h w 3"]
    schedule: FrameSchedule | None
    similarity: Similarity | None
    seconds: dict[str, float]
    peak_bytes: int | None = None
    notes: tuple[str, ...] = ()
    shared_stages: tuple[str, ...] = ()
    passes: float = 0.0
    passes_done: float = 0.0
    noise_sha256: str = ""
    latents: Float[Tensor, "1 c n y x"] | None = None

    @property
    def latency_s(self) -> float:
        """The paper's latency: the denoising loop with the compression module; no text, final decode, interpolation."""
        return sum(s for stage, s in self.seconds.items() if stage in LATENCY_STAGES)


def refuse_not_finite(frames: Float[Tensor, "t 3 h w"]) -> None:
    """Raise BrokenVideo where a decoded value is not a number, or infinite."""
    if not frames.isfinite().all():
        raise BrokenVideo("nan", f"{int((~frames.isfinite()).sum())} of {frames.numel()} decoded values are not finite")


def to_uint8(frames: Float[Tensor, "t 3 h w"]) -> UInt8[np.ndarray, "t h w 3"]:
    """Frames in [-1, 1] to bytes, rounded. Raises BrokenVideo where a value is not finite, or all pixels are equal."""
    refuse_not_finite(frames)
    scaled = ((frames / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    if (scaled == scaled[:1, :, :1, :1]).all():
        raise BrokenVideo("constant", f"every pixel of every frame is RGB {scaled[0, :, 0, 0].tolist()}")
    return rearrange(scaled, "t c h w -> t h w c").cpu().numpy()


LATENCY_STAGES = ("denoise_full", "compress", "denoise_compressed")


def _nearest(value: int, step: int, offset: int) -> str:
    lower = max((value - offset) // step * step + offset, offset or step)
    return f"{lower} and {lower + step}"
