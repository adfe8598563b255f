"""Makes a table of a study: a row per condition, with its samples and means. Refuses mixtures."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from analysis.columns import Column, columns, metrics_of
from analysis.common_setting import common_interpolator
from analysis.mixtures import refuse, refuse_mixtures
from analysis.row import Row
from analysis.skips import has_accelerators
from analysis.study import Study, StudyError

FRAMES = ("all", "kept", "interpolated")


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

    @cached_property
    def main(self) -> str | None:
        """The family that the table is about, such as "VGDFR"; see `main_family`."""
        return main_family(row for row in self.rows if row.ranked)

    def block(self, row: Row, by_family: bool = False) -> tuple[object, ...]:
        """Returns the row's block. A rule stands between blocks: each k of the main family, and all other rows.

        With `by_family` each family is a block.
        """
        if by_family:
            return row.video, row.family
        return row.video, row.k if self.main in (None, row.family) or row.is_reference else "others"

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
    """Returns a row per condition, sorted by video setting, then by block: reference, main family, other rows.

    Within the main family, such as VGDFR in a study of Table 1, rows are sorted by k and theta. The other rows are
    sorted by role, methods first, and then by family.
    A table of kept or interpolated `frames` has no latency, speed-up and tokens, which are of whole samples. If any
    latency is priced, only priced latencies count; of older records, isolated runs count before others. Raises
    StudyError if there is no finished baseline or there are two references, if a sample is there twice, and if the
    table would mix models, devices (unless `allow_mixed`), versions of the generator, settings or ways to score.
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
    rows.sort(key=lambda row: row.method)  # a fixed order decides which of several families with k and theta is first
    main = main_family(row for row in rows if row.ranked)
    return Table(study, tuple(sorted(rows, key=lambda row: _place(row, main))), probes, frames, timing)


def main_family(rows: Iterable[Row]) -> str | None:
    """Returns the first family with k and theta, or else with k, or else None.

    Rows without accelerators go first, and then rows without other settings.
    """
    with_k = [row for row in rows if row.k is not None]
    first = min(with_k, key=lambda row: (row.theta is None, row.accelerated, row.other != ""), default=None)
    return first and first.family


def _place(row: Row, main: str | None) -> tuple[object, ...]:
    video = [_natural(part) for part in row.video.split(", ")]
    group = () if row.family == main else (row.role != "method", row.role, row.family)
    other = [_natural(part) for part in row.other.split(", ")]
    return video, not row.is_reference, row.family != main, group, row.k or 0, row.theta or 0, other


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
    whole = dict.fromkeys(("latency_s", "reference_latency_s", "speedup", "bound", "token_ratio"), np.nan)
    return samples.assign(**scores, **whole)


def kind_of_timing(samples: pd.DataFrame) -> str:
    """Returns the kind of latencies that count: "pooled" if any finished sample has priced work, then "isolated"."""
    there = set(samples["timing"][samples["status"] == "done"])
    return next((kind for kind in ("pooled", "isolated") if kind in there), "shared")


def of_one_timing(samples: pd.DataFrame) -> pd.DataFrame:
    """Returns the samples without the latencies of the kind that does not count."""
    counts = samples["timing"] == kind_of_timing(samples)
    seconds = ("latency_s", "elapsed_s", "reference_latency_s", "speedup")
    return samples.assign(**{name: samples[name].where(counts) for name in seconds})


def _row(condition: str, group: pd.DataFrame, common: str | None) -> Row:
    """Returns the row of one condition. `common` is a setting that all conditions share and none shows."""
    first = group.iloc[0]
    settings = group.filter(regex=r"^method\.")
    if settings.shape[1] and len(settings.drop_duplicates()) > 1:
        texts = pd.Series(settings.to_json(orient="records", lines=True).splitlines(), group.index)
        refuse(f"settings under the name {first['slug']}", texts, group["sample"])
    if group.index.has_duplicates:
        raise StudyError(f"{first['slug']} has a prompt and seed twice; remove the samples that do not belong")
    k, theta = _number(first.get("method.k")), _number(first.get("method.theta"))
    k = int(k) if k is not None and k.is_integer() else None
    own = (f"k{k}", f"theta{theta}", f"theta{theta:g}" if theta is not None else "", common)
    other = ", ".join(part for part in first["settings"].split(", ") if part not in own)
    fault = next(iter(group["fault"].dropna()), None)
    done = (group["status"] == "done") & (fault is None)
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
        fault=fault,
        accelerated=bool(has_accelerators(group["accelerated"]).any()),
        own_noise=first.get("own_noise") in (True,),
    )


def _number(value: Any) -> float | None:
    """Returns a setting as a number, or None if it is missing or something else."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None
    return None if math.isnan(number) else number
