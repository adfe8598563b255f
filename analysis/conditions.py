"""A study's conditions as lines of a table: which samples make a line, its means, and which columns there are."""

import json
import math
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

from analysis.load import Row, StudyError
from analysis.statistics import Mean, mean


@dataclass(frozen=True)
class Column:
    """A metric's or a measurement's column; `better` is 1 where high is good, -1 where low is, 0 for neither.

    A column of a study scored by the embedded judge says so in its title, and may need more digits.
    """

    name: str
    title: str
    digits: int
    better: int
    group: str
    missing: str = ""
    judge_digits: int | None = None

    @property
    def embedded(self) -> "Column":
        digits = self.judge_digits or self.digits
        return replace(self, name=f"{self.name}_embedded", title=f"{self.title}{EMBEDDED}", digits=digits)


# The paper's columns in the paper's order and groups, and after them the project's own.
COLUMNS = (
    Column("clip_temp", "CLIPT", 4, 1, "Video Quality", "a CLIP model"),
    Column("clipsim", "CLIPSIM", 4, 1, "Video Quality", "a CLIP model"),
    Column("vqa", "VQA", 2, 1, "Video Quality", "a video quality model"),
    Column("flicker", "FLICKER", 4, 1, "Video Quality"),
    Column("motion", "Motion", 3, 0, "Video Quality"),  # a frozen video does not flicker
    Column("psnr", "PSNR", 2, 1, "Difference"),
    Column("ssim", "SSIM", 3, 1, "Difference"),
    Column("lpips", "LPIPS", 3, -1, "Difference", "a perceptual network", judge_digits=4),
    Column("cosine", "Cosine", 3, 1, "Difference"),
    Column("latency_s", "Latency (s)", 2, -1, "Efficiency"),
    Column("speedup", "Speedup", 2, 1, "Efficiency"),
    Column("token_ratio", "Tokens", 2, 0, "Efficiency"),
)
EMBEDDED = "†"


@dataclass(frozen=True)
class Line:
    """One condition: its settings, its finished samples (and those that failed), and each column's mean.

    `video` names those of the video settings that the study varies, such as "num_frames=33".
    """

    method: str
    video: str
    k: int | None
    theta: float | None
    other: str
    n: int
    n_failed: int
    ablation: bool
    notes: frozenset[str]
    means: dict[str, Mean]
    rows: tuple[Row, ...]
    failed: tuple[Row, ...] = ()

    @property
    def title(self) -> str:
        if self.method == "baseline":
            return f"{self.name} ({self.video})" if self.video else self.name
        k = None if self.k is None else f"k={self.k}"
        theta = None if self.theta is None else f"θ={self.theta:g}"
        return f"{self.name} ({', '.join(p for p in (k, theta, self.other, self.video) if p)})"

    @property
    def ranked(self) -> bool:
        """Whether its numbers compete for the best: VGDFR's do, ablations' and other methods' do not."""
        return self.method == "vgdfr" and not self.ablation

    @property
    def name(self) -> str:
        """The method, for people."""
        return {"baseline": "Original", "baselinererun": "Original again", "fewersteps": "Fewer steps"}.get(
            self.method, self.method.upper()
        )


def lines(rows: list[Row], timed: bool = True) -> list[Line]:
    """A line per condition: the baseline first, then by k and theta, as in the paper; so for each video setting.

    A sample is compared with the baseline of its own video settings. Unless `timed`, the lines say nothing of whole
    samples: latency, speed-up, tokens. Raises StudyError without a baseline, and where the table would mix models,
    devices or ways to score.
    """
    _refuse_mixture("models, precisions or kinds of device", [r.record["identity"]["model"] for r in rows])
    _refuse_mixture("versions of the generator", [r.record["identity"]["generator_version"] for r in rows])
    for name in {name for row in rows for name in row.ids}:
        ids = sorted({row.ids[name] for row in rows if name in row.ids})
        if len(ids) > 1:
            raise StudyError(
                f"{name} was scored in {len(ids)} ways, which one table must not mix: {'; '.join(ids)}. "
                f"Score the study again in one way: python -m bench.score STUDY --metrics {name}"
            )
    videos = _videos(rows)
    conditions: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row, video in zip(rows, videos, strict=True):
        conditions[video, row.record["slug"]].append(row)
    baseline_s = {
        (video, r.sample_id): r.record["latency_s"]
        for (video, slug), group in conditions.items()
        for r in group
        if slug == "baseline" and r.record["status"] == "done"
    }
    if not baseline_s:
        raise StudyError("the study has no finished baseline sample to compare with; run its sweep again")
    made = [_line(group, video, baseline_s if timed else {}) for (video, _), group in conditions.items()]
    order = list(dict.fromkeys(sorted(videos, key=lambda video: [_natural(part) for part in video.split(", ")])))
    return sorted(
        made,
        key=lambda line: (
            order.index(line.video), line.method != "baseline", line.method, line.k or 0, line.theta or 0, line.other
        ),
    )  # fmt: skip


