"""Defines a metric, its score, and how tables show it."""

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from metrics.formula import Formula
from metrics.weights import OwnFile, Weights, sha256_of

Video = UInt8[np.ndarray, "t h w 3"]
VIDEO_QUALITY, DIFFERENCE = COLUMN_GROUPS = ("Video Quality", "Difference")
EMBEDDED = "†"  # ends the title of a metric that uses the networks of the embedded world


@dataclass(frozen=True)
class Score:
    """The result of a metric for one video: `value` in the metric's unit, and further numbers in `extra`.

    `per_frame` holds one value per frame, or one per step between successive frames. It is None for a metric that has
    no such values.
    """

    value: float
    per_frame: Float[np.ndarray, " n"] | None = None
    extra: dict[str, float] = field(default_factory=dict)


def mean(per_frame: Sequence[float] | Float[np.ndarray, " n"]) -> Score:
    """Returns the score whose value is the mean of `per_frame`: values of frames, or of the steps between them."""
    values = np.asarray(per_frame, np.float64)
    return Score(_mean(values), values)


def jsonable(value: float | None) -> float | str | None:
    """Returns the value in a form that JSON allows: an infinite value becomes the text "inf" or "-inf"."""
    return value if value is None or math.isfinite(value) else str(float(value))


def _mean(values: Float[np.ndarray, " n"]) -> float:
    return float(values.mean())


@dataclass(frozen=True)
class About:
    """How a metric is shown: `title`, `unit`, number of decimals (`digits`) and `group` (one of COLUMN_GROUPS).

    `better` is 1 if higher values are better, -1 if lower values are better, and 0 for neither. `embedded` metrics use
    small networks trained on the embedded world. `network` says which kind of network a learned metric needs, such as
    "a CLIP model". A metric that rewards frozen videos names in `shown_with` the metric to read next to it. Tables mark
    no best value in the column of such a metric. A metric with a `dimension` is for the prompts of that dimension only,
    if prompts have dimensions at all.
    """

    name: str
    title: str
    unit: str
    digits: int
    better: int
    group: str
    embedded: bool = False
    network: str = ""
    needs_reference: bool = False
    shown_with: str = ""
    dimension: str = ""

    def stored(self) -> dict[str, Any]:
        """Returns the fields that scores.json holds for a metric from outside this package."""
        fields = ("title", "unit", "digits", "better", "group", "needs_reference", "shown_with")
        own = {"dimension": self.dimension} if self.dimension else {}
        return {f: getattr(self, f) for f in fields} | own


