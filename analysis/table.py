"""Makes a table of a study: a row per condition, with its samples and means. Refuses mixtures."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from analysis.columns import Column, columns, metrics_of
from analysis.mixtures import refuse, refuse_mixtures
from analysis.statistics import NOTHING, Interval, interval, speedup
from analysis.study import Study, StudyError

FRAMES = ("all", "kept", "interpolated")


@dataclass(frozen=True, eq=False)
class Row:
    """One condition.

    samples: its finished samples, indexed by prompt and seed. failed: its other samples.
    method: the method's name in the records, which orders the rows. name: its title.
    role: "reference", "method", "ablation" or "diagnostic", see `bench.store.facts`. family: joins rows in figures.
    video: the video settings that the study varies, such as "num_frames=33".
    k, theta: None for a method without them. other: all other settings, such as "steps=25, max_merge=2".
    """

    condition: str
    slug: str
    method: str
    name: str
    role: str
    family: str
    video: str
    k: int | None
    theta: float | None
    other: str
    samples: pd.DataFrame
    failed: pd.DataFrame
    _means: dict[str, Interval] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)

    @property
    def settings(self) -> tuple[str, ...]:
        """The settings for people, such as "k=5", "θ=0.7", "steps=25" and "num_frames=33"."""
        k = [] if self.k is None else [f"k={self.k}"]
        theta = [] if self.theta is None else [f"θ={self.theta:g}"]
        return (*k, *theta, *(p for text in (self.other, self.video) if text for p in text.split(", ")))

    @property
    def title(self) -> str:
        return f"{self.name} ({', '.join(self.settings)})" if self.settings else self.name

    @property
    def n(self) -> int:
        """The number of finished samples."""
        return len(self.samples)

    @property
    def n_failed(self) -> int:
        return len(self.failed)

    @property
    def ranked(self) -> bool:
        """Whether the row competes for the best value of a column. Ablations and diagnostics do not."""
        return self.role == "method"

    @property
    def is_reference(self) -> bool:
        """Whether the other conditions with the same video settings are compared with this one."""
        return self.role == "reference"

    @property
    def notes(self) -> list[str]:
        """The notes of the finished samples, each once."""
        return sorted({note for notes in self.samples["notes"].dropna().unique() for note in notes.split("\n")})

    def values(self, name: str) -> pd.Series:
        """Returns the samples' values of a metric or measurement, without those that have none."""
        return self.samples[name].dropna() if name in self.samples else pd.Series(dtype=float)

    def mean(self, name: str) -> Interval:
        """Returns the mean over the samples with its interval; for "speedup" the ratio of mean latencies."""
        if name not in self._means:
            absent = name not in self.samples
            self._means[name] = (
                NOTHING if absent else speedup(self.samples) if name == "speedup" else interval(self.samples[name])
            )
        return self._means[name]

    def present(self, name: str) -> int:
        """Returns how many samples have a value, infinite values included."""
        if name not in self._counts:
            self._counts[name] = int(self.samples[name].notna().sum()) if name in self.samples else 0
        return self._counts[name]


@dataclass(frozen=True, eq=False)
class Table:
    """The rows of a study, the reference first, and the study's samples without a video (`probes`).

    frames: the frames that scores are over, one of FRAMES. timing: the kind of latencies that count.
    """

    study: Study
    rows: tuple[Row, ...]
    probes: pd.DataFrame
    frames: str
    timing: str

    @cached_property
    def samples(self) -> pd.DataFrame:
        """The finished samples of all rows."""
        return pd.concat([row.samples for row in self.rows], keys=[row.condition for row in self.rows])

    @property
    def title(self) -> str:
        """The study's name, and the frames if they are not all."""
        return self.study.name if self.frames == "all" else f"{self.study.name}, {self.frames} frames"

    @property
    def videos(self) -> list[str]:
        """The video settings, in the table's order."""
        return list(dict.fromkeys(row.video for row in self.rows))

    def reference(self, video: str) -> Row | None:
        return next((row for row in self.rows if row.is_reference and row.video == video), None)

    def columns(self, names: Sequence[str] | None = None) -> list[Column]:
        """Returns the columns of `analysis.columns.columns` for the finished samples."""
        return columns(self.samples, names)

    @property
    def mixture(self) -> str | None:
        """A warning for readers if the samples were made on several devices, else None."""
        there = sorted(self.samples["device"].unique())
        if len(there) < 2:
            return None
        return f"Made on different devices, so rows may differ by the device alone: {'; '.join(there)}."


