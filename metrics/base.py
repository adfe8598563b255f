"""What a metric is, and what it returns."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from metrics.weights import OwnFile, Weights, sha256_of

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


def jsonable(value: float | None) -> float | str | None:
    """The value as JSON takes it: an infinite one is the text "inf" (or "-inf")."""
    return value if value is None or math.isfinite(value) else str(float(value))


def _mean(values: Float[np.ndarray, " n"]) -> float:
    return float(values.mean())


@dataclass(frozen=True)
class Metric:
    """A named, versioned function of a video (uint8 RGB `[t, h, w, 3]`).

    It takes another video if it `needs_reference`, a text if it `needs_prompt`. `higher_is_better` is None where
    neither is. One that rewards frozen videos names in `shown_with` the metric to be read beside it. `version` changes
    whenever the numbers do; with `preprocessing`, the sha256 of `weights` and what `runs_on` says of the device it
    makes the metric's id. `runs_on` is None for metrics that always run on the CPU. `pool` makes one value of frames'
    values, of all of them the video's; None where it takes more. `embedded` metrics look through small networks trained
    on the embedded world: their numbers compare videos of one study, not with papers.
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
    pool: Callable[[Float[np.ndarray, " n"]], float] | None = _mean
    range: str = ""
    source: str = ""
    cannot_tell: str = ""
    definition: str = ""
    shown_with: str = ""
    runs_on: Callable[[], str] | None = None

    @property
    def id(self) -> str:
        """What a number depends on; the hash is of the weights that are there.

        A metric computed on another device than the CPU says so and in which precision; on the CPU it is float32.
        """
        weights = self.weights
        file = weights if weights is None or isinstance(weights, Path) else weights.file
        digest = "no-weights" if file is None else "missing" if self.missing else sha256_of(file)
        place = self.runs_on() if self.runs_on else "cpu"
        where = "" if place == "cpu" else f"-{place}-float32"
        return f"{self.name}-v{self.version}-{self.preprocessing}-{digest}{where}"

    @property
    def missing(self) -> Weights | OwnFile | None:
        """Weights that do not ship and are to be got before the metric can be computed."""
        if self.weights is None or isinstance(self.weights, Path):
            return None
        file, pinned = self.weights.file, getattr(self.weights, "sha256", None)
        return None if file.is_file() and pinned in (None, sha256_of(file)) else self.weights

    def __call__(self, video: np.ndarray, reference: np.ndarray | None = None, prompt: str | None = None) -> Score:
        """Raises ValueError unless videos are uint8 `[t, h, w, 3]`, of equal shape where two are compared, and what
        the metric needs is given."""
        for what, frames in (("video", video), ("reference", reference)):
            if frames is not None and (frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3):
                raise ValueError(f"{what} must be uint8 [t, h, w, 3], got {frames.dtype} {list(frames.shape)}")
            if frames is not None and not frames.size:
                raise ValueError(f"{what} is empty: {list(frames.shape)}")
        if self.needs_prompt and not prompt:
            raise ValueError(f"{self.name} compares with the prompt, got none")
        if self.needs_reference and reference is None:
            raise ValueError(f"{self.name} compares with a reference video, got none")
        if self.needs_reference and reference is not None and video.shape != reference.shape:
            raise ValueError(
                f"{self.name} needs videos of equal frame count and size, got {list(video.shape)} and "
                f"{list(reference.shape)}"
            )
        beside = (reference,) * self.needs_reference + (prompt,) * self.needs_prompt
        score = self.compute(video, *beside)
        values = [score.value, *score.extra.values(), *(() if score.per_frame is None else score.per_frame)]
        if np.isnan(values).any():
            raise ValueError(f"{self.name} came to no number (NaN) for a video of {list(video.shape)}")
        return score

    def attempt(
        self, id: str, video: np.ndarray, reference: np.ndarray | None = None, prompt: str | None = None
    ) -> Score | str:
        """The score, or in words why there is none: weights that are not there, or the error that was raised.

        `id` is the metric's, under which the score will be told; weights that are no longer those of it give none.
        """
        if self.missing:
            return f"{self.missing.name} is not at {self.missing.file}; {self.missing.how}"
        try:
            score = self(video, reference, prompt)
            return score if self.id == id else "its weights changed while it was computed; run the same command again"
        except Exception as error:  # of whatever library the metric looks through; the other metrics go on
            return f"{type(error).__name__}: {error}"