def _videos(rows: list[Row]) -> list[str]:
    """For each row, those of its video settings that are not the same in all rows."""
    specs = [r.record["identity"]["spec"] for r in rows]
    names = [n for n in specs[0] if n not in ("prompt", "seed") and len({s[n] for s in specs}) > 1]
    return [", ".join(f"{name}={spec[name]}" for name in names) for spec in specs]


def _natural(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    return name, float(value or 0)


def _refuse_mixture(what: str, settings: list[Any]) -> None:
    distinct = sorted({json.dumps(each, sort_keys=True) for each in settings})
    if len(distinct) > 1:
        raise StudyError(
            f"the study mixes {len(distinct)} {what}, which one table must not: {'; '.join(distinct)}. "
            "Run the sweep into another folder (study=NAME or root=DIR), or remove the samples that do not belong"
        )


def _line(rows: list[Row], video: str, baseline_s: dict[tuple[str, tuple[str, int]], float]) -> Line:
    done = [r for r in rows if r.record["status"] == "done"]
    method = rows[0].record["method"]
    names = [c.name for c in (*COLUMNS, *(c.embedded for c in COLUMNS if c.missing))]
    means = {name: mean(r.scores.get(name) for r in done) for name in names}
    timed = bool(baseline_s)
    means["latency_s"] = mean(r.record["latency_s"] for r in done if timed)
    means["token_ratio"] = mean(r.record["token_ratio"] for r in done if timed)
    means["speedup"] = Mean(None, 0, 0)
    common = [r for r in done if (video, r.sample_id) in baseline_s]
    if method["name"] != "baseline" and common:  # as in the paper: a ratio of mean latencies, over common samples
        own = math.fsum(r.record["latency_s"] for r in common)
        means["speedup"] = Mean(math.fsum(baseline_s[video, r.sample_id] for r in common) / own, len(common), 0)
    _refuse_mixture(f"settings under the name {rows[0].record['slug']}", [r.record["method"] for r in rows])
    if len({r.sample_id for r in rows}) < len(rows):
        raise StudyError(f"{rows[0].record['slug']} has a prompt and seed twice; remove the samples that do not belong")
    # what sets this row apart beyond k and theta stands in its slug, after them
    own = (f"k{method.get('k')}", f"theta{method.get('theta')}")
    other = ", ".join(part for part in rows[0].record["slug"].split("-")[1:] if part not in own)
    ablation = method.get("merge_space") == "latent" or method.get("denoise_renoise") is False
    said = frozenset(note for r in done for note in r.record.get("notes", ()))
    k, theta = method.get("k"), method.get("theta")
    failed = tuple(r for r in rows if r.record["status"] != "done")
    return Line(
        method["name"], video, k, theta, other, len(done), len(failed), ablation, said, means, tuple(done), failed
    )


def columns(table: list[Line]) -> list[Column]:
    """The table's columns: a learned metric's is the embedded judge's where the study has that and not the real one."""

    def filled(column: Column) -> bool:
        return any(line.means[column.name].value is not None for line in table)

    chosen = [c.embedded if c.missing and not filled(c) and filled(c.embedded) else c for c in COLUMNS]
    untimed = not any(filled(c) for c in chosen if c.group == "Efficiency")
    return [c for c in chosen if filled(c)] if untimed else chosen


def best(table: list[Line], column: Column, video: str) -> float | None:
    """The best printed value among VGDFR's rows of one video setting (as in the paper), None if there is no best."""
    values = [
        round(v, column.digits)
        for line in table
        if line.ranked and line.video == video and (v := line.means[column.name].value) is not None
    ]
    return max(values, key=lambda v: v * column.better) if values and column.better and len(set(values)) > 1 else None
