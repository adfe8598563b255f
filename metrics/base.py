"""What a metric is, and what it returns."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, UInt8

Video = UInt8[np.ndarray, "t h w 3"]


@dataclass(frozen=True)
class Score:
    """`value` for the whole video; `per_frame` where it makes sense; `extra` are further counts and raw values."""

    value: float
    per_frame: Float[np.ndarray, " n"] | None = None
    extra: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Metric:
    """A named, versioned function of a video (uint8 RGB `[t, h, w, 3]`) and, if `needs_reference`, of another.

    `higher_is_better` is None where neither is. `version` changes whenever the numbers do. `preprocessing` and
    `weights_sha256` complete the metric's id.
    """

    name: str
    version: int
    unit: str
    higher_is_better: bool | None
    compute: Callable[..., Score]
    needs_reference: bool = False
    preprocessing: str = "uint8-rgb"
    weights_sha256: str | None = None

    @property
    def id(self) -> str:
        return f"{self.name}-v{self.version}-{self.preprocessing}-{self.weights_sha256 or 'no-weights'}"

    def __call__(self, video: np.ndarray, reference: np.ndarray | None = None) -> Score:
        """Raises ValueError unless videos are uint8 `[t, h, w, 3]`, and of equal shape where two are compared."""
        for what, frames in (("video", video), ("reference", reference)):
            if frames is not None and (frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3):
                raise ValueError(f"{what} must be uint8 [t, h, w, 3], got {frames.dtype} {list(frames.shape)}")
        if not self.needs_reference:
            return self.compute(video)
        if reference is None:
            raise ValueError(f"{self.name} compares with a reference video, got none")
        if video.shape != reference.shape:
            raise ValueError(
                f"{self.name} needs videos of equal frame count and size, got {list(video.shape)} and "
                f"{list(reference.shape)}"
            )
        return self.compute(video, reference)
