"""What a metric is, and what it returns."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from metrics.weights import OwnFile, Weights

Video = UInt8[np.ndarray, "t h w 3"]


@dataclass(frozen=True)
class Score:
    """`value` for the whole video; `per_frame` where it makes sense; `extra` are further counts and raw values."""

    value: float
    per_frame: Float[np.ndarray, " n"] | None = None
    extra: dict[str, float] = field(default_factory=dict)


def mean(per_frame: Sequence[float] | Float[np.ndarray, " n"]) -> Score:
    """The score of a video that is the mean of its frames' (or of its pairs of frames')."""
    values = np.asarray(per_frame, np.float64)
    return Score(_mean(values), values)


def _mean(values: Float[np.ndarray, " n"]) -> float:
    return float(values.mean())


@dataclass(frozen=True)
class Metric:
    """A named, versioned function of a video (uint8 RGB `[t, h, w, 3]`).

    It takes another video if it `needs_reference`, a text if it `needs_prompt`. `higher_is_better` is None where
    neither is. `version` changes whenever the numbers do; with `preprocessing` and the sha256 of `weights` it makes the
    metric's id. `pool` makes one value of frames' values: of all of them, the video's. `embedded` metrics look through
    small networks trained on the embedded world: their numbers compare videos of one study, not with papers.
    `range`, `source`, `cannot_tell` and `definition` (else what `compute` says of itself) are for the documentation.
    """

    name: str
    version: int
    unit: str
    higher_is_better: bool | None
    compute: Callable[..., Score]
    needs_reference: bool = False
    needs_prompt: bool = False
    preprocessing: str = "uint8-rgb"
    weights: Path | Weights | OwnFile | None = None
    embedded: bool = False
    pool: Callable[[Float[np.ndarray, " n"]], float] = _mean
    range: str = ""
    source: str = ""
    cannot_tell: str = ""
    definition: str = ""

    @property
    def id(self) -> str:
        """What a number depends on; the hash is of the weights that are there."""
        weights = self.weights
        file = weights if weights is None or isinstance(weights, Path) else weights.file
        digest = "no-weights" if file is None else "missing" if self.missing else _sha256(file)
        return f"{self.name}-v{self.version}-{self.preprocessing}-{digest}"

    @property
    def missing(self) -> Weights | OwnFile | None:
        """Weights that do not ship and are to be got before the metric can be computed."""
        if self.weights is None or isinstance(self.weights, Path) or self.weights.file.is_file():
            return None
        return self.weights

    def __call__(self, video: np.ndarray, reference: np.ndarray | None = None, prompt: str | None = None) -> Score:
        """Raises ValueError unless videos are uint8 `[t, h, w, 3]`, of equal shape where two are compared, and what
        the metric needs is given."""
        for what, frames in (("video", video), ("reference", reference)):
            if frames is not None and (frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3):
                raise ValueError(f"{what} must be uint8 [t, h, w, 3], got {frames.dtype} {list(frames.shape)}")
        if self.needs_prompt:
            if not prompt:
                raise ValueError(f"{self.name} compares with the prompt, got none")
            return self.compute(video, prompt)
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


@cache
def _sha256(weights: Path) -> str:
    """Of a file's bytes; of a folder's files, names and bytes."""
    if weights.is_dir():
        files = sorted(file for file in weights.iterdir() if file.is_file())
        return hashlib.sha256("".join(f"{file.name} {_sha256(file)}\n" for file in files).encode()).hexdigest()
    with weights.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