@dataclass(frozen=True)
class Metric:
    """A named, versioned function `compute` of a video (uint8 RGB `[t, h, w, 3]`) that returns a Score.

    `compute` also gets a second video if the metric `needs_reference`, then a text if it `needs_prompt`. `unit` is ""
    for a plain number. `higher_is_better` is None if neither direction is better. A metric that rewards frozen videos
    names in `shown_with` the metric to read next to it; tables mark no best value in its column.

    The `id` identifies a number. It holds `name`, `version`, `preprocessing`, the sha256 of `weights`, and the device
    if `runs_on` returns another one than "cpu". Raise `version` when the numbers change. A metric without `runs_on`
    always runs on the CPU.

    `pool` turns values of frames, or of steps between them, into one value. The values of all frames give the video's
    value. `pool` is None if the value cannot be computed from these values. `embedded` metrics use small networks
    trained on the embedded world: their numbers compare videos of one study, and do not compare with papers.

    `title` (default: the name), `digits` (decimals), `group` and `network` are for tables, see About. The default of
    `group` is Difference for a metric that needs a reference, and Video Quality for any other metric. `range`,
    `source`, `cannot_tell` and `definition` (default: the docstring of `compute`) are for the documentation.

    Raises ValueError for a value that tables cannot show.
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
    title: str = ""
    digits: int = 3
    group: str = ""
    network: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", self.title or self.name)
        object.__setattr__(self, "group", self.group or (DIFFERENCE if self.needs_reference else VIDEO_QUALITY))
        for setting, value, allowed in (
            ("group", self.group, COLUMN_GROUPS),
            ("digits", self.digits, range(10)),
            ("higher_is_better", self.higher_is_better, (True, False, None)),
        ):
            if value not in allowed:
                expected = "0 to 9" if isinstance(allowed, range) else " or ".join(map(repr, allowed))
                raise ValueError(f"{setting} of the metric {self.name} must be {expected}, got {value!r}")

    @property
    def about(self) -> About:
        """Returns how tables show the metric."""
        better = 0 if self.higher_is_better is None else 1 if self.higher_is_better else -1
        return About(
            self.name,
            self.title,
            self.unit,
            self.digits,
            better,
            self.group,
            self.embedded,
            self.network,
            self.needs_reference,
            self.shown_with,
        )

    @property
    def description(self) -> str:
        """Returns `definition`, or else the docstring of `compute`, or else the empty text."""
        compute = self.compute.function if isinstance(self.compute, Formula) else self.compute
        return self.definition or inspect.getdoc(compute) or ""

    @property
    def id(self) -> str:
        """Returns the id, with the sha256 of the weights as they are now, or "missing" for missing weights.

        The id ends with the device and its precision if that device is not the CPU.
        """
        weights = self.weights
        file = weights if weights is None or isinstance(weights, Path) else weights.file
        digest = "no-weights" if file is None else "missing" if self.missing else sha256_of(file)
        place = self.runs_on() if self.runs_on else "cpu"
        where = "" if place == "cpu" else f"-{place}-float32"
        return f"{self.name}-v{self.version}-{self.preprocessing}-{digest}{where}"

    @property
    def missing(self) -> Weights | OwnFile | None:
        """Returns the weights if they must be downloaded or made first, or None if nothing is missing.

        Weights with a pinned sha256 are also missing if the file has another sha256.
        """
        if self.weights is None or isinstance(self.weights, Path):
            return None
        file, pinned = self.weights.file, getattr(self.weights, "sha256", None)
        return None if file.is_file() and pinned in (None, sha256_of(file)) else self.weights

    def __call__(self, video: np.ndarray, reference: np.ndarray | None = None, prompt: str | None = None) -> Score:
        """Returns the score of `video`, uint8 RGB `[t, h, w, 3]`. A `reference` has the same shape.

        Raises ValueError for videos of another type or shape, for a missing reference or prompt, and for a result that
        is NaN. Raises TypeError unless `compute` returns a Score.
        """
        self._check(video, reference, prompt)
        score = self.compute(video, *(reference,) * self.needs_reference, *(prompt,) * self.needs_prompt)
        if not isinstance(score, Score):
            raise TypeError(f"{self.name} must return a metrics.Score, got {type(score).__name__}; return Score(value)")
        per_frame = None if score.per_frame is None else np.asarray(score.per_frame, np.float64)
        if per_frame is not None and per_frame.shape not in ((len(video),), (len(video) - 1,)):
            raise ValueError(
                f"per_frame of {self.name} must have a value for each of the {len(video)} frames, or for each step "
                f"between them, got the shape {list(per_frame.shape)}"
            )
        score = Score(float(score.value), per_frame, {name: float(value) for name, value in score.extra.items()})
        values = [score.value, *score.extra.values(), *(() if per_frame is None else per_frame)]
        if np.isnan(values).any():
            raise ValueError(f"{self.name} is not a number (NaN) for a video of {list(video.shape)}")
        return score

    def _check(self, video: np.ndarray, reference: np.ndarray | None, prompt: str | None) -> None:
        for role, frames in (("video", video), ("reference", reference)):
            if frames is not None and (frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3):
                raise ValueError(f"{role} must be uint8 [t, h, w, 3], got {frames.dtype} {list(frames.shape)}")
            if frames is not None and not frames.size:
                raise ValueError(f"{role} is empty: {list(frames.shape)}")
        if self.needs_prompt and not prompt:
            raise ValueError(f"{self.name} compares with the prompt, got none")
        if self.needs_reference and reference is None:
            raise ValueError(f"{self.name} compares with a reference video, got none")
        if self.needs_reference and reference is not None and video.shape != reference.shape:
            raise ValueError(
                f"{self.name} needs videos of equal frame count and size, got {list(video.shape)} and "
                f"{list(reference.shape)}"
            )

    def attempt(
        self, id: str, video: np.ndarray, reference: np.ndarray | None = None, prompt: str | None = None
    ) -> Score | str:
        """Returns the score, or the reason why there is no score: missing weights, or the error that was raised.

        The score will be stored under `id`, an earlier value of the metric's id. If the weights have changed since
        then, there is no score.
        """
        if self.missing:
            return f"{self.missing.name} is not at {self.missing.file}; {self.missing.how}"
        try:
            score = self(video, reference, prompt)
            return score if self.id == id else "its weights changed while it was computed; run the same command again"
        except Exception as error:  # from any library; the other metrics are still computed
            return f"{type(error).__name__}: {error}"