def table_of(study: Study, frames: str = "all", allow_mixed: bool = False) -> Table:
    """Returns a row per condition, sorted by video setting, then the reference first, then by method, k and theta.

    A table of kept or interpolated `frames` has no latency, speed-up and tokens, which are of whole samples. If any
    latency is of isolated runs, only isolated runs count. Raises StudyError if there is no finished baseline or there
    are two references, if a sample is there twice, and if the table would mix models, devices (unless `allow_mixed`),
    versions of the generator, settings or ways to score.
    """
    if frames not in FRAMES:
        raise StudyError(f"frames must be one of {', '.join(FRAMES)}, got {frames!r}")
    samples = study.samples
    samples, probes = samples[samples["makes_video"]], samples[~samples["makes_video"]]
    if samples.empty:
        raise StudyError(
            f"{study.name} holds measurements of {', '.join(sorted(probes['title'].unique()))} and no videos; those of "
            f"+exp=rope_proxy are read by: python -m analysis.rope_sensitivity SENSITIVITY_STUDY --proxy {study.name}"
        )
    samples = _each_once(samples)
    refuse_mixtures(samples, allow_mixed)
    timing = kind_of_timing(samples)
    samples = _of_frames(samples, frames) if frames != "all" else of_one_timing(samples)
    common = common_interpolator(samples)
    groups = samples.droplevel("condition").groupby(samples.index.get_level_values("condition"), sort=False)
    rows = [_row(str(condition), group, common and common.setting) for condition, group in groups]
    references = [row for row in rows if row.is_reference]
    for video in {row.video for row in references}:
        if len(slugs := sorted(row.slug for row in references if row.video == video)) > 1:
            raise StudyError(
                f"the study has {len(slugs)} references to compare with: {', '.join(slugs)}; a table has one. "
                "Remove the samples that do not belong"
            )
    if not any(row.n for row in references):
        raise StudyError("the study has no finished baseline sample to compare with; run its sweep again")
    return Table(study, tuple(sorted(rows, key=_place)), probes, frames, timing)


def _place(row: Row) -> tuple[object, ...]:
    video = [_natural(part) for part in row.video.split(", ")]
    return video, not row.is_reference, row.method, row.k or 0, row.theta or 0, row.other


def _natural(text: str) -> tuple[str, float, str]:
    name, _, value = text.partition("=")
    try:
        return name, float(value or 0), ""
    except ValueError:
        return name, 0.0, value


def _each_once(samples: pd.DataFrame) -> pd.DataFrame:
    """Returns the samples without those that another study holds as well: they have one key."""
    if samples["study"].nunique() == 1:
        return samples
    finished_first = samples.iloc[(samples["status"] != "done").argsort(kind="stable")]
    again = finished_first["key"].notna() & finished_first.duplicated("key")
    return finished_first[~again].sort_index(kind="stable")


def _of_frames(samples: pd.DataFrame, frames: str) -> pd.DataFrame:
    """Returns the samples with scores over some frames, without the measurements of whole samples."""
    scores = {name: samples[f"{name}.{frames}"] for name in metrics_of(samples)}
    whole = dict.fromkeys(("latency_s", "reference_latency_s", "speedup", "token_ratio"), np.nan)
    return samples.assign(**scores, **whole)


def kind_of_timing(samples: pd.DataFrame) -> str:
    """Returns the kind of latencies that count: "isolated" if any finished sample has isolated runs, else "shared"."""
    return "isolated" if ((samples["status"] == "done") & (samples["timing"] == "isolated")).any() else "shared"


def of_one_timing(samples: pd.DataFrame) -> pd.DataFrame:
    """Returns the samples without the latencies of the kind that does not count."""
    counts = samples["timing"] == kind_of_timing(samples)
    seconds = ("latency_s", "reference_latency_s", "speedup")
    return samples.assign(**{name: samples[name].where(counts) for name in seconds})


def _row(condition: str, group: pd.DataFrame, common: str | None) -> Row:
    """Returns the row of one condition. `common` is a setting that all conditions share and none shows."""
    first = group.iloc[0]
    settings = group.filter(regex=r"^method\.")
    if len(settings.drop_duplicates()) > 1:
        texts = pd.Series(settings.to_json(orient="records", lines=True).splitlines(), group.index)
        refuse(f"settings under the name {first['slug']}", texts, group["sample"])
    if group.index.has_duplicates:
        raise StudyError(f"{first['slug']} has a prompt and seed twice; remove the samples that do not belong")
    k, theta = _number(first.get("method.k")), _number(first.get("method.theta"))
    k = int(k) if k is not None and k.is_integer() else None
    own = (f"k{k}", f"theta{theta}", f"theta{theta:g}" if theta is not None else "", common)
    other = ", ".join(part for part in first["settings"].split(", ") if part not in own)
    done = group["status"] == "done"
    return Row(
        condition=condition,
        slug=first["slug"],
        method=first["method"],
        name=first["title"],
        role=first["role"],
        family=first["family"],
        video=first["video"],
        k=k,
        theta=theta,
        other=other,
        samples=group[done],
        failed=group[~done],
    )


def _number(value: Any) -> float | None:
    """Returns a setting as a number, or None if it is missing or something else."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None
    return None if math.isnan(number) else number


@dataclass(frozen=True)
class CommonSetting:
    """A setting such as "interpolator=rife", and the titles of the methods that have it in all of their conditions."""

    setting: str
    titles: tuple[str, ...]


def common_interpolator(samples: pd.DataFrame) -> CommonSetting | None:
    """Returns the interpolator that all conditions share, or None if it differs or is the default everywhere.

    Only methods count that name an interpolator in some condition. Settings do not name the default interpolator.
    """
    conditions = samples.drop_duplicates("slug")
    named = conditions["settings"].str.extract(r"(?:^|, )(interpolator=[^,]*)")[0]
    naming = conditions[conditions["method"].isin(conditions["method"][named.notna()])]
    settings = named[naming.index].unique()
    if len(settings) != 1 or pd.isna(settings[0]):
        return None
    return CommonSetting(settings[0], tuple(naming.sort_values("method", kind="stable")["title"].unique()))
